"""Metrics by hand and against scikit-learn."""

import json
import math

import numpy as np
import pytest

from headstart.metrics.classification import Metrics, evaluate
from headstart.metrics.comparison import compare
from headstart.metrics.intervals import interval
from headstart.report.words import summary

# Three classes, six images; the fourth is the only one wrong.
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8],
     [0.3, 0.3, 0.4]],
    "f4",
)  # fmt: skip
LABELS = np.array([0, 0, 1, 1, 2, 2])


@pytest.fixture
def metrics() -> Metrics:
    return evaluate(PROBABILITIES, LABELS, ["a", "b", "c"])


def test_by_hand(metrics: Metrics) -> None:
    assert metrics.n == 6
    assert metrics.accuracy == pytest.approx(5 / 6)
    assert metrics.confusion == ((2, 0, 0), (1, 1, 0), (0, 0, 2))
    a, b, c = metrics.classes
    assert (a.support, a.predicted, a.precision, a.recall) == (2, 3, pytest.approx(2 / 3), 1)
    assert (b.precision, b.recall, b.f1) == (1, 0.5, pytest.approx(2 / 3))
    assert c.f1 == 1
    assert metrics.balanced_accuracy == pytest.approx((1 + 0.5 + 1) / 3)
    expected = -sum(map(math.log, [0.8, 0.6, 0.7, 0.4, 0.8, 0.4])) / 6
    assert metrics.log_loss == pytest.approx(expected, rel=1e-5)


def test_calibration_error_by_hand() -> None:
    """Ten images stated at 0.9 of which six are right: off by 0.3."""
    probabilities = np.tile([0.9, 0.1], (10, 1)).astype("f4")
    found = evaluate(probabilities, np.array([0] * 6 + [1] * 4), ["a", "b"])
    assert found.expected_calibration_error == pytest.approx(0.3, abs=1e-6)
    (only,) = found.reliability
    assert (only.count, only.accuracy) == (10, 0.6)


@pytest.mark.parametrize("classes", [2, 4])
def test_against_scikit_learn(classes: int) -> None:
    from sklearn import metrics as oracle

    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 300)
    scores = rng.normal(size=(300, classes)) + 2 * np.eye(classes)[labels]
    scores = np.round(scores, 1)  # ties
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    found = evaluate(probabilities, labels, [str(i) for i in range(classes)])
    predicted = probabilities.argmax(axis=1)
    assert found.accuracy == pytest.approx(oracle.accuracy_score(labels, predicted))
    assert found.balanced_accuracy == pytest.approx(
        oracle.balanced_accuracy_score(labels, predicted)
    )
    assert found.macro_f1 == pytest.approx(oracle.f1_score(labels, predicted, average="macro"))
    assert found.log_loss == pytest.approx(oracle.log_loss(labels, probabilities))
    given = probabilities[:, 1] if classes == 2 else probabilities
    auc = oracle.roc_auc_score(labels, given, multi_class="ovr")
    assert found.roc_auc == pytest.approx(auc)


def test_wilson_interval_against_published_numbers() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I)."""
    low, high = interval(81, 263) or (0, 0)
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    low, high = interval(10, 10) or (0, 0)
    assert high == 1
    assert 0.6 < low < 0.8
    assert interval(0, 0) is None


def test_json_there_and_back(metrics: Metrics) -> None:
    text = json.dumps(metrics.to_dict(), allow_nan=False)
    assert Metrics.from_dict(json.loads(text)) == metrics
    assert set(metrics.to_dict()) >= {"accuracy", "accuracy_interval"}


def test_nothing_to_measure_is_none_not_nan() -> None:
    found = evaluate(np.zeros((0, 2), "f4"), np.zeros(0, int), ["a", "b"])
    assert found.n == 0
    assert found.accuracy is None
    assert found.log_loss is None
    json.dumps(found.to_dict(), allow_nan=False)
    one_class = evaluate(np.array([[0.9, 0.1]], "f4"), np.array([0]), ["a", "b"])
    assert one_class.roc_auc is None
    assert one_class.classes[1].recall is None
    json.dumps(one_class.to_dict(), allow_nan=False)


def test_rows_that_no_fold_covered_are_left_out() -> None:
    probabilities = PROBABILITIES.copy()
    probabilities[3] = np.nan
    assert evaluate(probabilities, LABELS, ["a", "b", "c"]).accuracy == 1


def test_comparison_by_hand() -> None:
    """Of 100 images 10 only the first gets right, 2 only the second: exact McNemar p = 0.0386."""
    labels = np.zeros(100, int)
    right, wrong = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    first, second = np.tile(right, (100, 1)), np.tile(right, (100, 1))
    second[:10], first[10:12] = wrong, wrong
    found = compare(first, second, labels)
    assert (found.only_first_right, found.only_second_right) == (10, 2)
    assert found.difference == pytest.approx(0.08)
    assert found.p_value == pytest.approx(2 * (1 + 12 + 66) / 4096)
    low, high = found.difference_interval
    assert 0 < low < 0.08 < high
    assert found.verdict == "the first is better"
    assert compare(second, first, labels).verdict == "the second is better"


def test_comparison_that_cannot_tell() -> None:
    labels = np.zeros(50, int)
    same = np.tile([0.9, 0.1], (50, 1))
    other = same.copy()
    other[0] = [0.1, 0.9]
    found = compare(same, other, labels)
    assert found.verdict == "the data cannot tell"
    assert (found.images_needed or 0) > 50
    assert compare(same, same, labels).p_value == 1
    assert compare(same, same, labels).images_needed is None


def test_summary_is_short_and_says_the_intervals(metrics: Metrics) -> None:
    text = summary({"train": metrics, "validation": metrics})
    assert "validation        83.3% of 6 images right (95% interval 43.6% to 97.0%)" in text
    assert "weakest class: b, 50% of 2 found" in text
    assert "b taken for a 1x" in text
    assert len(text.splitlines()) <= 8
