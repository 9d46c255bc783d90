"""Curves over thresholds, on numbers written by hand."""

import numpy as np
import pytest

from headstart.metrics import curves

SCORES = np.array([0.9, 0.8, 0.8, 0.6, 0.3])
POSITIVE = np.array([True, True, False, True, False])


def test_each_threshold_has_its_precision_recall_and_false_alarms() -> None:
    curve = curves.sweep(SCORES, POSITIVE)
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.6, 0.3]  # equal scores are one threshold
    assert curve.hits.tolist() == [1, 2, 3, 3]
    assert curve.alarms.tolist() == [0, 1, 1, 2]
    assert curve.precision == pytest.approx([1, 2 / 3, 3 / 4, 3 / 5])
    assert curve.recall == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert curve.false_alarms == pytest.approx([0, 1 / 2, 1 / 2, 1])


def test_an_aim_takes_the_lowest_threshold_that_keeps_it() -> None:
    curve = curves.sweep(SCORES, POSITIVE)
    aim = curves.aim_at(curve, 0.75)
    assert (aim.threshold, aim.given, aim.precision, aim.recall) == (0.6, 4, 0.75, 1.0)
    assert aim.precision_interval is not None
    assert aim.precision_interval[0] < 0.75 < aim.precision_interval[1]
    missed = curves.aim_at(curves.sweep(SCORES, ~POSITIVE), 0.9)
    assert (missed.threshold, missed.given, missed.precision) == (None, 0, None)


def test_coverage_counts_the_surest_first() -> None:
    right = np.array([True, True, False, True])
    shares, accuracies = curves.coverage(np.array([0.99, 0.9, 0.6, 0.5]), right)
    assert shares.tolist() == [0.25, 0.5, 0.75, 1]
    assert accuracies == pytest.approx([1, 1, 2 / 3, 3 / 4])
    assert curves.answered_at(np.array([0.99, 0.9, 0.6, 0.5]), right, 0.9) == 0.5
    assert curves.answered_at(np.array([0.99, 0.9]), np.array([False, False]), 0.9) == 0


def test_nothing_is_told_of_no_images() -> None:
    curve = curves.sweep(np.zeros(0), np.zeros(0, bool))
    assert len(curve.thresholds) == len(curve.precision) == 0
    assert curves.reliability(np.zeros(0), np.zeros(0, bool)) == []


def test_reliability_compares_what_is_stated_with_what_is_true() -> None:
    bins = curves.reliability(np.array([0.95, 0.92, 0.4]), np.array([True, False, False]))
    assert bins == [(1, pytest.approx(0.4), 0.0), (2, pytest.approx(0.935), 0.5)]


def test_areas_agree_with_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_curve, roc_curve

    rng = np.random.default_rng(0)
    scores, positive = rng.random(200).round(2), rng.random(200) < 0.4
    curve = curves.sweep(scores, positive)
    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    assert np.allclose(false[1:], curve.false_alarms)
    assert np.allclose(true[1:], curve.recall)
    precision, recall, _ = precision_recall_curve(positive, scores)
    assert np.allclose(precision[:-1][::-1], curve.precision)
    assert np.allclose(recall[:-1][::-1], curve.recall)
