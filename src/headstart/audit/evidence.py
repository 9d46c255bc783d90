"""What images are judged by: who is near whom, who shows the same, what heads say of them.

Letters: N images, D features, C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from headstart.audit.duplicates import Pair, compare_pairs, find_pairs, join, propose_nearest
from headstart.audit.neighbours import Neighbours, find_neighbours, normalise
from headstart.audit.pixels import Looks, look
from headstart.data.item import Item
from headstart.data.ties import group_numbers
from headstart.heads import linear
from headstart.heads.calibration import temperature
from headstart.heads.examples import Examples
from headstart.metrics.task import Task
from headstart.system.progress import Progress

LEAST = 10  # images that cross-validation needs
SAMPLE, PAIRS = 300, 100  # images, and nearest pairs, that are looked at in brief


@dataclass(frozen=True)
class Evidence:
    """Of N usable images: vectors (N, D) of length one, looks, neighbours, pairs that show the
    same.
    """

    items: tuple[Item, ...]
    task: Task
    vectors: np.ndarray = field(repr=False)
    looks: Looks = field(repr=False)
    neighbours: Neighbours = field(repr=False)
    pairs: tuple[Pair, ...] = ()

    @cached_property
    def targets(self) -> np.ndarray:
        """As the task makes them."""
        return self.task.targets([item.labels for item in self.items])

    @cached_property
    def groups(self) -> np.ndarray:
        """(N,) numbers, alike for images of one group and for those that show the same."""
        given = group_numbers(self.items)
        count = len(self.items)
        tied = [(pair.first, pair.second) for pair in self.pairs]
        if given is not None:
            _, first = np.unique(given, return_index=True)
            tied += [(int(first[number]), i) for i, number in enumerate(given.tolist())]
        return join(count, tied)


@dataclass(frozen=True)
class Opinions:
    """What heads say of N images that they have not seen. probabilities: (N, C), nan where none
    says anything. right: of validation and test images, whether a head of the training images is
    right.
    """

    probabilities: np.ndarray
    right: Callable[[], Mapping[Item, bool]]


def examine(items: Sequence[Item], task: Task, values: np.ndarray, looks: Looks) -> Evidence:
    """The evidence in the (N, D) features and the looks of N images."""
    vectors = normalise(values)
    neighbours = find_neighbours(vectors)
    pairs = find_pairs(looks, neighbours.near, [item.content_hash for item in items])
    return Evidence(tuple(items), task, vectors, looks, neighbours, tuple(pairs))


def examine_in_brief(
    items: Sequence[Item], task: Task, values: np.ndarray, progress: Progress
) -> Evidence:
    """The same where seconds count: of the images themselves only a sample is looked at, and the
    pairs that are nearest to each other by their features.
    """
    vectors = normalise(values)
    neighbours = find_neighbours(vectors, 1)
    contents = [item.content_hash for item in items]
    proposed = propose_nearest(vectors, neighbours.near[:, 0], contents, PAIRS)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(items), min(SAMPLE, len(items)), replace=False)
    rows = np.union1d(chosen, np.array(proposed, int).reshape(-1))
    looks = look(items, progress, rows)
    pairs = compare_pairs(looks, proposed)
    return Evidence(tuple(items), task, vectors, looks, neighbours, tuple(pairs))


def ask_heads(evidence: Evidence, values: np.ndarray, folds: int, seed: int) -> Opinions:
    """By cross-validation of linear heads on the (N, D) features, images that show the same in one
    fold: else a wrong label would be learned from its copy.
    """
    task, targets, groups = evidence.task, evidence.targets, evidence.groups

    def right() -> Mapping[Item, bool]:
        return _try_on_others(evidence, values, folds, seed)

    if len(targets) < LEAST or len(np.unique(groups)) < 2:
        nothing = np.full((len(targets), len(task.classes)), np.nan)
        return Opinions(nothing, right)
    examples = Examples(values=values[:, None], targets=targets, task=task, groups=groups)
    logits = linear.cross_validate(examples, folds=folds, seed=seed).logits
    known = ~np.isnan(logits[:, 0])
    heat = temperature(logits[known], targets[known], task.loss)
    return Opinions(task.loss.probabilities(logits / np.float32(heat)), right)


def _try_on_others(
    evidence: Evidence, values: np.ndarray, folds: int, seed: int
) -> dict[Item, bool]:
    training = np.array([item.split == "train" for item in evidence.items])
    if training.all() or training.sum() < LEAST:
        return {}
    examples = Examples(
        values=values[training, None], targets=evidence.targets[training], task=evidence.task,
        groups=evidence.groups[training],
    )  # fmt: skip
    if examples.group_count < 2:
        return {}
    head = linear.fit(examples, folds=folds, seed=seed).head()
    others = np.flatnonzero(~training)
    hits = evidence.task.are_right(head.probabilities(values[others]), evidence.targets[others])
    return {evidence.items[i]: bool(hit) for i, hit in zip(others.tolist(), hits, strict=True)}
