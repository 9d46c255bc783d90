"""What pictures show, on numbers written by hand."""

import math
from pathlib import Path

import numpy as np

from headstart.metrics.comparison import compare, compare_right
from headstart.report.charts import RowChart
from headstart.runs.page_charts import chart_history, chart_learning, mark_epochs
from headstart.runs.pictures import chart_tried, name_training

RIGHT = np.arange(200) < 150
BETTER, SAME = np.arange(200) < 190, RIGHT.copy()


def test_each_is_drawn_against_the_first_with_its_verdict() -> None:
    rows = [("as it was", 0.75, (0.7, 0.8)), ("views", 0.95, (0.9, 0.98)), ("decay", 0.75, None)]
    pairs = [compare_right(BETTER, RIGHT), compare_right(SAME, RIGHT)]
    accuracies, differences = chart_tried(rows, "views", pairs)
    assert [row.note for row in accuracies.rows] == ["75.0%", "95.0%", "75.0%"]
    assert [row.strong for row in differences.rows] == [False, True, False]
    assert [row.note for row in differences.rows] == ["", "+20.0% better", "+0.0% cannot tell"]
    assert isinstance(differences, RowChart)
    assert differences.signed
    assert [row.name for row in differences.rows] == [row.name for row in accuracies.rows]


def test_one_alone_has_nothing_to_be_drawn_against() -> None:
    assert len(chart_tried([("as it was", 0.75, (0.7, 0.8))], "as it was", [])) == 1


def test_a_comparison_needs_only_who_was_right() -> None:
    labels = np.zeros(200, int)
    first, second = (np.stack([right, ~right], axis=1).astype(float) for right in (BETTER, RIGHT))
    assert compare(first, second, labels) == compare_right(BETTER, RIGHT)


def test_the_best_epoch_and_the_kept_one_are_marked() -> None:
    history = {"val_loss": [0.5, math.nan, 0.3, 0.4]}
    assert mark_epochs(history, 4) == [(3.0, "best for validation: 3"), (4.0, "kept: 4")]
    assert mark_epochs(history, 3) == [(3, "best for validation, and kept: 3")]
    assert mark_epochs({}, None) == []


def test_only_what_images_judge_has_an_interval() -> None:
    history = {"accuracy": [0.6, 0.9], "val_accuracy": [0.5, 0.7], "loss": [1.0, 0.2]}
    accuracy, loss = chart_history(history, None, 100)
    training, validation = accuracy.lines
    assert not training.low
    assert validation.low[0] < 0.5 < validation.high[0]
    assert len(loss.lines) == 1


def test_the_hardest_classes_lie_faint_behind_a_learning_curve() -> None:
    classes = {f"class {number}": (0.1, number / 10) for number in range(10)}
    curve = {"sizes": [10, 20], "accuracies": [0.4, 0.5], "intervals": [[0.3, 0.5], [0.4, 0.6]],
             "classes": classes,
             "overall": {"forecast": 0.6, "gain_interval": [0.0, 0.2]}}  # fmt: skip
    chart = chart_learning(curve)
    assert [line.name for line in chart.lines if line.faint] == [f"class {n}" for n in range(8)]
    assert "the 8 hardest of 10 classes" in chart.about


def test_a_picture_says_of_what_it_is() -> None:
    images = {"train": 1200, "validation": 5}
    told = name_training(Path("runs/photos-1"), "/home/you/photos", images, ["a", "b"])
    assert told == "photos-1, trained on photos: 1,200 train, 5 validation images of 2 classes"
