"""Which fold an image is in: every stratum in equal shares, whole groups together.

Letters: N images.
"""

import numpy as np


def assign_folds(
    strata: np.ndarray, groups: np.ndarray | None, folds: int, seed: int
) -> np.ndarray:
    """(N,) fold numbers, stratified by class, whole groups together, at random by the seed."""
    if groups is None:
        groups = np.arange(len(strata))
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    of_group = strata[first]
    rng = np.random.default_rng(seed)
    fold = np.empty(len(first), int)
    offset = 0
    for stratum in np.unique(of_group):
        members = rng.permutation(np.flatnonzero(of_group == stratum))
        fold[members] = (offset + np.arange(len(members))) % folds
        offset += len(members)  # small classes do not all begin with the same fold
    result: np.ndarray = fold[inverse]
    return result
