"""Who is near whom among the features, exactly, block by block.

Letters: N images, D features, C classes, K neighbours. Distance is 1 - cosine.
"""

from dataclasses import dataclass

import numpy as np

NEAREST = 10  # images of a class that stand for it
# An image is as far from the others as from its 25th neighbour: 20 strangers of one kind do not
# hide each other. Of few images a nearer one, a sixteenth of them.
FAR, LEAST = 25, 5
MOST = 4096  # numbers of a vector; more are projected at random to so many (Johnson-Lindenstrauss)
CELLS = 2**24  # similarities in memory at a time


@dataclass(frozen=True)
class Neighbours:
    """Of each image: near (N, 5) numbers of the nearest, remote (N,) the distance to the
    last of those that `count_far` gives.
    """

    near: np.ndarray
    remote: np.ndarray


def normalise(values: np.ndarray) -> np.ndarray:
    """(N, D) to vectors of length one, of MOST numbers at most."""
    if values.shape[1] > MOST:
        directions = np.random.default_rng(0).standard_normal((values.shape[1], 512), np.float32)
        values = np.concatenate(
            [values[start : start + 256] @ directions for start in range(0, len(values), 256)]
        )
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.maximum(length, 1e-12)).astype(np.float32)


def count_far(count: int) -> int:
    """How many of `count` images are an image's neighbourhood."""
    return int(np.clip(count // 16, min(LEAST, count - 1), FAR))


def find_neighbours(vectors: np.ndarray, most: int = 5) -> Neighbours:
    """Of (N, D) vectors of length one."""
    count = len(vectors)
    far = count_far(count)
    near, remote = np.empty((count, min(most, count - 1)), int), np.empty(count, np.float32)
    for rows in blocks(count, count):
        similar = vectors[rows] @ vectors.T
        similar[np.arange(len(similar)), np.arange(rows.start, rows.stop)] = -2
        first = top(similar, max(far, near.shape[1]))
        near[rows] = first[:, : near.shape[1]]
        remote[rows] = 1 - similar[np.arange(len(similar)), first[:, far - 1]]
    return Neighbours(near, remote)


def top(similar: np.ndarray, count: int) -> np.ndarray:
    """(B, count) places of the largest of each row, the largest first."""
    places = np.argpartition(-similar, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(similar, places, axis=1), axis=1, kind="stable")
    result: np.ndarray = np.take_along_axis(places, order, axis=1)
    return result


def compare_classes(
    vectors: np.ndarray, targets: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """(R,) of some of the N images (by default all): the mean distance to the NEAREST of its class,
    as a share of that and of the same to those of other classes; above 1/2 the others are nearer.
    nan where there is none of one of the two.

    After SelfClean (Groeger et al. 2023, https://arxiv.org/abs/2305.17048), with more neighbours.
    """
    rows = np.arange(len(vectors)) if rows is None else rows
    share = np.empty(len(rows))
    for part in blocks(len(rows), len(vectors)):
        own = rows[part]
        similar = vectors[own] @ vectors.T
        same = targets[own][:, None] == targets[None]
        similar_same = np.where(same, similar, -2)
        similar_same[np.arange(len(own)), own] = -2
        inside = _mean_distance(similar_same)
        outside = _mean_distance(np.where(same, -2, similar))
        share[part] = inside / np.maximum(inside + outside, 1e-12)
    return share


def _mean_distance(similar: np.ndarray) -> np.ndarray:
    """(B,) to the NEAREST of those that are not -2."""
    count = min(NEAREST, similar.shape[1])
    first = np.partition(similar, -count, axis=1)[:, -count:]
    counted = first > -2
    total = np.where(counted, 1 - first, 0).sum(axis=1)
    number = counted.sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def blocks(rows: int, columns: int) -> list[slice]:
    """Rows of a matrix in parts of at most CELLS."""
    step = max(1, CELLS // max(columns, 1))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
