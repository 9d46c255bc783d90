"""Wilson's interval against published numbers and by hand."""

import numpy as np
import pytest

from headstart.metrics.intervals import Z, interval, interval_of_mean


def test_wilson_interval_against_published_numbers() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I)."""
    low, high = interval(81, 263) or (0, 0)
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    low, high = interval(10, 10) or (0, 0)
    assert high == 1
    assert 0.6 < low < 0.8
    assert interval(0, 0) is None


def test_one_trial_by_hand() -> None:
    """z^2 = 3.8415: one success of one is 1 / (1 + z^2) at least."""
    assert interval(1, 1) == (pytest.approx(1 / 4.8415, abs=1e-5), 1.0)
    assert interval(0, 1) == (0.0, pytest.approx(3.8415 / 4.8415, abs=1e-5))


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (3, 7), (50, 100), (999, 1000)])
def test_failures_have_the_mirrored_interval(successes: int, n: int) -> None:
    low, high = interval(successes, n) or (0, 0)
    assert 0 <= low <= successes / n <= high <= 1
    assert interval(n - successes, n) == pytest.approx((1 - high, 1 - low))


def test_a_mean_of_equals_has_the_interval_of_all_of_them() -> None:
    """5 times 16 of 20: Wilson's of 80 of 100."""
    ends = interval_of_mean(np.full(5, 16), np.full(5, 20))
    assert ends == pytest.approx(interval(80, 100))
    ends = interval_of_mean(np.full(10, 5), np.full(10, 5))  # all right, few of each
    assert ends == pytest.approx(interval(50, 50))
    assert interval_of_mean(np.full(3, 0), np.full(3, 7)) == pytest.approx(interval(0, 21))


def test_the_mean_of_many_proportions_by_hand() -> None:
    """1,000 trials each: errors of 0.5, 0.9 are sqrt(0.25 / 1000), sqrt(0.09 / 1000)."""
    low, high = interval_of_mean(np.array([500, 900]), np.array([1000, 1000]))
    half = Z * (0.34 / 1000) ** 0.5 / 2
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), abs=1e-3)


def test_a_rare_class_carries_the_interval_of_the_mean() -> None:
    """All of 1,000 and 5 of 10: the mean's ends are half those of the rare class."""
    low, high = interval_of_mean(np.array([1000, 5]), np.array([1000, 10]))
    rare = interval(5, 10) or (0, 1)
    assert (low, high) == pytest.approx(((1 + rare[0]) / 2, (1 + rare[1]) / 2), abs=0.02)


def test_trials_that_count_as_fewer() -> None:
    """Of a quarter of the worth, 80 of 100 are 20 of 25."""
    assert interval(80, 100, worth=0.25) == pytest.approx(interval(20, 25))
    assert interval(100, 100, worth=0.25) == pytest.approx(interval(25, 25))
    assert interval_of_mean(np.full(4, 20), np.full(4, 25), 0.25) == pytest.approx(interval(20, 25))
