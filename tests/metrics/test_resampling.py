"""Recipes over redrawn trainings, by hand and on draws of equals."""

import numpy as np
import pytest

from headstart.metrics.resampling import compare_resampled


def test_the_corrected_test_by_hand() -> None:
    """Mean 0.02, variance 0.0002, two repeats; (1 / 2 + 1 / 4) of it is 0.00015."""
    result = compare_resampled(np.array([0.03, 0.01]), 800, 200)
    error = 0.00015**0.5
    assert result.difference == pytest.approx(0.02)
    # Of one degree of freedom: Cauchy's distribution, 12.706 at 95%.
    assert result.p_value == pytest.approx(1 - 2 / np.pi * np.arctan(0.02 / error))
    assert result.difference_interval == pytest.approx((0.02 - 12.7062 * error,
                                                        0.02 + 12.7062 * error))  # fmt: skip
    assert result.verdict == "the data cannot tell"
    assert result.differences == (0.03, 0.01)


@pytest.mark.parametrize("repeats", [2, 3, 4, 5, 6, 10, 21])
def test_p_values_are_those_of_scipy(repeats: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    differences = np.random.default_rng(repeats).normal(0.01, 0.02, repeats)
    result = compare_resampled(differences, 400, 100)
    t = differences.mean() / ((1 / repeats + 1 / 4) * differences.var(ddof=1)) ** 0.5
    assert result.p_value == pytest.approx(2 * stats.t.sf(abs(t), repeats - 1))
    low, high = result.difference_interval
    expected = stats.t.ppf(0.975, repeats - 1) * abs(differences.mean() / t)
    assert (high - low) / 2 == pytest.approx(expected)


def test_verdicts() -> None:
    clear = np.array([0.10, 0.11, 0.09, 0.10, 0.10])
    assert compare_resampled(clear, 80, 20).verdict == "the first recipe is better"
    assert compare_resampled(-clear, 80, 20).verdict == "the second recipe is better"
    alike = compare_resampled(np.zeros(5), 80, 20)
    assert (alike.p_value, alike.verdict) == (1.0, "the data cannot tell")
    assert alike.difference_interval[0] < 0 < alike.difference_interval[1]
    once = compare_resampled(np.full(2, 0.05), 80, 20)  # one image more, twice
    assert once.verdict == "the data cannot tell"
