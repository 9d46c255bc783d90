"""Intervals of shares: do they hold the true share as often as they say?

The true shares are drawn around those of a configuration in each repeat, since how often an
interval of counts holds one share alone goes up and down with it (Brown, Cai and DasGupta 2001,
https://doi.org/10.1214/ss/1009213286).
"""

from collections.abc import Callable

import numpy as np

from claims import Draws, claim
from headstart.metrics.intervals import interval, interval_of_mean

SPREAD = 0.5  # standard deviation of the true shares' logits


def _around(shares: np.ndarray | float, size: tuple[int, ...], draws: Draws) -> np.ndarray:
    logits = np.log(shares) - np.log1p(-np.asarray(shares)) + draws.rng.normal(0, SPREAD, size)
    return 1 / (1 + np.exp(-logits))


@claim("accuracy interval", repeats=4000)
def accuracy_interval(draws: Draws) -> dict[str, np.ndarray]:
    """The interval of an accuracy holds the accuracy on endless new images."""
    outcomes = {}
    for n in (30, 100, 300, 1000):
        for middle in (0.6, 0.8, 0.9, 0.97):
            truths = _around(middle, (draws.repeats,), draws)
            ends = [interval(int(k), n) or (0, 1) for k in draws.rng.binomial(n, truths)]
            held = [low <= truth <= high for truth, (low, high) in zip(truths, ends, strict=True)]
            outcomes[f"{middle:.0%} of {n}"] = np.array(held)
    return outcomes


# Images of each class, and the recall of each: equal or apart, few and many errors.
SUPPORTS = {
    "2 x 20": [20] * 2, "2 x 100": [100] * 2, "90 and 10": [90, 10], "190 and 10": [190, 10],
    "10 x 5": [5] * 10, "10 x 20": [20] * 10, "5 falling": [100, 50, 25, 12, 6],
    "50 x 4": [4] * 50, "15 of 20 rare": [100] * 5 + [5] * 15,
}  # fmt: skip
RECALLS: dict[str, Callable[[int], np.ndarray]] = {
    "all 60%": lambda c: np.full(c, 0.6), "all 90%": lambda c: np.full(c, 0.9),
    "all 98%": lambda c: np.full(c, 0.98), "99 to 70%": lambda c: np.linspace(0.99, 0.7, c),
    "50 to 95%": lambda c: np.linspace(0.5, 0.95, c), "the last 50%": lambda c: np.array(
        [0.97] * (c - 1) + [0.5]), "the first 50%": lambda c: np.array([0.5] + [0.97] * (c - 1)),
}  # fmt: skip


@claim("balanced accuracy interval", repeats=400)
def balanced_accuracy_interval(draws: Draws) -> dict[str, np.ndarray]:
    """The interval of a balanced accuracy holds the mean of the classes' true recalls."""
    outcomes = {}
    for sizes, support in SUPPORTS.items():
        n = np.array(support)
        for level, recalls_of in RECALLS.items():
            recalls = _around(recalls_of(len(n)), (draws.repeats, len(n)), draws)
            held = []
            for truth, right in zip(recalls, draws.rng.binomial(n, recalls), strict=True):
                low, high = interval_of_mean(right, n)
                held.append(low <= truth.mean() <= high)
            outcomes[f"{sizes}, {level}"] = np.array(held)
    return outcomes
