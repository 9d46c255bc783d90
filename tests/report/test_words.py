"""What a training tells a person, by hand."""

import numpy as np

from headstart.metrics.classification import Metrics, evaluate
from headstart.metrics.task import MultiLabel
from headstart.report.words import (
    describe_accuracy,
    describe_doubts,
    describe_epochs,
    describe_selection,
    suggest_doubts,
)

DOUBTS = {
    "temperature": 1.5,
    "answers": [
        {"accuracy": 0.95, "share": 1.0, "interval": [0.9, 1.0], "accuracy_interval": [0.86, 0.99]},
        {"accuracy": 0.99, "share": 0.5, "interval": [0.4, 0.6], "accuracy_interval": None},
    ],
    "left_out": [
        {"class": "ants", "refused": 83, "images": 100, "interval": [0.7, 0.9]},
        {"class": "bees", "refused": 10, "images": 100, "interval": [0.05, 0.18]},
        {"class": "wasps", "refused": 50, "images": 100, "interval": [0.4, 0.6]},
    ],
}


def measured(confusion: list[list[int]]) -> Metrics:
    """Images of class i taken for class j, so many."""
    labels = [i for i, row in enumerate(confusion) for n in row for _ in range(n)]
    given = [j for row in confusion for j, n in enumerate(row) for _ in range(n)]
    names = ["ants", "bees", "wasps"][: len(confusion)]
    return evaluate(np.eye(len(confusion), dtype="f4")[given], np.array(labels), names)


def test_how_good_how_sure_and_what_guessing_would_reach() -> None:
    lines = describe_accuracy(
        {"train": measured([[9, 0], [0, 9]]), "test": measured([[8, 2], [0, 10]])}
    )
    # Wilson's interval of 18 of 20.
    assert lines == [
        "Right on 90.0% of 20 test images; on new ones like them between 69.9% and 97.2% "
        "(95% interval).",
        "Guessing the commonest class, ants, would be right on 50.0%.",
        "Most confused: ants taken for bees 2x.",
    ]


def test_uneven_classes_are_counted_alike_too_and_the_weakest_is_named() -> None:
    lines = describe_accuracy({"validation": measured([[8, 0, 0], [2, 2, 0], [0, 0, 8]])})
    assert "Each class counted alike, right on 83.3%." in lines
    assert "Weakest class: bees, 50% of 4 found." in lines


def test_several_classes_an_image() -> None:
    task = MultiLabel(("a", "b"))
    probabilities = np.array([[0.9, 0.9], [0.9, 0.1], [0.2, 0.8], [0.6, 0.9]], "f4")
    targets = np.array([[1, 1], [1, 0], [0, 1], [0, 1]], "f4")
    figures = task.evaluate(probabilities, targets, np.array([0.5, 0.5]))
    first, weakest = describe_accuracy({"validation": figures})
    assert first.startswith("All classes of an image right on 75.0% of 4 validation images; on new")
    assert weakest.startswith("Weakest class: a, F1 ")


def test_without_images_that_tell_nothing_is_told() -> None:
    assert describe_accuracy({"train": measured([[9, 0], [0, 9]])}) == []


def test_the_best_epoch_and_the_one_that_is_used() -> None:
    history = {"loss": [3, 2, 1], "val_loss": [0.9, 0.5, 0.7], "val_accuracy": [0.6, 0.8, 0.75]}
    assert describe_epochs(history, None) == (
        "Lowest validation loss: epoch 2, 80.0% right; the classifier has the weights of epoch 3 "
        "of 3."
    )
    assert describe_epochs({"loss": [3, 2, 1]}, 2) == (
        "The classifier has the weights of epoch 2 of 3."
    )
    assert "epoch 1;" in describe_epochs({"val_loss": [0.9, float("nan")]}, None)


def test_doubts_in_figures_and_in_a_line_each() -> None:
    assert describe_doubts(DOUBTS) == [
        "stated probabilities are calibrated: logits divided by 1.50",
        "answers 100% of images (90% to 100%) at 0.95 right (86.0% to 99.0%), 50% of images "
        '(40% to 60%) at 0.99 right, else "not sure" (predict --accuracy; by cross-validation)',
        '"none of these" at 5% false alarms (predict --reject 0.05): trained without ants, 83% of '
        "ants were refused (70% to 90%); trained without bees, 10% of bees were refused "
        "(5% to 18%)",
    ]
    first, second = suggest_doubts(DOUBTS)
    assert first.startswith("Not sure: predict --accuracy 0.99 answers 50% of images")
    assert second.startswith("None of these: predict --reject 0.05")
    assert describe_doubts({}) == suggest_doubts({}) == []


def test_what_was_chosen_before_and_now() -> None:
    known = {
        "images": 1200, "seconds": 4.25, "chosen": "top_relu", "accuracy": 0.9,
        "interval": [0.8, 0.95], "last": 0.85, "tried": [1, 2],
    }  # fmt: skip
    assert describe_selection(known) == (
        "measured on 1,200 training images, 2 candidates in 4.2 s: top_relu (90.0%, 80.0% to "
        "95.0%; the last layer 85.0%)"
    )
    assert "measured before on 1,200 training images: " in (
        describe_selection(known, before=True) or ""
    )
    assert describe_selection({"accuracy": None}) is None
