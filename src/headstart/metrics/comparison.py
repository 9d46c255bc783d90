"""Two classifiers on the same images: is one better, or can the data not tell?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.metrics.intervals import HALVINGS, Interval, Z, interval

# A quarter turn, over which an interval's width is divided between two sources of chance.
ANGLES = np.linspace(0, math.pi / 2, 17)


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same images: accuracy of the first minus that of the second.

    The verdict, the p-value and the interval are of one test: one is better if and only if p is
    below 0.05, which is if and only if the interval does not hold 0.
    """

    n: int
    difference: float
    difference_interval: Interval
    only_first_right: int
    only_second_right: int
    p_value: float
    images_needed: int | None  # to tell such a difference four times in five
    verdict: str


def compare(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> Comparison:
    """Paired comparison of (N, C) probabilities: McNemar's test by the mid-p value (Fagerland,
    Lydersen and Laake 2013, https://doi.org/10.1186/1471-2288-13-91), and its interval.
    """
    return compare_right(first.argmax(axis=1) == labels, second.argmax(axis=1) == labels)


def compare_right(a: np.ndarray, b: np.ndarray) -> Comparison:
    """The same of two classifiers of which (N,) whether they were right is known."""
    n, only_a, only_b = len(a), int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    fewer = min(only_a, only_b)
    p_value = min(1.0, 2 * float(_mid_p(fewer, discordant, np.array([0.5]))[0]))
    difference = (only_a - only_b) / n if n else 0.0
    verdict = "the data cannot tell"
    if p_value < 0.05:
        verdict = "the first is better" if difference > 0 else "the second is better"
    needed = None
    if difference:
        rate = discordant / n
        needed = math.ceil((Z * math.sqrt(rate) + 0.8416 * math.sqrt(
            max(0.0, rate - difference**2))) ** 2 / difference**2)  # fmt: skip
    ends = (-_most(only_b, only_a, n), _most(only_a, only_b, n)) if n else (-1.0, 1.0)
    return Comparison(n, difference, ends, only_a, only_b, p_value, needed, verdict)


def _most(wins: int, losses: int, n: int) -> float:
    """The upper end of the 95% interval of the difference that so many images won, and so many
    lost, of N make.

    The difference is the share of images on which the two differ, times how one-sidedly they do.
    The one has Wilson's interval, the other the mid-p one of McNemar's test; both are combined by
    propagating imprecision (Newcombe 2011, https://doi.org/10.1080/03610921003764225): the
    greatest product of two ends whose squared normal quantiles add up to that of 95%. The sign is
    the second one's, which alone is at its end there: so the interval holds 0 as the test says.
    """
    differ = wins + losses
    tails = np.array([math.erfc(Z * math.sin(angle) / math.sqrt(2)) / 2 for angle in ANGLES])
    sides = 2 * _highest_share(wins, differ, tails) - 1
    ends = [interval(differ, n, Z * math.cos(angle)) or (0.0, 1.0) for angle in ANGLES]
    low, high = np.array(ends).T
    return float(np.where(sides > 0, high * sides, low * sides).max())


def _highest_share(k: int, n: int, tails: np.ndarray) -> np.ndarray:
    """(T,) shares of which k of n or fewer have the (T,) mid-p values."""
    low, high = np.zeros(len(tails)), np.ones(len(tails))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        likely = _mid_p(k, n, middle) >= tails
        low, high = np.where(likely, middle, low), np.where(likely, high, middle)
    return high


def _mid_p(k: int, n: int, shares: np.ndarray) -> np.ndarray:
    """(T,) P(X < k) + P(X = k) / 2 of n trials that succeed with the (T,) shares."""
    counts = np.arange(k + 1)
    ways = np.zeros(k + 1)  # logarithms of n over 0 .. k
    ways[1:] = np.cumsum(np.log((n + 1 - counts[1:]) / counts[1:]))
    likely, unlikely = np.log(shares)[:, None], np.log1p(-shares)[:, None]
    chances = np.exp(ways + counts * likely + (n - counts) * unlikely)
    result: np.ndarray = chances.sum(axis=1) - chances[:, -1] / 2
    return result


def adjust(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests as they would be of one, so that of tests that are all false one in
    twenty series has any below 0.05 (Holm 1979, https://www.jstor.org/stable/4615733).
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, number in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[number]))
        adjusted[number] = highest
    return adjusted


def standard_errors(losses: np.ndarray, others: np.ndarray) -> float:
    """By how many standard errors of the paired difference the (N,) losses exceed the others."""
    difference = losses - others
    error = float(difference.std(ddof=1)) / len(difference) ** 0.5
    return float(difference.mean()) / error if error else 0.0
