"""What heads are trained on, by hand."""

import numpy as np
import pytest

from headstart.errors import HeadError
from headstart.heads.examples import Labels, split_by_fold
from headstart.metrics.task import MultiLabel, SingleLabel

LABELS = Labels(
    targets=np.array([0, 0, 0, 1]),
    task=SingleLabel(("a", "b")),
    groups=np.array([7, 7, 3, 5]),
)
VALUES = np.arange(4 * 2 * 3, dtype="f4").reshape(4, 2, 3)  # 4 images, 2 views, 3 features


def test_rows_are_the_views_of_an_image_one_after_the_other() -> None:
    examples = LABELS.with_features(VALUES)
    assert (len(examples), examples.views, examples.dimensions) == (4, 2, 3)
    assert examples.rows().shape == (8, 3)
    assert examples.rows()[:3, 0].tolist() == [0, 3, 6]
    assert examples.repeat(examples.targets).tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    alone = LABELS.with_features(VALUES[:, :1])
    assert alone.repeat(alone.targets).tolist() == [0, 0, 0, 1]


def test_a_class_of_one_fold_cannot_be_learned_from_the_others() -> None:
    labels = Labels(targets=np.array([0, 1, 0, 2, 2]), task=SingleLabel(("a", "b", "c", "d")))
    fold_of = np.array([0, 0, 1, 1, 1])
    assert labels.learnable(fold_of).tolist() == [True, False, True, False, False]
    several = Labels(targets=np.eye(5, dtype=bool), task=MultiLabel(tuple("abcde")))
    assert several.learnable(fold_of).all()


@pytest.mark.parametrize("rows", [np.array([3, 0]), np.array([True, False, False, True])])
def test_some_of_the_images_keep_all_that_is_known_of_them(rows: np.ndarray) -> None:
    order = [0, 3] if rows.dtype == bool else [3, 0]
    some = LABELS.with_features(VALUES).take(rows)
    assert some.targets.tolist() == LABELS.targets[order].tolist()
    assert some.groups is not None
    assert LABELS.groups is not None
    assert some.groups.tolist() == LABELS.groups[order].tolist()
    assert np.array_equal(some.values, VALUES[order])
    assert some.task is LABELS.task
    assert Labels(targets=LABELS.targets, task=LABELS.task).take(rows).groups is None


def test_an_image_without_a_group_stands_for_itself() -> None:
    assert LABELS.group_count == 3
    assert Labels(targets=LABELS.targets, task=LABELS.task).group_count == 4


def test_weights_count_classes_alike_where_that_is_asked_for() -> None:
    assert LABELS.weights.tolist() == [1, 1, 1, 1]
    balanced = Labels(targets=LABELS.targets, task=LABELS.task, balanced=True)
    assert balanced.weights == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert balanced.take(np.array([0, 3])).weights.tolist() == [1, 1]  # balanced still


def test_folds_are_of_whole_groups_and_one_group_is_refused() -> None:
    fold = LABELS.folds(3, seed=0)
    assert fold[0] == fold[1]
    assert sorted(set(fold.tolist())) == [0, 1, 2]
    alike = Labels(targets=LABELS.targets, task=LABELS.task, groups=np.zeros(4, int))
    with pytest.raises(HeadError, match="images of two groups or more, to choose by cross-val"):
        alike.folds(3, seed=0)


def test_folds_of_several_classes_share_out_their_combinations() -> None:
    targets = np.array([[1, 0], [0, 1], [1, 1], [0, 0]] * 5, "f4")
    fold = Labels(targets=targets, task=MultiLabel(("a", "b"))).folds(5, seed=0)
    for start in range(4):
        assert sorted(fold[start::4].tolist()) == [0, 1, 2, 3, 4]


def test_each_fold_is_held_out_once() -> None:
    parts = list(split_by_fold(LABELS.with_features(VALUES), np.array([0, 1, 0, 2])))
    assert [numbers.tolist() for numbers, _ in parts] == [[0, 2], [1], [3]]
    assert [rest.targets.tolist() for _, rest in parts] == [[0, 1], [0, 0, 1], [0, 0, 0]]
    assert np.array_equal(parts[1][1].values, VALUES[[0, 2, 3]])
