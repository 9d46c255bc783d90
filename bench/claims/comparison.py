"""Two classifiers on the same images: false alarms, the interval of their difference, agreement."""

from functools import cache

import numpy as np

from claims import FALSE_ALARMS, Draws, claim
from headstart.metrics.comparison import Comparison, compare

# Shares of images that only the first, only the second gets right.
ALIKE = (0.01, 0.03, 0.05, 0.1, 0.2)
APART = ((0.03, 0.01), (0.05, 0.02), (0.1, 0.03), (0.15, 0.05), (0.2, 0.1), (0.25, 0.05))


@cache
def _compared(won: int, lost: int, n: int) -> Comparison:
    """By the product, on probabilities that make these counts."""
    given = np.zeros((2, n), int)
    given[1, :won], given[0, won : won + lost] = 1, 1
    first, second = np.eye(2)[given]
    return compare(first, second, np.zeros(n, int))


def _draw(draws: Draws, n: int, won: float, lost: float) -> list[Comparison]:
    counts = draws.rng.multinomial(n, [won, lost, 1 - won - lost], draws.repeats)
    return [_compared(int(a), int(b), n) for a, b, _ in counts]


@claim("paired test", FALSE_ALARMS, repeats=2000)
def paired_test(draws: Draws) -> dict[str, np.ndarray]:
    """Of two classifiers that are equally good none is called better, but in 5% of cases."""
    return {
        f"{rate:.0%} each way of {n}": np.array(
            [c.verdict != "the data cannot tell" for c in _draw(draws, n, rate, rate)]
        )
        for n in (30, 100, 300) for rate in ALIKE
    }  # fmt: skip


@claim("paired interval", repeats=1000)
def paired_interval(draws: Draws) -> dict[str, np.ndarray]:
    """The interval of a difference in accuracy holds the true difference, where ten images or more
    may be expected to differ; where fewer do it holds it more often.
    """
    outcomes = {}
    for n in (100, 300, 1000):
        for won, lost in (*((rate, rate) for rate in ALIKE), *APART):
            ends = [c.difference_interval for c in _draw(draws, n, won, lost)]
            if n * (won + lost) >= 10:
                held = [low <= won - lost <= high for low, high in ends]
                outcomes[f"{won:.0%} against {lost:.0%} of {n}"] = np.array(held)
    return outcomes


@claim("paired test and interval", (0.0, 0.0), repeats=1000)
def paired_agreement(draws: Draws) -> dict[str, np.ndarray]:
    """The interval of a difference does not hold 0 if and only if one is called better."""
    outcomes = {}
    for n in (12, 50, 300):
        for won, lost in ((0.05, 0.05), (0.2, 0.1), (0.3, 0.15)):
            apart = []
            for c in _draw(draws, n, won, lost):
                low, high = c.difference_interval
                apart.append((low > 0 or high < 0) != (c.verdict != "the data cannot tell"))
            outcomes[f"{won:.0%} against {lost:.0%} of {n}"] = np.array(apart)
    return outcomes
