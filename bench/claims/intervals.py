"""Intervals of shares: do they hold the true share as often as they say?"""

import numpy as np

from claims import Draws, claim
from headstart.metrics.classification import evaluate
from headstart.metrics.intervals import interval


@claim("accuracy interval", repeats=4000)
def accuracy_interval(draws: Draws) -> dict[str, np.ndarray]:
    """The interval of an accuracy holds the accuracy on endless new images."""
    outcomes = {}
    for n in (30, 100, 300, 1000):
        for truth in (0.6, 0.8, 0.9, 0.97):
            right = draws.rng.binomial(n, truth, draws.repeats)
            ends = {k: interval(int(k), n) or (0.0, 1.0) for k in np.unique(right)}
            held = [ends[k][0] <= truth <= ends[k][1] for k in right]
            outcomes[f"{truth:.0%} of {n}"] = np.array(held)
    return outcomes


def _probabilities(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) one-hot probabilities and (N,) labels that have this (C, C) confusion."""
    classes = len(confusion)
    rows, columns = np.indices(confusion.shape).reshape(2, -1)
    labels, given = (np.repeat(side, confusion.ravel()) for side in (rows, columns))
    return np.eye(classes)[given], labels


# Images of each class, and the recall of each: equal or apart, few and many errors.
SUPPORTS = {
    "2 x 20": [20] * 2, "2 x 100": [100] * 2, "90 and 10": [90, 10], "190 and 10": [190, 10],
    "10 x 5": [5] * 10, "10 x 20": [20] * 10, "5 falling": [100, 50, 25, 12, 6],
    "50 x 4": [4] * 50, "20 rare": [100] * 5 + [5] * 15,
}  # fmt: skip
RECALLS = {
    "all 60%": lambda c: np.full(c, 0.6), "all 90%": lambda c: np.full(c, 0.9),
    "all 98%": lambda c: np.full(c, 0.98), "70 to 99%": lambda c: np.linspace(0.99, 0.7, c),
    "50 to 95%": lambda c: np.linspace(0.95, 0.5, c),
}  # fmt: skip


@claim("balanced accuracy interval", repeats=1000)
def balanced_accuracy_interval(draws: Draws) -> dict[str, np.ndarray]:
    """The interval of a balanced accuracy holds the mean of the classes' true recalls."""
    outcomes = {}
    for sizes, support in SUPPORTS.items():
        n = np.array(support)
        for level, recalls_of in RECALLS.items():
            recalls = recalls_of(len(n))
            truth, held = recalls.mean(), []
            for right in draws.rng.binomial(n, recalls, (draws.repeats, len(n))):
                confusion = np.diag(right)
                confusion[np.arange(len(n)), (np.arange(len(n)) + 1) % len(n)] = n - right
                measured = evaluate(*_probabilities(confusion), [str(c) for c in range(len(n))])
                low, high = measured.balanced_accuracy_interval or (0.0, 1.0)
                held.append(low <= truth <= high)
            outcomes[f"{sizes}, {level}"] = np.array(held)
    return outcomes
