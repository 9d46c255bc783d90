"""What probabilities are worth at every threshold: precision, recall, false alarms, coverage.

Letters: N images, T thresholds, from the highest down.
"""

from dataclasses import dataclass

import numpy as np

from headstart.metrics.intervals import Interval, interval


@dataclass(frozen=True)
class Thresholds:
    """Of one class against all others: what giving it from each threshold on would do.

    thresholds (T,): the different scores, the highest first. hits, alarms (T,): images of the
    class and others that reach it. positives, negatives: how many there are.
    """

    thresholds: np.ndarray
    hits: np.ndarray
    alarms: np.ndarray
    positives: int
    negatives: int

    @property
    def precision(self) -> np.ndarray:
        """(T,) share of the images given the class that have it."""
        return self.hits / (self.hits + self.alarms)

    @property
    def recall(self) -> np.ndarray:
        """(T,) share of the images of the class that are given it."""
        return self.hits / max(1, self.positives)

    @property
    def false_alarms(self) -> np.ndarray:
        """(T,) share of the other images that are given it."""
        return self.alarms / max(1, self.negatives)


def sweep(scores: np.ndarray, positive: np.ndarray) -> Thresholds:
    """All thresholds of (N,) scores; positive: (N,) whether an image has the class."""
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], positive[order].astype(int)
    last = np.flatnonzero(np.diff(ranked, append=-np.inf))  # of those with the same score
    hits, alarms = np.cumsum(right)[last], np.cumsum(1 - right)[last]
    total = int(right.sum())
    return Thresholds(ranked[last], hits, alarms, total, len(right) - total)


@dataclass(frozen=True)
class Aim:
    """The lowest threshold at which so much precision is kept, and what it then does.

    threshold, precision, recall: None where no threshold keeps it. given: images that reach it.
    """

    aimed: float
    threshold: float | None
    given: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None


def aim_at(curve: Thresholds, precision: float) -> Aim:
    """Where the class is given as often as `precision` allows."""
    kept = np.flatnonzero(curve.precision >= precision)
    if not len(kept):
        return Aim(precision, None, 0, None, None, None, None)
    at = int(kept[-1])
    hits, given = int(curve.hits[at]), int(curve.hits[at] + curve.alarms[at])
    return Aim(
        precision, float(curve.thresholds[at]), given, hits / given, interval(hits, given),
        hits / curve.positives if curve.positives else None, interval(hits, curve.positives),
    )  # fmt: skip


def coverage(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) shares answered and (T,) accuracies of these, if only the surest are answered (El-Yaniv
    and Wiener 2010, https://jmlr.org/papers/v11/el-yaniv10a.html).

    confidence: (N,) probability of what is said. right: (N,) whether it is true.
    """
    curve = sweep(confidence, right)
    answered = curve.hits + curve.alarms
    return answered / max(1, len(right)), curve.hits / answered


def answered_at(confidence: np.ndarray, right: np.ndarray, accuracy: float) -> float:
    """The largest share of images that can be answered with so much accuracy; 0 for none."""
    shares, accuracies = coverage(confidence, right)
    kept = shares[accuracies >= accuracy]
    return float(kept[-1]) if len(kept) else 0.0


def reliability(stated: np.ndarray, right: np.ndarray, bins: int = 10) -> list[tuple[float, ...]]:
    """Of bins of equal width that hold images: how many, mean probability stated, share right."""
    bin_of = np.clip(np.ceil(stated * bins).astype(int) - 1, 0, bins - 1)
    return [
        (int(inside.sum()), float(stated[inside].mean()), float(right[inside].mean()))
        for number in range(bins)
        if (inside := bin_of == number).any()
    ]
