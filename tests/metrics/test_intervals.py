"""Wilson's interval against published numbers and by hand."""

import pytest

from headstart.metrics.intervals import interval


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
