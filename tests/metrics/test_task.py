"""What is asked of an image: one class, or several; by hand."""

import numpy as np
import pytest

from headstart.metrics.classification import Metrics
from headstart.metrics.losses import BinaryCrossEntropy, CrossEntropy
from headstart.metrics.multilabel import MultiMetrics
from headstart.metrics.task import MultiLabel, SingleLabel

ONE, SEVERAL = SingleLabel(("a", "b", "c")), MultiLabel(("a", "b", "c"))
LABELS = [("a",), ("a", "b"), (), ("a", "c")]
TARGETS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1]])


def test_a_task_knows_its_kind_and_its_loss() -> None:
    assert (ONE.multilabel, SEVERAL.multilabel) == (False, True)
    assert isinstance(ONE.loss, CrossEntropy)
    assert isinstance(SEVERAL.loss, BinaryCrossEntropy)


def test_labels_become_targets() -> None:
    assert ONE.targets([("c",), ("a",), ("c",)]).tolist() == [2, 0, 2]
    assert SEVERAL.targets(LABELS).tolist() == TARGETS.tolist()
    assert ONE.targets([]).shape == (0,)
    assert SEVERAL.targets([]).shape == (0, 3)
    with pytest.raises(ValueError, match="too many values"):
        ONE.targets([("a", "b")])


def test_images_of_each_class_are_counted() -> None:
    assert ONE.class_counts(np.array([0, 0, 1])).tolist() == [2, 1, 0]
    assert SEVERAL.class_counts(TARGETS).tolist() == [3, 1, 1]


def test_an_image_of_several_classes_is_of_the_kind_of_its_rarest() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]])
    assert SEVERAL.kinds(labels).tolist() == [1, 0, 2, 2, 3]
    assert ONE.kinds(np.array([2, 0])).tolist() == [2, 0]


def test_strata_are_classes_or_their_combinations() -> None:
    assert ONE.strata(np.array([2, 0, 2])).tolist() == [2, 0, 2]
    numbers = SEVERAL.strata(np.concatenate([TARGETS, TARGETS]))
    assert numbers[:4].tolist() == numbers[4:].tolist()
    assert len(set(numbers.tolist())) == 4


def test_rare_classes_weigh_as_much_as_others() -> None:
    weights = ONE.balancing_weights(np.array([0, 0, 0, 1, 2, 2]))
    assert weights == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2, 1, 1])
    assert np.bincount([0, 0, 0, 1, 2, 2], weights) == pytest.approx([2, 2, 2])
    # of the rarest class: 4 images of which a has 3, b and c have 1
    assert SEVERAL.balancing_weights(TARGETS) == pytest.approx([4 / 3, 4, 1, 4])


def test_all_that_is_said_of_an_image_must_be_right() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]])
    assert ONE.are_right(probabilities, np.array([0, 1])).tolist() == [1, 0]
    probabilities = np.array([[0.9, 0.1, 0.1], [0.9, 0.4, 0.1], [0.1, 0.1, 0.6], [0.9, 0.2, 0.7]])
    assert SEVERAL.are_right(probabilities, TARGETS).tolist() == [1, 0, 0, 1]


def test_the_most_probable_class_or_those_that_reach_their_thresholds() -> None:
    row = np.array([0.5, 0.3, 0.2])
    assert ONE.decide(row) == ("a",)
    assert SEVERAL.decide(row, None) == ("a",)
    assert SEVERAL.decide(row, np.array([0.6, 0.3, 0.1])) == ("b", "c")
    assert SEVERAL.decide(row, np.array([0.6, 0.6, 0.6])) == ()


def test_only_several_classes_have_thresholds() -> None:
    assert ONE.thresholds(np.eye(3), np.arange(3)) is None
    probabilities = np.repeat(np.linspace(0, 1, 101)[:, None], 3, axis=1)
    targets = (probabilities > 0.295).astype("f4")
    targets[:, 2] = 0
    targets[-5:, 2] = 1  # too few to choose by
    thresholds = SEVERAL.thresholds(probabilities, targets)
    assert thresholds == pytest.approx([0.295, 0.295, 0.5], abs=0.006)


def test_each_kind_has_its_metrics() -> None:
    metrics = ONE.evaluate(np.eye(3, dtype="f4"), np.array([0, 1, 1]))
    assert isinstance(metrics, Metrics)
    assert metrics.accuracy == pytest.approx(2 / 3)
    assert [row.name for row in metrics.classes] == ["a", "b", "c"]
    several = SEVERAL.evaluate(TARGETS * 0.4, TARGETS, None)
    assert isinstance(several, MultiMetrics)
    assert several.accuracy == 0.25  # nothing reaches one half: right of the image in no class
    at = SEVERAL.evaluate(TARGETS * 0.4, TARGETS, np.full(3, 0.3))
    assert at.accuracy == 1
    assert [row.threshold for row in at.classes] == pytest.approx([0.3] * 3)
