"""Metrics of images in several classes: mean average precision, F1, exact match, with intervals.

Letters: N images, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from headstart.metrics.classification import read_row
from headstart.metrics.intervals import Interval, interval

SAMPLES = 1000  # of the bootstrap over images
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
    probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str], thresholds: np.ndarray
) -> MultiMetrics:
    """Metrics of (N, C) probabilities against (N, C) targets of 0 and 1.

    thresholds: (C,), or (N, C) where each image has its own, whose means are then told.
    Intervals by a seeded bootstrap over the images, the exact match's by Wilson.
    """
    n = len(targets)
    given = probabilities >= thresholds
    limits = np.atleast_2d(thresholds).mean(axis=0)
    right = targets.astype(bool)
    exact = int((given == right).all(axis=1).sum())
    rows = [
        _row(name, probabilities[:, c], right[:, c], given[:, c], float(limits[c]))
        for c, name in enumerate(classes)
    ]
    samples = _bootstrap(probabilities, right, given) if n else np.empty((0, 3))
    figures = _figures(probabilities, right, given) if n else (np.nan,) * 3
    ends: list[Interval | None] = [
        (float(np.nanpercentile(column, 2.5)), float(np.nanpercentile(column, 97.5)))
        if n and not np.isnan(column).all() else None
        for column in samples.T
    ]  # fmt: skip
    values: list[float | None] = [None if np.isnan(value) else float(value) for value in figures]
    return MultiMetrics(
        n, exact / n if n else None, interval(exact, n), values[0], ends[0], values[1], ends[1],
        values[2], ends[2], float((given != right).mean()) if n else None, tuple(rows),
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


def _bootstrap(probabilities: np.ndarray, right: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(S, 3) figures of as many images drawn with replacement, seeded.

    Sorting is done once: a draw gives each image a weight, how often it was drawn.
    """
    n = len(right)
    order = np.argsort(-probabilities, axis=0, kind="stable").T  # (C, N)
    sorted_right = np.take_along_axis(right.T, order, axis=1)
    both, either = (right & given).astype(float), right.astype(float) + given
    rng = np.random.default_rng(0)
    samples = np.full((SAMPLES, 3), np.nan)
    for sample in samples:
        weight = np.bincount(rng.integers(0, n, n), minlength=n)
        hits, drawn = weight @ both, weight @ either
        present = weight @ right.astype(float) > 0
        if not present.any():
            continue
        weights = weight[order[present]]
        gained = weights * sorted_right[present]
        precision = np.cumsum(gained, axis=1) / np.maximum(np.cumsum(weights, axis=1), 1)
        sample[0] = ((precision * gained).sum(axis=1) / gained.sum(axis=1)).mean()
        sample[1] = 2 * hits.sum() / max(1, drawn.sum())
        sample[2] = (2 * hits[present] / np.maximum(drawn[present], 1)).mean()
    return samples


def _row(
    name: str, scores: np.ndarray, right: np.ndarray, given: np.ndarray, threshold: float
) -> LabelMetrics:
    both, support, predicted = int((right & given).sum()), int(right.sum()), int(given.sum())
    return LabelMetrics(
        name, support, predicted, threshold, both / predicted if predicted else None,
        both / support if support else None, interval(both, support),
        2 * both / (support + predicted) if support else None,
        average_precision(scores, right) if support else None,
    )  # fmt: skip
