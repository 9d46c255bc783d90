"""Metrics of images in several classes: mean average precision, F1, exact match, with intervals.

Letters: N images, C classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from headstart.metrics.classification import read_row
from headstart.metrics.intervals import CROSSED, Interval, Z, interval

PARTS = 200  # of the images at most, each left out once to see what a figure owes to it
MOST = 500.0  # half of an interval of logits, which tells nothing long before
FEW = 10  # images of a class below which its threshold stays at one half


@dataclass(frozen=True)
class LabelMetrics:
    """One class: how many images have it, were given it, and how well. None: cannot be told."""

    name: str
    support: int
    predicted: int
    threshold: float
    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    average_precision: float | None


@dataclass(frozen=True)
class MultiMetrics:
    """What (N, C) probabilities and thresholds are worth. accuracy: of all classes of an image
    right at once (exact match).
    """

    n: int
    accuracy: float | None
    accuracy_interval: Interval | None
    mean_average_precision: float | None
    mean_average_precision_interval: Interval | None
    micro_f1: float | None
    micro_f1_interval: Interval | None
    macro_f1: float | None
    macro_f1_interval: Interval | None
    hamming_loss: float | None
    classes: tuple[LabelMetrics, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "MultiMetrics":
        """What `to_dict` gave; what a later version gave beside it is passed over."""
        values = {field.name: table[field.name] for field in fields(cls)}
        for name in values:
            if name.endswith("_interval"):
                values[name] = tuple(values[name]) if values[name] else None
        values["classes"] = tuple(read_row(LabelMetrics, row) for row in values["classes"])
        return cls(**values)

    def details(self) -> list[str]:
        """A few lines for the terminal."""
        lines = []
        for title, value, ends in (
            ("mean average precision", self.mean_average_precision,
             self.mean_average_precision_interval),
            ("micro F1", self.micro_f1, self.micro_f1_interval),
            ("macro F1", self.macro_f1, self.macro_f1_interval),
        ):  # fmt: skip
            if value is not None and ends is not None:
                lines.append(f"{title} {value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})")
        known = [row for row in self.classes if row.f1 is not None]
        if known:
            weakest = min(known, key=lambda row: row.f1 or 0)
            lines.append(
                f"weakest class: {weakest.name}, F1 {weakest.f1:.2f} of {weakest.support} images"
            )
        return lines


def evaluate_multi(
    probabilities: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    thresholds: np.ndarray,
    *,
    crossed: bool = False,
) -> MultiMetrics:
    """Metrics of (N, C) probabilities against (N, C) targets of 0 and 1.

    thresholds: (C,), or (N, C) where each image has its own, whose means are then told.
    The exact match's interval is Wilson's, those of the others are on the scale of logits with the
    jackknife's standard error. crossed: whether these are the images' own by cross-validation; then
    intervals are of the classifier that learns from all of them.
    """
    worth = CROSSED if crossed else 1.0
    n = len(targets)
    given = probabilities >= thresholds
    limits = np.atleast_2d(thresholds).mean(axis=0)
    right = targets.astype(bool)
    exact = int((given == right).all(axis=1).sum())
    rows = [
        _row(name, probabilities[:, c], right[:, c], given[:, c], float(limits[c]), worth)
        for c, name in enumerate(classes)
    ]
    figures = _figures(probabilities, right, given) if n else (np.nan,) * 3
    without = _leave_out(probabilities, right, given) if n else np.empty((0, 3))
    ends = [
        None if np.isnan(figure) else _logit_interval(figure, column, n, worth)
        for figure, column in zip(figures, without.T, strict=True)
    ]
    values: list[float | None] = [None if np.isnan(value) else float(value) for value in figures]
    return MultiMetrics(
        n, exact / n if n else None, interval(exact, n, worth=worth), values[0], ends[0],
        values[1], ends[1], values[2], ends[2], float((given != right).mean()) if n else None,
        tuple(rows),
    )  # fmt: skip


def best_thresholds(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(C,) probabilities from which a class is given, the best for these (N, C)."""
    columns = range(targets.shape[1])
    return np.array([best_threshold(probabilities[:, c], targets[:, c]) for c in columns])


def best_threshold(probabilities: np.ndarray, target: np.ndarray) -> float:
    """The threshold with the highest F1, midway to the next probability; 0.5 with few images."""
    positives = int(target.sum())
    if positives < FEW or positives == len(target):
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(target[order])
    f1 = 2 * hits / (np.arange(1, len(target) + 1) + positives)
    best = int(f1.argmax())
    ranked = probabilities[order]
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def average_precision(scores: np.ndarray, target: np.ndarray) -> float:
    """Area under precision over recall, step by step; nan without a positive."""
    if not target.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(target[order])
    precision = hits / np.arange(1, len(order) + 1)
    return float(precision[target[order]].mean())


def _figures(
    probabilities: np.ndarray, right: np.ndarray, given: np.ndarray
) -> tuple[float, float, float]:
    """Mean average precision, micro F1, macro F1, over the classes present."""
    both, either = (right & given).sum(axis=0), right.sum(axis=0) + given.sum(axis=0)
    present = right.any(axis=0)
    if not present.any():
        return float("nan"), float("nan"), float("nan")
    precisions = [
        average_precision(probabilities[:, c], right[:, c]) for c in np.flatnonzero(present)
    ]
    f1 = 2 * both[present] / np.maximum(either[present], 1)
    return float(np.mean(precisions)), float(2 * both.sum() / max(1, either.sum())), float(
        f1.mean())  # fmt: skip


def _leave_out(probabilities: np.ndarray, right: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(P, 3) figures without each of P parts of the images; of few images each is a part.

    Sorting is done once: an image weighs 1, and 0 where it is left out.
    """
    n = len(right)
    order = np.argsort(-probabilities, axis=0, kind="stable").T  # (C, N)
    sorted_right = np.take_along_axis(right.T, order, axis=1)
    both, either = (right & given).astype(float), right.astype(float) + given
    part_of = np.random.default_rng(0).permutation(n) % min(n, PARTS)
    figures = np.full((min(n, PARTS), 3), np.nan)
    for part, row in enumerate(figures):
        weight = (part_of != part).astype(float)
        hits, drawn = weight @ both, weight @ either
        present = weight @ right.astype(float) > 0
        if not present.any():
            continue
        weights = weight[order[present]]
        gained = weights * sorted_right[present]
        precision = np.cumsum(gained, axis=1) / np.maximum(np.cumsum(weights, axis=1), 1)
        row[0] = ((precision * gained).sum(axis=1) / gained.sum(axis=1)).mean()
        row[1] = 2 * hits.sum() / max(1, drawn.sum())
        row[2] = (2 * hits[present] / np.maximum(drawn[present], 1)).mean()
    return figures


def _logit_interval(figure: float, without: np.ndarray, n: int, worth: float) -> Interval | None:
    """The 95% interval of a figure of N images, each worth so much, from its (P,) values without
    each part: symmetric in the logit (for average precision Boyd, Eng and Page 2013,
    https://doi.org/10.1007/978-3-642-40994-3_29), its standard error the jackknife's (Tukey 1958).
    Where nothing depends on any part, as where all is right, it is a proportion's of N.
    """
    variance = float(np.square(without - without.mean()).sum()) * (1 - 1 / len(without)) / worth
    if not variance > 0 or not 0 < figure < 1:
        return interval(figure * n, n, worth=worth)
    logit = math.log(figure / (1 - figure))
    half = min(Z * math.sqrt(variance) / (figure * (1 - figure)), MOST)
    return 1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit))


def _row(
    name: str,
    scores: np.ndarray,
    right: np.ndarray,
    given: np.ndarray,
    threshold: float,
    worth: float,
) -> LabelMetrics:
    both, support, predicted = int((right & given).sum()), int(right.sum()), int(given.sum())
    return LabelMetrics(
        name, support, predicted, threshold, both / predicted if predicted else None,
        both / support if support else None, interval(both, support, worth=worth),
        2 * both / (support + predicted) if support else None,
        average_precision(scores, right) if support else None,
    )  # fmt: skip
