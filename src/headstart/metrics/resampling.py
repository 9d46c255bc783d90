"""Two recipes over redrawn training images: is one better, or was it luckier?

Letters: R repeats.
"""

import math
from dataclasses import dataclass

import numpy as np

from headstart.metrics.intervals import Interval

HALVINGS = 60


@dataclass(frozen=True)
class Resampled:
    """Accuracy of the first recipe minus that of the second, over redrawn training images.

    differences: of each repeat. train, test: images that were learned from and judged by.
    """

    difference: float
    difference_interval: Interval
    p_value: float
    differences: tuple[float, ...]
    train: int
    test: int
    verdict: str


def compare_resampled(differences: np.ndarray, train: int, test: int) -> Resampled:
    """Of (R,) differences in accuracy, each of a training on `train` images judged by `test` others
    of the same ones: the corrected resampled t-test (Nadeau and Bengio 2003,
    https://doi.org/10.1023/A:1024068626366). Repeats share images, so their mean is less certain
    than that of so many independent ones.
    """
    repeats = len(differences)
    mean = float(differences.mean())
    # Accuracies come in steps of one image: alike by rounding is not alike.
    variance = max(float(differences.var(ddof=1)), 1 / (12 * test**2))
    error = math.sqrt((1 / repeats + test / train) * variance)
    freedom = repeats - 1
    p_value = _two_sided(abs(mean) / error, freedom)
    half = error * _quantile(freedom)
    verdict = "the data cannot tell"
    if p_value < 0.05:
        verdict = "the first recipe is better" if mean > 0 else "the second recipe is better"
    ends = max(-1.0, mean - half), min(1.0, mean + half)
    return Resampled(mean, ends, p_value, tuple(map(float, differences)), train, test, verdict)


def _two_sided(t: float, freedom: int) -> float:
    """P(|T| > t) of Student's distribution (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    inside = math.sin(angle) * total
    return 1 - (2 / math.pi * (angle + inside) if odd else inside)


def _quantile(freedom: int) -> float:
    """The t that |T| exceeds in one of twenty cases."""
    low, high = 0.0, 100.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _two_sided(middle, freedom) > 0.05 else (low, middle)
    return high
