"""What a head is trained on, as one value.

Letters: N images, V views of each, D features.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from headstart.errors import HeadError
from headstart.heads.folds import assign_folds
from headstart.metrics.task import Task
from headstart.system.memory import take_rows

L = TypeVar("L", bound="Labels")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """N labelled images without their features.

    targets: as `task.targets` makes them. groups: (N,) numbers, alike for images that are never on
    both sides of a fold, or None. balanced: whether rare classes are to count as much as others.
    """

    targets: np.ndarray
    task: Task
    groups: np.ndarray | None = None
    balanced: bool = False

    def __len__(self) -> int:
        return len(self.targets)

    def take(self: L, rows: np.ndarray) -> L:
        """Some of the images, by their numbers or a mask."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, targets=self.targets[rows], groups=groups)

    def with_features(self, values: np.ndarray, parts: tuple[slice, ...] = ()) -> "Examples":
        """With their (N, V, D) features, and which of these each of several heads is to see."""
        return Examples(
            values=values, targets=self.targets, task=self.task, groups=self.groups,
            balanced=self.balanced, parts=parts,
        )  # fmt: skip

    @property
    def group_count(self) -> int:
        """How many groups there are; N where each image stands for itself."""
        return len(self) if self.groups is None else len(np.unique(self.groups))

    @property
    def weights(self) -> np.ndarray:
        """(N,) what each image counts."""
        return self.task.balancing_weights(self.targets) if self.balanced else np.ones(len(self))

    def folds(self, count: int, seed: int) -> np.ndarray:
        """(N,) fold numbers. Raises HeadError where all images are of one group."""
        fold_of = assign_folds(self.task.strata(self.targets), self.groups, count, seed)
        if len(fold_of) and fold_of.max() == 0:
            raise HeadError(
                "expected images of two groups or more, to choose by cross-validation, found one "
                "group. Type: --groups with a pattern that tells them apart, or leave it out"
            )
        return fold_of

    def learnable(self, fold_of: np.ndarray) -> np.ndarray:
        """(N,) of which images the class can be learned from the other folds: it is in two folds
        or more. What a head says of a class that it was never shown tells nothing of it.

        All are where an image may be in several classes.
        """
        if self.task.multilabel:
            return np.ones(len(self), bool)
        found = np.zeros((len(self.task.classes), int(fold_of.max(initial=0)) + 1), bool)
        found[self.targets, fold_of] = True
        learnable: np.ndarray = found.sum(axis=1)[self.targets] > 1
        return learnable


@dataclass(frozen=True, kw_only=True)
class Examples(Labels):
    """N labelled images with their features. values: (N, V, D) float32, view 0 the image itself.

    parts: for late fusion, which of the D features each of the heads sees that are averaged; none:
    one head sees all.
    """

    values: np.ndarray
    parts: tuple[slice, ...] = ()

    def take(self, rows: np.ndarray) -> "Examples":
        """Some of the images, by their numbers or a mask."""
        values = take_rows(self.values, np.arange(len(self))[rows])
        return replace(super().take(rows), values=values)

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.values.shape[2])

    @property
    def views(self) -> int:
        """V."""
        return int(self.values.shape[1])

    def split_parts(self) -> "list[Examples]":
        """The same images once for each head, with the features that it sees."""
        if not self.parts:
            return [self]
        return [replace(self, values=self.values[:, :, part], parts=()) for part in self.parts]

    def rows(self) -> np.ndarray:
        """(N * V, D), the views of an image one after the other."""
        return self.values.reshape(len(self) * self.views, self.dimensions)

    def repeat(self, of_images: np.ndarray) -> np.ndarray:
        """What is known of N images, for each of their N * V rows."""
        return of_images if self.views == 1 else np.repeat(of_images, self.views, axis=0)


def split_by_fold(examples: L, fold_of: np.ndarray) -> Iterable[tuple[np.ndarray, L]]:
    """For each fold the numbers of its images, and the images of all others."""
    for fold in range(int(fold_of.max()) + 1):
        yield np.flatnonzero(fold_of == fold), examples.take(np.flatnonzero(fold_of != fold))
