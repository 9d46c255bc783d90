"""Metrics of images in one class: accuracy and its relatives, calibration, with intervals.

Letters: N images, C classes. Every proportion comes with its 95% interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np

from headstart.metrics.intervals import CROSSED, Interval, interval, interval_of_mean
from headstart.metrics.losses import CrossEntropy

R = TypeVar("R")
BINS = 15  # of the calibration error, as in Guo et al. 2017
CONFUSED = 1000  # classes up to which a matrix of them is kept
DRAWS = 400  # of labels, to see what chance alone makes of the calibration error


@dataclass(frozen=True)
class ClassMetrics:
    """One class: how many images have it, how many were given it, and how well."""

    name: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None


@dataclass(frozen=True)
class Bin:
    """Images whose top probability lies in a bin: how many, mean probability, share right."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Metrics:
    """What the probabilities of N labelled images are worth. None where it cannot be told.

    confusion: (C, C) counts, rows by true class, columns by predicted class; none of more than
    CONFUSED classes.
    calibration_error_by_chance: mean and 95% quantile of the calibration errors that these
    probabilities have where they are exactly right; None in files of versions that did not say.
    """

    n: int
    accuracy: float | None
    accuracy_interval: Interval | None
    balanced_accuracy: float | None
    balanced_accuracy_interval: Interval | None
    macro_f1: float | None
    top_5_accuracy: float | None
    log_loss: float | None
    brier: float | None
    roc_auc: float | None
    expected_calibration_error: float | None
    reliability: tuple[Bin, ...]
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error_by_chance: tuple[float, float] | None = None

    @property
    def calibration_error_beyond_chance(self) -> float | None:
        """By how much stated probabilities are off on average; 0 where these images cannot tell it
        from chance, None where that is not known.

        Errors of the probabilities and those of chance add up as squares (as in Kumar, Liang and Ma
        2019, https://arxiv.org/abs/1909.10155).
        """
        error, chance = self.expected_calibration_error, self.calibration_error_by_chance
        if error is None or chance is None:
            return None
        usual, most = chance
        return math.sqrt(max(0.0, error**2 - usual**2)) if error > most else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Metrics":
        """What `to_dict` gave; what a later version gave beside it is passed over."""
        values = _known(cls, table)
        for name in ("accuracy_interval", "balanced_accuracy_interval",
                     "calibration_error_by_chance"):  # fmt: skip
            values[name] = tuple(values[name]) if values.get(name) else None
        values["reliability"] = tuple(Bin(**_known(Bin, row)) for row in values["reliability"])
        values["classes"] = tuple(read_row(ClassMetrics, row) for row in values["classes"])
        values["confusion"] = tuple(tuple(row) for row in values["confusion"])
        return cls(**values)


def read_row(kind: type[R], table: Mapping[str, Any]) -> R:
    """A class's row as JSON has it, as the dataclass that it was."""
    ends = table["recall_interval"]
    return kind(**{**_known(kind, table), "recall_interval": tuple(ends) if ends else None})


def _known(kind: type[Any], table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field.name: table[field.name]
        for field in fields(kind)
        if field.name in table or field.default is MISSING
    }


def evaluate(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    crossed: bool = False,
) -> Metrics:
    """Metrics of (N, C) probabilities against (N,) class numbers.

    Rows of nan (images that no fold covered) are left out. crossed: whether these are the images'
    own by cross-validation; then intervals are of the classifier that learns from all of them.
    """
    worth = CROSSED if crossed else 1.0
    count = len(classes)
    known = ~np.isnan(probabilities[:, 0]) if len(probabilities) else np.zeros(0, bool)
    probabilities, labels = probabilities[known], labels[known]
    n = len(labels)
    predicted = probabilities.argmax(axis=1) if n else np.zeros(0, int)
    support, given = (np.bincount(these, minlength=count) for these in (labels, predicted))
    hits = np.bincount(labels[labels == predicted], minlength=count)
    rows = _by_class(hits, support, given, classes, worth)
    right = int(hits.sum())
    top = probabilities.max(axis=1) if n else np.zeros(0)
    bin_of = np.clip(np.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
    bins = _bins(bin_of, top, predicted == labels)
    balanced, balanced_interval = _balanced(hits, support, worth)
    present = [row.f1 for row in rows if row.f1 is not None]
    return Metrics(
        n=n,
        accuracy=right / n if n else None,
        accuracy_interval=interval(right, n, worth=worth),
        balanced_accuracy=balanced,
        balanced_accuracy_interval=balanced_interval,
        macro_f1=sum(present) / len(present) if present else None,
        top_5_accuracy=_top_k(probabilities, labels, 5) if n and count > 5 else None,
        log_loss=float(CrossEntropy().of_probabilities(probabilities, labels).mean())
        if n
        else None,
        brier=_brier(probabilities, labels) if n else None,
        roc_auc=_roc_auc(probabilities, labels),
        expected_calibration_error=(
            sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / n if n else None
        ),
        reliability=bins,
        classes=rows,
        confusion=_confuse(labels, predicted, count) if count <= CONFUSED else (),
        calibration_error_by_chance=_errors_by_chance(bin_of, top) if n else None,
    )


def _confuse(labels: np.ndarray, predicted: np.ndarray, count: int) -> tuple[tuple[int, ...], ...]:
    confusion = np.zeros((count, count), int)
    np.add.at(confusion, (labels, predicted), 1)
    return tuple(map(tuple, confusion.tolist()))


def _by_class(
    hits: np.ndarray, supports: np.ndarray, givens: np.ndarray, classes: Sequence[str], worth: float
) -> tuple[ClassMetrics, ...]:
    rows = []
    counts = zip(classes, hits.tolist(), supports.tolist(), givens.tolist(), strict=True)
    for name, right, support, given in counts:
        rows.append(
            ClassMetrics(
                name=name,
                support=support,
                predicted=given,
                precision=right / given if given else None,
                recall=right / support if support else None,
                recall_interval=interval(right, support, worth=worth),
                f1=2 * right / (support + given) if support else None,
            )
        )
    return tuple(rows)


def _balanced(
    hits: np.ndarray, support: np.ndarray, worth: float
) -> tuple[float | None, Interval | None]:
    """Mean recall of the classes present, and its interval."""
    present = support > 0
    if not present.any():
        return None, None
    n, right = support[present], hits[present]
    return float((right / n).mean()), interval_of_mean(right, n, worth)


def _top_k(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return float(((probabilities > own[:, None]).sum(axis=1) < k).mean())


def _brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance from the one-hot label, 0 to 2 (Brier 1950)."""
    squares = np.square(probabilities, dtype=np.float64).sum(axis=1)
    own = probabilities[np.arange(len(labels)), labels]
    return float((squares - 2 * own + 1).mean())


def _roc_auc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the ROC curve; one class against the rest, averaged, for more than two."""
    count = probabilities.shape[1] if probabilities.ndim == 2 else 0
    columns = [1] if count == 2 else range(count)
    areas = [_auc(probabilities[:, index], labels == index) for index in columns]
    defined = [area for area in areas if area is not None]
    return sum(defined) / len(defined) if defined and len(defined) == len(areas) else None


def _auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Mann and Whitney's statistic, ties counting half."""
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[inverse][positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def _bins(bin_of: np.ndarray, top: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """Equal-width bins of the top probability that hold images."""
    bins = []
    for number in range(BINS):
        inside = bin_of == number
        if inside.any():
            bins.append(
                Bin(int(inside.sum()), float(top[inside].mean()), float(right[inside].mean()))
            )
    return tuple(bins)


def _errors_by_chance(bin_of: np.ndarray, top: np.ndarray) -> tuple[float, float]:
    """Mean and 95% quantile of the calibration errors of N images, each of which is right with the
    probability that is stated: seeded draws.
    """
    rng = np.random.default_rng(0)
    stated = top.astype(np.float64)
    expected = np.bincount(bin_of, stated, BINS)
    errors = np.empty(DRAWS)
    for draw in range(DRAWS):
        right = np.bincount(bin_of, rng.random(len(top)) < stated, BINS)
        errors[draw] = np.abs(right - expected).sum() / len(top)
    return float(errors.mean()), float(np.quantile(errors, 0.95))
