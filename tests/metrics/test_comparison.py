"""Two classifiers on the same images, by hand."""

import numpy as np
import pytest

from headstart.metrics.comparison import Comparison, adjust, compare, standard_errors
from headstart.metrics.intervals import Z, interval

RIGHT, WRONG = [0.9, 0.1], [0.1, 0.9]


def compared(won: int, lost: int, n: int) -> Comparison:
    """Of n images, so many only the first gets right, so many only the second."""
    first, second = np.tile(RIGHT, (n, 1)), np.tile(RIGHT, (n, 1))
    second[:won], first[won : won + lost] = WRONG, WRONG
    return compare(first, second, np.zeros(n, int))


def test_comparison_by_hand() -> None:
    """10 against 2: of 12 fair coins P(X < 2) = 13 / 4096, P(X = 2) = 66 / 4096."""
    comparison = compared(10, 2, 100)
    assert (comparison.only_first_right, comparison.only_second_right) == (10, 2)
    assert comparison.difference == pytest.approx(0.08)
    assert comparison.p_value == pytest.approx(2 * (13 + 66 / 2) / 4096)
    low, high = comparison.difference_interval
    assert 0 < low < 0.08 < high
    assert comparison.verdict == "the first is better"
    assert compared(2, 10, 100).verdict == "the second is better"
    assert compared(2, 10, 100).difference_interval == pytest.approx((-high, -low))


def test_five_to_none_are_told_apart() -> None:
    """p = 2 (1/32) / 2 = 0.031; by the exact test 0.063."""
    assert compared(5, 0, 100).p_value == pytest.approx(1 / 32)
    assert compared(5, 0, 100).verdict == "the first is better"
    assert compared(4, 0, 100).verdict == "the data cannot tell"


@pytest.mark.parametrize("n", [12, 30, 200])
def test_the_interval_holds_0_as_the_test_says(n: int) -> None:
    for won in range(0, n + 1, 1 + n // 30):
        for lost in range(0, n - won + 1, 1 + n // 30):
            comparison = compared(won, lost, n)
            low, high = comparison.difference_interval
            assert -1 <= low <= comparison.difference <= high <= 1
            told = "the data cannot tell" if low <= 0 <= high else (
                "the first is better" if low > 0 else "the second is better")  # fmt: skip
            assert comparison.verdict == told, (won, lost)
            assert (comparison.p_value < 0.05) == (not low <= 0 <= high)


def test_comparison_that_cannot_tell() -> None:
    labels = np.zeros(50, int)
    same = np.tile([0.9, 0.1], (50, 1))
    other = same.copy()
    other[0] = [0.1, 0.9]
    comparison = compare(same, other, labels)
    assert comparison.verdict == "the data cannot tell"
    assert (comparison.images_needed or 0) > 50
    assert compare(same, same, labels).p_value == 1
    assert compare(same, same, labels).images_needed is None


def test_images_that_are_alike_have_the_interval_of_none_that_differ() -> None:
    _, most = interval(0, 100) or (0, 1)
    assert compared(0, 0, 100).difference_interval == pytest.approx((-most, most))


def test_the_interval_between_its_two_sources_by_hand() -> None:
    """All 20 differ, 15 to 5: the end is that of how one-sided they are, times at least Wilson's
    lower end of 20 of 20.
    """
    low, high = compared(15, 5, 20).difference_interval
    shares = np.linspace(0, 1, 100_001)
    ways = np.array([15504, 4845, 1140, 190, 20, 1])  # 20 over 15 and more
    above = sum(
        way * shares**k * (1 - shares) ** (20 - k) * (0.5 if k == 15 else 1)
        for k, way in zip(range(15, 21), ways, strict=True)
    )
    least = 2 * shares[np.searchsorted(above, 0.025)] - 1  # P(X >= 15) = 0.025, half of 15
    rarest, _ = interval(20, 20) or (0, 1)
    assert rarest * least < low <= least + 1e-4
    assert high < 1


def test_the_images_needed_by_hand() -> None:
    # (1.96 sqrt(0.12) + 0.84 sqrt(0.12 - 0.08^2))^2 / 0.08^2 = 144.8
    assert compared(10, 2, 100).images_needed == 145


def test_thousands_of_differing_images_are_as_the_normal_distribution_says() -> None:
    low, high = compared(2000, 1900, 20_000).difference_interval
    half = Z * (3900 - 100**2 / 20_000) ** 0.5 / 20_000
    assert (low, high) == pytest.approx((0.005 - half, 0.005 + half), abs=1e-5)


def test_no_images_tell_nothing() -> None:
    none = compare(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, int))
    assert (none.n, none.difference, none.p_value) == (0, 0, 1)
    assert none.verdict == "the data cannot tell"


def test_standard_errors_of_a_paired_difference_by_hand() -> None:
    # differences 1, 1, 1, 3: mean 1.5, standard deviation 1, error 0.5
    ones = np.array([1.0, 1, 1, 3])
    assert standard_errors(ones, np.zeros(4)) == pytest.approx(3)
    assert standard_errors(np.zeros(4), ones) == pytest.approx(-3)
    assert standard_errors(ones, ones) == 0


def test_p_values_of_several_tests_by_hand() -> None:
    """Holm: the least times 3, the next times 2, none below one before it."""
    assert adjust([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert adjust([0.5, 0.9]) == [1.0, 1.0]
    assert adjust([0.02]) == [0.02]
    assert adjust([]) == []
