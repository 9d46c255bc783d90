"""Which fold an image is in: by class in equal shares, whole groups together."""

import numpy as np

from headstart.errors import HeadError


def assign_folds(
    labels: np.ndarray, groups: np.ndarray | None, folds: int, seed: int
) -> np.ndarray:
    """(N,) fold numbers, stratified by class, whole groups together, at random by the seed."""
    if groups is None:
        groups = np.arange(len(labels))
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    of_group = labels[first]
    rng = np.random.default_rng(seed)
    fold = np.empty(len(first), int)
    offset = 0
    for label in np.unique(of_group):
        members = rng.permutation(np.flatnonzero(of_group == label))
        fold[members] = (offset + np.arange(len(members))) % folds
        offset += len(members)  # small classes do not all begin with the same fold
    _, fold = np.unique(fold, return_inverse=True)
    result: np.ndarray = fold[inverse]
    return result


def several(fold_of: np.ndarray) -> np.ndarray:
    """The folds, if there are two or more; raises HeadError otherwise."""
    if fold_of.max() == 0:
        raise HeadError(
            "expected images of two groups or more, to choose by cross-validation, found one group"
        )
    return fold_of


def combinations(targets: np.ndarray) -> np.ndarray:
    """(N,) numbers of the combinations of classes that images have."""
    _, found = np.unique(targets, axis=0, return_inverse=True)
    result: np.ndarray = found.reshape(-1)
    return result
