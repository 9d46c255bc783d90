"""From which probabilities on answers are right, on numbers that can be counted by hand."""

import numpy as np
import pytest

from headstart.abstention.selective import OutOfFold, check_accuracy
from headstart.errors import ClassifierError
from headstart.metrics.intervals import CROSSED, interval


def out_of_fold(predicted: list[int], right: list[bool], classes: int = 2) -> OutOfFold:
    """Images in the order of their probabilities, the surest first."""
    count = len(predicted)
    confidence = np.linspace(0.99, 0.5, count, dtype=np.float32)
    return OutOfFold(classes, np.array(predicted, int), confidence, np.array(right, bool))


def test_from_probabilities_the_surest_come_first_and_nan_is_left_out() -> None:
    probabilities = np.array([[0.6, 0.4], [np.nan, np.nan], [0.1, 0.9]], np.float32)
    found = OutOfFold.of(probabilities, np.array([1, 0, 1]))
    assert found.predicted.tolist() == [1, 0]
    assert found.confidence.tolist() == pytest.approx([0.9, 0.6])
    assert found.right.tolist() == [True, False]


def test_one_more_is_counted_wrong_than_was_found() -> None:
    """Of 19 that are right, 1 of 20 to come may be wrong: 95% are kept, with 18 not."""
    nineteen = out_of_fold([0] * 19, [True] * 19, classes=1).answer(0.95)
    assert (nineteen.answered, nineteen.right, nineteen.share) == (19, 19, 1.0)
    eighteen = out_of_fold([0] * 18, [True] * 18, classes=1).answer(0.95)
    assert eighteen.answered == 0
    assert eighteen.thresholds.tolist() == [np.inf]


def test_the_longest_beginning_is_answered_that_keeps_it() -> None:
    right = [True] * 20 + [False] + [True] * 20 + [False] * 5
    found = out_of_fold([0] * 46, right, classes=1).answer(0.95)
    assert found.answered == 41  # one wrong and one more of 42
    assert found.right == 40
    assert found.thresholds[0] == out_of_fold([0] * 46, right, classes=1).confidence[40]


def test_equal_probabilities_are_answered_together_or_not_at_all() -> None:
    confidence = np.array([0.9] * 20 + [0.8] * 2, np.float32)
    right = np.array([True] * 20 + [True, False])
    found = OutOfFold(1, np.zeros(22, int), confidence, right).answer(0.95)
    assert found.answered == 20


def test_a_class_that_is_often_wrong_is_asked_for_more() -> None:
    """Both have enough of their own: the second one's mistakes cost the first one nothing."""
    predicted = [0, 1] * 60
    right = [True if number == 0 else place < 60 for place, number in enumerate(predicted)]
    found = out_of_fold(predicted, right).answer(0.95)
    assert found.thresholds[0] == pytest.approx(0.5, abs=0.01)
    assert found.thresholds[1] > 0.7


def test_small_classes_share_what_they_know() -> None:
    """Ten images of a class vouch for nothing alone."""
    found = out_of_fold([0, 1, 2, 3] * 10, [True] * 40, classes=4).answer(0.95)
    assert found.answered == 40
    assert len(set(found.thresholds.tolist())) == 1


def test_who_is_too_few_at_the_end_joins_those_before() -> None:
    """Of 30, 30 and 30 images two make the 40 that 95% takes; the third has nobody else."""
    found = out_of_fold([0, 1, 2] * 30, [True] * 90, classes=3).answer(0.95)
    assert found.answered == 90


def test_a_class_that_was_never_said_has_a_threshold_too() -> None:
    found = out_of_fold([0] * 40, [True] * 40, classes=3).answer(0.95)
    assert np.isfinite(found.thresholds).all()


def test_the_best_that_can_be_vouched_for_is_told() -> None:
    assert out_of_fold([0] * 9, [True] * 9, classes=1).best == pytest.approx(0.9)
    assert out_of_fold([], [], classes=1).answer(0.9).share_interval == (0.0, 1.0)


@pytest.mark.parametrize("accuracy", [0.3, 1.0, 99.0, float("nan")])
def test_what_cannot_be_asked_for_is_refused(accuracy: float) -> None:
    with pytest.raises(ClassifierError, match=r"expected an accuracy from 0\.5 to below 1, found"):
        check_accuracy(accuracy)


def test_the_answers_are_told_with_the_interval_of_how_many_are_right() -> None:
    found = out_of_fold([0] * 46, [True] * 40 + [False] + [True] * 5, classes=1).answer(0.95)
    assert found.answered == 46
    assert found.accuracy_interval == interval(45, 46, worth=CROSSED)
    assert out_of_fold([], [], classes=1).answer(0.9).accuracy_interval is None
