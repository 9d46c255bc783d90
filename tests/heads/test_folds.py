"""Folds: every stratum in equal shares, groups whole, the same each time."""

import numpy as np
import pytest

from headstart.heads.folds import assign_folds


def test_views_of_an_image_are_never_on_both_sides() -> None:
    labels = np.repeat(np.arange(30) % 3, 4)
    groups = np.repeat(np.arange(30), 4)
    fold = assign_folds(labels, groups, 5, 0)
    for group in range(30):
        assert len(set(fold[groups == group])) == 1
    for label in range(3):
        assert [(fold[labels == label] == k).sum() for k in range(5)] == [8] * 5


def test_every_class_is_shared_out_alike() -> None:
    strata = np.repeat([0, 1], [10, 5])
    fold = assign_folds(strata, None, 5, 0)
    assert np.bincount(fold[strata == 0]).tolist() == [2] * 5
    assert np.bincount(fold[strata == 1]).tolist() == [1] * 5


def test_small_classes_do_not_all_begin_with_the_same_fold() -> None:
    fold = assign_folds(np.arange(5), None, 5, 0)  # five classes of one image
    assert sorted(fold) == [0, 1, 2, 3, 4]


def test_the_seed_alone_decides() -> None:
    strata = np.arange(60) % 3
    assert np.array_equal(assign_folds(strata, None, 5, 1), assign_folds(strata, None, 5, 1))
    assert not np.array_equal(assign_folds(strata, None, 5, 1), assign_folds(strata, None, 5, 2))


@pytest.mark.parametrize("groups", [[0, 0, 1, 1], [7, 7, 3, 3]])
def test_fewer_groups_than_folds_leave_no_number_out(groups: list[int]) -> None:
    fold = assign_folds(np.array([0, 1, 0, 1]), np.array(groups), 5, 0)
    assert sorted(set(fold.tolist())) == [0, 1]
    assert fold[0] == fold[1] != fold[2] == fold[3]
