"""Metrics by hand and against scikit-learn."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from headstart.metrics.classification import Metrics, evaluate
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
    metrics = evaluate(probabilities, np.array([0] * 6 + [1] * 4), ["a", "b"])
    assert metrics.expected_calibration_error == pytest.approx(0.3, abs=1e-6)
    (only,) = metrics.reliability
    assert (only.count, only.accuracy) == (10, 0.6)


def stated(share: float, right: int, n: int) -> Metrics:
    """Of n images, all stated so surely, so many are right."""
    labels = np.array([0] * right + [1] * (n - right))
    return evaluate(np.tile([share, 1 - share], (n, 1)), labels, ["a", "b"])


def test_the_calibration_error_of_chance_by_hand() -> None:
    """Of 100 images stated at 0.8 as many are right as 100 throws of 0.8 give: the standard
    deviation is 0.04, its mean absolute value 0.798 times that, its 95% quantile 1.96 times.
    """
    usual, most = stated(0.8, 80, 100).calibration_error_by_chance or (0, 0)
    assert usual == pytest.approx(0.798 * 0.04, rel=0.1)
    assert most == pytest.approx(0.08, abs=0.011)


def test_what_chance_explains_is_not_told_as_an_error() -> None:
    alike = stated(0.8, 75, 100)
    assert alike.expected_calibration_error == pytest.approx(0.05)
    assert alike.calibration_error_beyond_chance == 0
    line = summary({"validation": alike}).splitlines()[-1]
    assert line.endswith("; stated probabilities are as right as 100 images can tell")


def test_an_error_beyond_chance_is_told_without_its_share() -> None:
    """Off by 0.2, where chance gives 0.032 on average: sqrt(0.2^2 - 0.032^2) = 0.197."""
    off = stated(0.8, 60, 100)
    assert off.calibration_error_beyond_chance == pytest.approx(0.197, abs=0.002)
    assert "; stated probabilities are off by 19." in summary({"validation": off})
    assert summary({"validation": off}).endswith("% on average, beyond chance")


def test_metrics_of_earlier_versions_do_not_say_what_chance_gives(metrics: Metrics) -> None:
    table = metrics.to_dict()
    del table["calibration_error_by_chance"]
    old = Metrics.from_dict(table)
    assert old.calibration_error_beyond_chance is None
    assert old.expected_calibration_error == metrics.expected_calibration_error
    assert summary({"validation": old}).splitlines()[-1] == f"log loss {old.log_loss:.3f}"


@pytest.mark.parametrize("classes", [2, 4])
def test_against_scikit_learn(classes: int) -> None:
    from sklearn import metrics as oracle

    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 300)
    scores = rng.normal(size=(300, classes)) + 2 * np.eye(classes)[labels]
    scores = np.round(scores, 1)  # ties
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    metrics = evaluate(probabilities, labels, [str(i) for i in range(classes)])
    predicted = probabilities.argmax(axis=1)
    assert metrics.accuracy == pytest.approx(oracle.accuracy_score(labels, predicted))
    assert metrics.balanced_accuracy == pytest.approx(
        oracle.balanced_accuracy_score(labels, predicted)
    )
    assert metrics.macro_f1 == pytest.approx(oracle.f1_score(labels, predicted, average="macro"))
    assert metrics.log_loss == pytest.approx(oracle.log_loss(labels, probabilities))
    given = probabilities[:, 1] if classes == 2 else probabilities
    auc = oracle.roc_auc_score(labels, given, multi_class="ovr")
    assert metrics.roc_auc == pytest.approx(auc)


def test_many_classes_of_five_images_have_an_interval_as_all_of_them() -> None:
    """3 of 5 right in each of 10 classes: Wilson's interval of 30 of 50."""
    labels = np.repeat(np.arange(10), 5)
    given = np.where(np.arange(50) % 5 < 3, labels, (labels + 1) % 10)
    metrics = evaluate(np.eye(10)[given], labels, [str(c) for c in range(10)])
    assert metrics.balanced_accuracy_interval == pytest.approx((0.4618, 0.7239), abs=1e-4)


def test_json_there_and_back(metrics: Metrics) -> None:
    text = json.dumps(metrics.to_dict(), allow_nan=False)
    assert Metrics.from_dict(json.loads(text)) == metrics
    assert set(metrics.to_dict()) >= {"accuracy", "accuracy_interval"}


def test_nothing_to_measure_is_none_not_nan() -> None:
    metrics = evaluate(np.zeros((0, 2), "f4"), np.zeros(0, int), ["a", "b"])
    assert metrics.n == 0
    assert metrics.accuracy is None
    assert metrics.log_loss is None
    json.dumps(metrics.to_dict(), allow_nan=False)
    one_class = evaluate(np.array([[0.9, 0.1]], "f4"), np.array([0]), ["a", "b"])
    assert one_class.roc_auc is None
    assert one_class.classes[1].recall is None
    json.dumps(one_class.to_dict(), allow_nan=False)


def test_rows_that_no_fold_covered_are_left_out() -> None:
    probabilities = PROBABILITIES.copy()
    probabilities[3] = np.nan
    assert evaluate(probabilities, LABELS, ["a", "b", "c"]).accuracy == 1


def test_summary_is_short_and_says_the_intervals(metrics: Metrics) -> None:
    text = summary({"train": metrics, "validation": metrics})
    assert "validation        83.3% of 6 images right (95% interval 43.6% to 97.0%)" in text
    assert "weakest class: b, 50% of 2 found" in text
    assert "b taken for a 1x" in text
    assert len(text.splitlines()) <= 8


def test_cross_validation_tells_less_of_the_final_classifier_than_new_images() -> None:
    """Of 140 images by cross-validation each counts as 1 / 1.4: 90% right are 90 of 100."""
    labels = np.arange(140) % 2
    given = np.where(np.arange(140) < 126, labels, 1 - labels)
    metrics = evaluate(np.eye(2)[given], labels, ["a", "b"], crossed=True)
    assert metrics.n == 140
    assert metrics.accuracy == pytest.approx(0.9)
    assert metrics.accuracy_interval == pytest.approx(interval(90, 100))
    assert metrics.balanced_accuracy_interval == pytest.approx(interval(90, 100), abs=1e-6)
    assert metrics.classes[0].recall_interval == pytest.approx(interval(45, 50))


def test_of_very_many_classes_no_matrix_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """All else is the same."""
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    whole = evaluate(probabilities, labels, list("abcd"))
    assert [sum(row) for row in whole.confusion] == [row.support for row in whole.classes]
    monkeypatch.setattr("headstart.metrics.classification.CONFUSED", 3)
    assert evaluate(probabilities, labels, list("abcd")) == replace(whole, confusion=())
