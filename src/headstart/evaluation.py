"""Metrics with intervals, calibration, comparison: pure NumPy.

Letters: N images, C classes. Every proportion comes with its 95% interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

Z = 1.959963984540054  # of a two-sided 95% interval
BINS = 15  # of the calibration error, as in Guo et al. 2017
Interval = tuple[float, float]


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

    confusion: (C, C) counts, rows by true class, columns by predicted class.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Metrics":
        """What `to_dict` gave."""
        values = {field.name: table[field.name] for field in fields(cls)}
        for name in ("accuracy_interval", "balanced_accuracy_interval"):
            values[name] = tuple(values[name]) if values[name] else None
        values["reliability"] = tuple(Bin(**row) for row in values["reliability"])
        values["classes"] = tuple(
            ClassMetrics(**{**row, "recall_interval": tuple(row["recall_interval"] or ()) or None})
            for row in values["classes"]
        )
        values["confusion"] = tuple(tuple(row) for row in values["confusion"])
        return cls(**values)


def evaluate(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Metrics:
    """Metrics of (N, C) probabilities against (N,) class numbers.

    Rows of nan (images that no fold covered) are left out.
    """
    count = len(classes)
    known = ~np.isnan(probabilities[:, 0]) if len(probabilities) else np.zeros(0, bool)
    probabilities, labels = probabilities[known], labels[known]
    n = len(labels)
    predicted = probabilities.argmax(axis=1) if n else np.zeros(0, int)
    confusion = np.zeros((count, count), int)
    np.add.at(confusion, (labels, predicted), 1)
    rows = _by_class(confusion, classes)
    right = int(np.trace(confusion))
    top = probabilities.max(axis=1) if n else np.zeros(0)
    bins = _bins(top, predicted == labels)
    balanced, balanced_interval = _balanced(confusion)
    present = [row.f1 for row in rows if row.f1 is not None]
    return Metrics(
        n=n,
        accuracy=right / n if n else None,
        accuracy_interval=interval(right, n),
        balanced_accuracy=balanced,
        balanced_accuracy_interval=balanced_interval,
        macro_f1=sum(present) / len(present) if present else None,
        top_5_accuracy=_top_k(probabilities, labels, 5) if n and count > 5 else None,
        log_loss=_log_loss(probabilities, labels) if n else None,
        brier=_brier(probabilities, labels) if n else None,
        roc_auc=_roc_auc(probabilities, labels),
        expected_calibration_error=(
            sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / n if n else None
        ),
        reliability=bins,
        classes=rows,
        confusion=tuple(tuple(int(value) for value in row) for row in confusion),
    )


def interval(successes: int, n: int) -> Interval | None:
    """Wilson's 95% score interval of a proportion (Wilson 1927,
    https://doi.org/10.1080/01621459.1927.10502953); None for no trials.
    """
    if n == 0:
        return None
    share, z2 = successes / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def _by_class(confusion: np.ndarray, classes: Sequence[str]) -> tuple[ClassMetrics, ...]:
    rows = []
    for index, name in enumerate(classes):
        right = int(confusion[index, index])
        support, given = int(confusion[index].sum()), int(confusion[:, index].sum())
        rows.append(
            ClassMetrics(
                name=name,
                support=support,
                predicted=given,
                precision=right / given if given else None,
                recall=right / support if support else None,
                recall_interval=interval(right, support),
                f1=2 * right / (support + given) if support else None,
            )
        )
    return tuple(rows)


def _balanced(confusion: np.ndarray) -> tuple[float | None, Interval | None]:
    """Mean recall of the classes present; its interval from their binomial variances
    (Agresti-Coull counts, so that perfect recalls have a width too).
    """
    support = confusion.sum(axis=1)
    present = support > 0
    if not present.any():
        return None, None
    n, right = support[present], np.diag(confusion)[present]
    mean = float((right / n).mean())
    share = (right + 2) / (n + 4)
    half = Z * math.sqrt(float((share * (1 - share) / (n + 4)).sum())) / len(n)
    return mean, (max(0.0, mean - half), min(1.0, mean + half))


def _top_k(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return float(((probabilities > own[:, None]).sum(axis=1) < k).mean())


def _log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(own, 1e-15, 1)).mean())


def _brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance from the one-hot label, 0 to 2 (Brier 1950)."""
    squares = np.square(probabilities, dtype=np.float64).sum(axis=1)
    own = probabilities[np.arange(len(labels)), labels]
    return float((squares - 2 * own + 1).mean())


def _roc_auc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the ROC curve; one class against the rest, averaged, for more than two."""
    count = probabilities.shape[1] if probabilities.ndim == 2 else 0
    wanted = [1] if count == 2 else range(count)
    areas = [_auc(probabilities[:, index], labels == index) for index in wanted]
    told = [area for area in areas if area is not None]
    return sum(told) / len(told) if told and len(told) == len(areas) else None


def _auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Mann and Whitney's statistic, ties counting half."""
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[inverse][positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def _bins(top: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """Equal-width bins of the top probability that hold images."""
    index = np.clip(np.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
    found = []
    for number in range(BINS):
        inside = index == number
        if inside.any():
            found.append(
                Bin(int(inside.sum()), float(top[inside].mean()), float(right[inside].mean()))
            )
    return tuple(found)


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same images: accuracy of the first minus that of the second."""

    n: int
    difference: float
    difference_interval: Interval
    only_first_right: int
    only_second_right: int
    p_value: float
    images_needed: int | None  # to tell such a difference four times in five
    verdict: str


def compare(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> Comparison:
    """Paired comparison of (N, C) probabilities: exact McNemar test (McNemar 1947) and the
    interval of the difference by Agresti and Min 2005 (https://doi.org/10.1002/sim.1781).
    """
    a, b = first.argmax(axis=1) == labels, second.argmax(axis=1) == labels
    n, only_a, only_b = len(labels), int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    p_value = min(1.0, 2 * _binomial_tail(min(only_a, only_b), discordant)) if discordant else 1.0
    # Agresti and Min: half an observation added to each of the four cells.
    x, y, m = only_a + 0.5, only_b + 0.5, n + 2
    middle = (x - y) / m
    half = Z * math.sqrt(max(0.0, x + y - (x - y) ** 2 / m)) / m
    difference = (only_a - only_b) / n if n else 0.0
    verdict = "the data cannot tell"
    if p_value < 0.05:
        verdict = "the first is better" if difference > 0 else "the second is better"
    needed = None
    if difference:
        rate = discordant / n
        needed = math.ceil((Z * math.sqrt(rate) + 0.8416 * math.sqrt(
            max(0.0, rate - difference**2))) ** 2 / difference**2)  # fmt: skip
    return Comparison(n, difference, (max(-1.0, middle - half), min(1.0, middle + half)), only_a,
                      only_b, p_value, needed, verdict)  # fmt: skip


def _binomial_tail(k: int, n: int) -> float:
    """P(X <= k) for n fair coins."""
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
        for i in range(k + 1)
    ]
    return math.fsum(map(math.exp, logs))


TITLES = {"train": "training", "cross_validation": "cross-validation", "all": "all images"}


def summary(metrics: Mapping[str, Any]) -> str:
    """A few lines for the terminal, on the split that tells most about new images."""
    lines = []
    order = ["train", "cross_validation", "validation", "test", "all"]
    for split in sorted(metrics, key=lambda name: order.index(name) if name in order else 9):
        found = metrics[split]
        if found.accuracy is None or found.accuracy_interval is None:
            continue
        low, high = found.accuracy_interval
        lines.append(
            f"{TITLES.get(split, split):<17}{found.accuracy:6.1%} of {found.n:,} images right "
            f"(95% interval {low:.1%} to {high:.1%})"
        )
    telling = next(
        (metrics[s] for s in ("test", "validation", "all", "cross_validation") if s in metrics
         and metrics[s].n), None,
    )  # fmt: skip
    if telling is not None and not isinstance(telling, Metrics):
        return "\n".join(lines + telling.details())
    return "\n".join(lines + (_details(telling) if telling else []))


def _details(found: Metrics) -> list[str]:
    lines = []
    supports = [row.support for row in found.classes if row.support]
    if found.balanced_accuracy is not None and max(supports) > 1.5 * min(supports):
        lines.append(f"balanced accuracy {found.balanced_accuracy:.1%} (classes count alike)")
    if len(found.classes) > 2:
        weakest = min(
            (row for row in found.classes if row.recall is not None),
            key=lambda row: row.recall or 0,
        )
        if weakest.recall is not None and weakest.recall < 1:
            lines.append(
                f"weakest class: {weakest.name}, {weakest.recall:.0%} of {weakest.support} found"
            )
    confused = sorted(
        (
            (count, found.classes[i].name, found.classes[j].name)
            for i, row in enumerate(found.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ),
        key=lambda entry: -entry[0],
    )[:3]
    if confused:
        told = ", ".join(f"{a} taken for {b} {count}x" for count, a, b in confused)
        lines.append(f"most confused: {told}")
    if found.expected_calibration_error is not None:
        lines.append(
            f"log loss {found.log_loss:.3f}; stated probabilities are off by "
            f"{found.expected_calibration_error:.1%} on average"
        )
    return lines
