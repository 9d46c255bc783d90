"""Intervals of a proportion and of a mean of proportions.

Letters: C proportions, of so many trials each.
"""

import math

import numpy as np

Z = 1.959963984540054  # of a two-sided 95% interval
TRIALS = 4  # imaginary ones by which each of several proportions is drawn towards their mean
HALVINGS = 40  # of a bisection
# So many new images an image is worth that is judged by cross-validation, for the classifier that
# learns from all: heads that share most of their images err together, and have seen a fifth less
# (Bates, Hastie and Tibshirani 2024, https://doi.org/10.1080/01621459.2023.2197686).
# Measured for linear heads: bench/truth.py "cross-validation interval".
CROSSED = 1 / 1.4


Interval = tuple[float, float]


def interval(successes: float, n: float, z: float = Z, worth: float = 1.0) -> Interval | None:
    """Wilson's score interval of a proportion (Wilson 1927,
    https://doi.org/10.1080/01621459.1927.10502953), of 95% unless another normal quantile `z` is
    given; None for no trials. worth: of a trial, less than 1 where they are not independent.
    """
    if n == 0:
        return None
    share, z2 = successes / n, z * z
    n = n * worth
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return low, high


def interval_of_mean(successes: np.ndarray, n: np.ndarray, worth: float = 1.0) -> Interval:
    """The 95% score interval of the mean of C proportions, from (C,) successes in (C,) trials, of
    each at least one. worth: of a trial, as in `interval`.

    As Wilson's it ends where the mean found is Z standard errors from a mean supposed, the errors
    being those under the supposed one (Miettinen and Nurminen 1985,
    https://doi.org/10.1002/sim.4780040211, for two proportions). What each proportion is supposed
    to be then is taken to first order: it moves in the share that it has in the variance. Where
    all have alike successes and trials this is Wilson's of all of them. Few trials say little of
    their own variance, so for it each proportion is drawn towards the mean.
    """
    mean = float((successes / n).mean())
    drawn = (successes + TRIALS * mean) / (n + TRIALS)
    n = n * worth
    variance = drawn * (1 - drawn) / n
    if not variance.any():  # all succeeded, or none
        variance = 1 / n
    moves = variance / variance.mean()
    drawn = drawn + (mean - drawn.mean()) * moves

    def end(beyond: float) -> float:
        inside = mean
        for _ in range(HALVINGS):
            supposed = (inside + beyond) / 2
            shares = np.clip(drawn + (supposed - mean) * moves, 0, 1)
            error = math.sqrt(float((shares * (1 - shares) / n).sum())) / len(n)
            if abs(supposed - mean) <= Z * error:
                inside = supposed
            else:
                beyond = supposed
        return inside

    return end(0.0), end(1.0)
