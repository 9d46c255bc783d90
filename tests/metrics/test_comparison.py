"""Two classifiers on the same images, by hand."""

import numpy as np
import pytest

from headstart.metrics.comparison import compare, standard_errors


def test_comparison_by_hand() -> None:
    """Of 100 images 10 only the first gets right, 2 only the second: exact McNemar p = 0.0386."""
    labels = np.zeros(100, int)
    right, wrong = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    first, second = np.tile(right, (100, 1)), np.tile(right, (100, 1))
    second[:10], first[10:12] = wrong, wrong
    comparison = compare(first, second, labels)
    assert (comparison.only_first_right, comparison.only_second_right) == (10, 2)
    assert comparison.difference == pytest.approx(0.08)
    assert comparison.p_value == pytest.approx(2 * (1 + 12 + 66) / 4096)
    low, high = comparison.difference_interval
    assert 0 < low < 0.08 < high
    assert comparison.verdict == "the first is better"
    assert compare(second, first, labels).verdict == "the second is better"


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


def test_the_interval_and_the_images_needed_by_hand() -> None:
    """10 images against 2 of 100: Agresti and Min's interval with half an image in each cell."""
    labels = np.zeros(100, int)
    first = np.tile([0.9, 0.1], (100, 1))
    second = first.copy()
    second[:10], first[10:12] = [0.1, 0.9], [0.1, 0.9]
    comparison = compare(first, second, labels)
    half = 1.95996 * (13 - 8**2 / 102) ** 0.5 / 102
    expected = (8 / 102 - half, 8 / 102 + half)
    assert comparison.difference_interval == pytest.approx(expected, abs=1e-5)
    # (1.96 sqrt(0.12) + 0.84 sqrt(0.12 - 0.08^2))^2 / 0.08^2 = 144.8
    assert comparison.images_needed == 145


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
