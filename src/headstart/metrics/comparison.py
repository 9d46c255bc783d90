"""Two classifiers on the same images: is one better, or can the data not tell?"""

import math
from dataclasses import dataclass

import numpy as np

from headstart.metrics.intervals import Interval, Z


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


def standard_errors(losses: np.ndarray, others: np.ndarray) -> float:
    """By how many standard errors of the paired difference the (N,) losses exceed the others."""
    difference = losses - others
    error = float(difference.std(ddof=1)) / len(difference) ** 0.5
    return float(difference.mean()) / error if error else 0.0
