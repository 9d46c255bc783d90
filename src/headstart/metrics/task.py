"""What is asked of an image: which one of the classes it is in, or which of them.

A task carries all that depends on the answer: how labels become targets, the loss, metrics, and how
probabilities become labels. Whoever has a task asks it and need not know which one it is.
Letters: N images, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.metrics.classification import Metrics, evaluate
from headstart.metrics.losses import BinaryCrossEntropy, CrossEntropy, Loss
from headstart.metrics.multilabel import MultiMetrics, best_thresholds, evaluate_multi


@dataclass(frozen=True)
class Task(ABC):
    """classes: the C names, in the order of the probabilities."""

    classes: tuple[str, ...]
    multilabel: ClassVar[bool]
    loss: ClassVar[Loss]

    @abstractmethod
    def targets(self, labels: Sequence[Sequence[str]]) -> np.ndarray:
        """What a head learns: of N images with the names of their classes."""

    @abstractmethod
    def class_counts(self, targets: np.ndarray) -> np.ndarray:
        """(C,) how many images are in each class."""

    @abstractmethod
    def kinds(self, targets: np.ndarray) -> np.ndarray:
        """(N,) numbers by which images are sampled: each kind in its share."""

    @abstractmethod
    def strata(self, targets: np.ndarray) -> np.ndarray:
        """(N,) numbers of what is divided among folds in equal shares."""

    @abstractmethod
    def balancing_weights(self, targets: np.ndarray) -> np.ndarray:
        """(N,) weights by which rare classes count as much as others."""

    @abstractmethod
    def are_right(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N,) of 0 and 1: whether all that is said of an image is right, thresholds at 1/2."""

    @abstractmethod
    def thresholds(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """(C,) probabilities from which a class is given, chosen on these images; None where the
        most probable class is the answer.
        """

    @abstractmethod
    def evaluate(
        self,
        probabilities: np.ndarray,
        targets: np.ndarray,
        thresholds: np.ndarray | None,
        *,
        crossed: bool = False,
    ) -> Metrics | MultiMetrics:
        """Metrics of (N, C) probabilities. crossed: by cross-validation; then intervals are those
        of the classifier that learns from all these images.
        """

    @abstractmethod
    def decide(self, probabilities: np.ndarray, thresholds: np.ndarray | None) -> tuple[str, ...]:
        """The classes that (C,) probabilities of an image mean."""


class SingleLabel(Task):
    """An image is in one class; targets are (N,) class numbers."""

    multilabel = False
    loss = CrossEntropy()

    def targets(self, labels: Sequence[Sequence[str]]) -> np.ndarray:
        number = {name: index for index, name in enumerate(self.classes)}
        return np.array([number[name] for (name,) in labels], np.int64)

    def class_counts(self, targets: np.ndarray) -> np.ndarray:
        return np.bincount(targets, minlength=len(self.classes))

    def kinds(self, targets: np.ndarray) -> np.ndarray:
        return targets

    def strata(self, targets: np.ndarray) -> np.ndarray:
        return targets

    def balancing_weights(self, targets: np.ndarray) -> np.ndarray:
        """(N,) N / (C times the images of the class)."""
        counts = np.maximum(self.class_counts(targets), 1)
        weights: np.ndarray = (len(targets) / (len(self.classes) * counts))[targets]
        return weights

    def are_right(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N,) whether the most probable class is the image's."""
        return (probabilities.argmax(axis=1) == targets) * 1.0

    def thresholds(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        return None

    def evaluate(
        self,
        probabilities: np.ndarray,
        targets: np.ndarray,
        thresholds: np.ndarray | None = None,
        *,
        crossed: bool = False,
    ) -> Metrics:
        return evaluate(probabilities, targets, self.classes, crossed=crossed)

    def decide(
        self, probabilities: np.ndarray, thresholds: np.ndarray | None = None
    ) -> tuple[str, ...]:
        return (self.classes[int(probabilities.argmax())],)


class MultiLabel(Task):
    """An image may be in several classes, or in none; targets are (N, C) of 0 and 1."""

    multilabel = True
    loss = BinaryCrossEntropy()

    def targets(self, labels: Sequence[Sequence[str]]) -> np.ndarray:
        number = {name: index for index, name in enumerate(self.classes)}
        targets = np.zeros((len(labels), len(self.classes)), np.float32)
        for row, names in enumerate(labels):
            targets[row, [number[name] for name in names]] = 1
        return targets

    def class_counts(self, targets: np.ndarray) -> np.ndarray:
        counts: np.ndarray = targets.sum(axis=0)
        return counts

    def kinds(self, targets: np.ndarray) -> np.ndarray:
        """(N,) the rarest of an image's classes, C where it is in none."""
        rarity = np.where(targets == 1, targets.sum(axis=0), np.inf)
        kinds: np.ndarray = np.where(
            targets.any(axis=1), rarity.argmin(axis=1), targets.shape[1]
        )  # fmt: skip
        return kinds

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """(N,) numbers of the combinations of classes that images have."""
        numbers: np.ndarray = np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)
        return numbers

    def balancing_weights(self, targets: np.ndarray) -> np.ndarray:
        """(N,) of the rarest of an image's classes, at least 1."""
        rarity = len(targets) / np.maximum(targets.sum(axis=0), 1)
        weights: np.ndarray = np.maximum((targets * rarity).max(axis=1), 1.0)
        return weights

    def are_right(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N,) whether every class is on its side of 1/2."""
        own = np.where(targets == 1, probabilities, 1 - probabilities)
        return (own.min(axis=1) > 0.5) * 1.0

    def thresholds(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """(C,) those with the highest F1 on these images."""
        return best_thresholds(probabilities, targets)

    def evaluate(
        self,
        probabilities: np.ndarray,
        targets: np.ndarray,
        thresholds: np.ndarray | None,
        *,
        crossed: bool = False,
    ) -> MultiMetrics:
        """Metrics of (N, C) probabilities; thresholds (C,), or (N, C) an image's own."""
        limits = np.full(len(self.classes), 0.5) if thresholds is None else thresholds
        return evaluate_multi(probabilities, targets, self.classes, limits, crossed=crossed)

    def decide(self, probabilities: np.ndarray, thresholds: np.ndarray | None) -> tuple[str, ...]:
        """The classes whose probability reaches the threshold."""
        limits = np.full(len(self.classes), 0.5) if thresholds is None else thresholds
        rows = zip(self.classes, probabilities, limits, strict=True)
        return tuple(name for name, probability, limit in rows if probability >= limit)
