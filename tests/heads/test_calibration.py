"""Temperatures by hand."""

import numpy as np
import pytest

from headstart.heads.calibration import (
    apply_temperature,
    calibrate,
    smoothing_temperature,
    temperature,
    temperature_by_others,
)
from headstart.metrics.losses import BinaryCrossEntropy, CrossEntropy


def test_temperature_by_hand() -> None:
    """Logits twice too large: probabilities 0.75 stated as 0.9; halving them makes them true."""
    labels = np.array([0, 0, 0, 1] * 25)
    scores = np.tile([np.log(9.0), 0.0], (100, 1))
    loss = CrossEntropy()
    assert temperature(scores, labels, loss) == pytest.approx(2.0, abs=1e-3)
    assert temperature(scores / 2, labels, loss) == 1.0
    assert temperature(scores[:8], labels[:8], loss) == 1.0


def test_temperature_of_several_classes_by_hand() -> None:
    """Each of two classes is stated at 0.9 and right three times of four."""
    targets = np.tile([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], (25, 1))
    scores = np.tile([np.log(9.0), -np.log(9.0)], (100, 1))
    assert temperature(scores, targets, BinaryCrossEntropy()) == pytest.approx(2.0, abs=1e-3)


def test_what_gains_next_to_nothing_is_left_as_it_is() -> None:
    targets = np.array([0, 0, 0, 1] * 25)
    scores = np.tile([1.02 * np.log(3.0), 0.0], (100, 1))  # 1.02 would take off 4e-5
    assert temperature(scores, targets, CrossEntropy()) == 1.0
    assert temperature(scores * 1.1, targets, CrossEntropy()) == pytest.approx(1.122, abs=1e-3)


def test_a_temperature_keeps_within_its_limits() -> None:
    right = np.array([0, 0, 0, 0, 1] * 20)  # four of five
    sure = np.tile([1000.0, 0.0], (100, 1))
    assert temperature(sure, right, CrossEntropy()) == pytest.approx(4.0, abs=1e-3)
    shy = np.tile([1.0, 0.0], (100, 1))  # ln 4 would be true
    assert temperature(shy, right, CrossEntropy()) == 1  # never surer


def test_a_temperature_by_others_by_hand() -> None:
    """Three of four right where 0.9 is stated, in one half; all right in the other."""
    labels = np.array([0, 0, 0, 1] * 25 + [0] * 100)
    scores = np.tile([np.log(9.0), 0.0], (200, 1))
    fold_of = np.repeat([0, 1], 100)
    heats = temperature_by_others(scores, labels, CrossEntropy(), fold_of)
    assert heats[:100] == pytest.approx(1.0)
    assert heats[100:] == pytest.approx(2.0, abs=1e-3)


def test_probabilities_at_a_temperature_by_hand() -> None:
    at_two = apply_temperature(np.array([[0.9, 0.1], [0.5, 0.5]]), 2.0)
    assert at_two == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))
    at_half = apply_temperature(np.array([[0.75, 0.25]]), 0.5)
    assert at_half == pytest.approx(np.array([[0.9, 0.1]]))
    certain = apply_temperature(np.array([[1.0, 0.0]], "f4"), 2.0)
    assert np.isfinite(certain).all()
    assert certain[0, 0] > 0.999


def test_what_is_calibrated_says_what_is_true() -> None:
    stated = np.tile([0.9, 0.1], (100, 1))
    probabilities, value = calibrate(stated, np.array([0, 0, 0, 1] * 25))
    assert probabilities[0] == pytest.approx([76 / 102, 26 / 102], abs=1e-4)  # one more of each
    assert value == pytest.approx(np.log(9) / np.log(76 / 26), abs=1e-3)


def test_a_network_is_made_no_surer_than_its_images_can_tell() -> None:
    stated = np.tile([0.8, 0.2], (100, 1))
    probabilities, value = calibrate(stated, np.zeros(100, int))  # all are right
    assert probabilities[0] == pytest.approx([101 / 102, 1 / 102], abs=1e-4)
    assert value < 1


@pytest.mark.parametrize(
    ("times", "smoothing", "classes", "expected"),
    [
        (2.0, 0.2, 2, 2.0),  # smoothed by 0.2, one of two classes is 0.9: ln 9 apart
        (3.0, 0.3, 3, 3.0),  # smoothed by 0.3, one of three is 0.8, the others 0.1: ln 8
        (0.5, 0.2, 2, 1.0),  # never below 1
    ],
)
def test_the_temperature_of_smoothed_labels_by_hand(
    times: float, smoothing: float, classes: int, expected: float
) -> None:
    own = 1 - smoothing + smoothing / classes
    logits = np.zeros((30, classes))
    targets = np.arange(30) % classes
    logits[np.arange(30), targets] = times * np.log(own / (smoothing / classes))
    assert smoothing_temperature(logits, targets, smoothing) == pytest.approx(expected, abs=1e-4)
    shifted = logits + 7  # a softmax does not see it
    assert smoothing_temperature(shifted, targets, smoothing) == pytest.approx(expected, abs=1e-4)
