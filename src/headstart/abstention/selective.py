"""Answers only where an accuracy that is asked for is kept: selective classification.

What a training says of its own images by heads that have not seen them tells from which probability
on its answers are right so often. Letters: N images, C classes.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headstart.errors import ClassifierError
from headstart.metrics.intervals import CROSSED, Interval, interval

OWN = 2  # a class has a threshold of its own with so many times the images that one needs at least


@dataclass(frozen=True)
class Answers:
    """What is answered at an accuracy, by cross-validation.

    thresholds: (C,) the least probability at which a class is answered; infinite where it is never.
    answered, right: how many of N training images are answered, and of these rightly.
    """

    accuracy: float
    thresholds: np.ndarray
    images: int
    answered: int
    right: int

    @property
    def share(self) -> float:
        """Of images that are answered."""
        return self.answered / max(self.images, 1)

    @property
    def share_interval(self) -> Interval:
        """Its 95% interval, for new images."""
        return interval(self.answered, self.images, worth=CROSSED) or (0.0, 1.0)

    @property
    def accuracy_interval(self) -> Interval | None:
        """The 95% interval of how many answers to new images are right; None where none is given.

        What is asked for is kept on average over trainings, not by each of them.
        """
        return interval(self.right, self.answered, worth=CROSSED)


@dataclass(frozen=True)
class OutOfFold:
    """Of N training images the class that others' heads give them, its probability, and whether it
    is theirs.

    predicted: (N,) class numbers. confidence: (N,) float32. right: (N,) bool.
    """

    classes: int
    predicted: np.ndarray
    confidence: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, targets: np.ndarray) -> "OutOfFold":
        """From (N, C) out-of-fold probabilities, nan where there is none, and (N,) class numbers;
        the surest first.
        """
        known = ~np.isnan(probabilities[:, 0])
        probabilities, targets = probabilities[known], targets[known]
        predicted = probabilities.argmax(axis=1)
        confidence = probabilities.max(axis=1).astype(np.float32)
        order = np.argsort(-confidence, kind="stable")
        predicted, confidence = predicted[order].astype(np.int32), confidence[order]
        return cls(probabilities.shape[1], predicted, confidence, predicted == targets[order])

    def answer(self, accuracy: float) -> Answers:
        """From which probabilities on so many answers are right.

        Of the images given a class the most are answered of which (wrong + 1) / (answered + 1) is
        at most 1 - accuracy: the one that is added stands for the image to come (as in Barber and
        Candes 2015, https://doi.org/10.1214/15-AOS1337), and makes the accuracy kept on average
        over trainings. A class with few images shares its threshold with the next larger ones until
        they have enough together.
        """
        thresholds = np.full(self.classes, np.inf, np.float32)
        for group in self._groups(accuracy):
            inside = np.isin(self.predicted, group)
            thresholds[group] = _least(self.confidence[inside], self.right[inside], accuracy)
        answered = self.confidence >= thresholds[self.predicted]
        right = int((self.right & answered).sum())
        return Answers(accuracy, thresholds, len(answered), int(answered.sum()), right)

    @cached_property
    def best(self) -> float:
        """The highest accuracy that can be kept on any image, all classes taken together; below 0
        where there are no images.
        """
        wrong = np.cumsum(~self.right)
        shares = (wrong + 1) / (np.arange(len(wrong)) + 2)
        return 1 - float(shares.min(initial=2.0))

    def _groups(self, accuracy: float) -> list[np.ndarray]:
        """Classes that share a threshold: the fewer images, the more of them."""
        counts = np.bincount(self.predicted, minlength=self.classes)
        enough = OWN / (1 - accuracy)
        groups: list[np.ndarray] = []
        waiting: list[int] = []
        for number in np.argsort(counts, kind="stable").tolist():
            waiting.append(number)
            if counts[waiting].sum() >= enough:
                groups.append(np.array(waiting))
                waiting = []
        if waiting:  # too few at the end
            last = groups.pop().tolist() if groups else []
            groups.append(np.array(last + waiting))
        return groups


def check_accuracy(accuracy: float) -> None:
    """Raises ClassifierError unless it can be asked for."""
    if not 0.5 <= accuracy < 1:
        raise ClassifierError(
            f"expected an accuracy from 0.5 to below 1, found {accuracy:g}. Type: --accuracy 0.99"
        )


def _least(confidence: np.ndarray, right: np.ndarray, accuracy: float) -> float:
    """The least of (N,) probabilities, the highest first, from which on so many are right."""
    wrong = np.cumsum(~right)
    kept = (wrong + 1) / (np.arange(len(wrong)) + 2) <= 1 - accuracy + 1e-9
    last = np.append(confidence[1:] < confidence[:-1], True)  # of equal ones
    places = np.flatnonzero(kept & last)
    return float(confidence[places[-1]]) if len(places) else np.inf
