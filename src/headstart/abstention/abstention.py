"""When a classifier had better not answer: it travels in the classifier's folder, as arrays.

Letters: N images, D features, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.abstention.novelty import LeftOut, Novelty, Sample, leave_out
from headstart.abstention.selective import OutOfFold
from headstart.errors import ClassifierError

AGAIN = "Type: headstart train PHOTOS"
RATE = 0.05  # false alarms at which a training says what "none of these" is worth
FOLDS = 10  # of who is judged by whom: the fewer, the more false alarms are expected than come
MANY = 20  # classes above which none is left out: it takes a while for each


@dataclass(frozen=True)
class Abstention:
    """out_of_fold: from which probability on an accuracy is kept; None where the head was trained
    without cross-validation, or an image may be in several classes. novelty: whether an image is
    like those trained on; None where these are too few, or the network itself has learned them.
    """

    out_of_fold: OutOfFold | None = None
    novelty: Novelty | None = None

    def answers(self) -> OutOfFold:
        """What tells where to answer. Raises ClassifierError where there is none."""
        if self.out_of_fold is None or not len(self.out_of_fold.confidence):
            raise ClassifierError(
                "expected a classifier that knows where its answers are right, found one of an "
                "earlier version, of several classes an image or without cross-validation (neural "
                f"or fine-tuned), which cannot say. {AGAIN}, with a linear head"
            )
        return self.out_of_fold

    def unlike(self) -> Novelty:
        """What tells images that are none of the classes. Raises ClassifierError where there is
        none.
        """
        if self.novelty is None:
            raise ClassifierError(
                "expected a classifier that knows what it was trained on, found one of an earlier "
                "version, of very few images or with a fine-tuned network, which cannot tell "
                f'"none of these". {AGAIN}, without fine-tuning'
            )
        return self.novelty

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by a name, for safetensors."""
        arrays: dict[str, np.ndarray] = {}
        for name, part in (("out_of_fold", self.out_of_fold), ("novelty", self.novelty)):
            fields = {} if part is None else vars(part)
            arrays |= {
                f"{name}.{key}": np.ascontiguousarray(value)
                for key, value in fields.items()
                if isinstance(value, np.ndarray)
            }
        return arrays


def from_arrays(arrays: Mapping[str, np.ndarray], classes: int) -> Abstention:
    """What `arrays` gave, of a classifier for so many classes."""

    def part(name: str) -> dict[str, np.ndarray]:
        start = f"{name}."
        return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}

    answers, novelty = part("out_of_fold"), part("novelty")
    return Abstention(
        OutOfFold(classes, **answers) if answers else None,
        Novelty(**novelty) if novelty else None,
    )


def learn(
    features: np.ndarray,
    targets: np.ndarray,
    out_of_fold: np.ndarray | None,
    fold_of: np.ndarray,
    classes: Sequence[str],
    *,
    seed: int,
    columns: slice | None = None,
    frozen: bool = True,
    judged: np.ndarray | None = None,
) -> tuple[Abstention, list[LeftOut]]:
    """When not to answer, and what is refused of each class when it is left out.

    features: (N, D) of the training images. targets: (N,) class numbers; where an image may be in
    several classes, (N, C). out_of_fold: (N, C) probabilities by heads that have not seen the
    image, if there are any; judged: of which images alone, if not of all. fold_of: (N,) numbers,
    best FOLDS of them. columns: of the features, that tell how far an image is from others; by
    default all. frozen: whether the network has not learned from these images; otherwise they lie
    nearer to each other than new ones to them, which would be refused.
    """
    alone = targets.ndim == 1
    answers = None
    if alone and out_of_fold is not None:
        answers = OutOfFold.of(out_of_fold, targets if judged is None else targets[judged])
    if not frozen:
        return Abstention(answers), []
    sample = Sample(features, seed, columns)
    folds = fold_of[sample.rows]
    left_out = []
    if alone and len(classes) <= MANY:
        left_out = leave_out(sample, targets[sample.rows], folds, classes, RATE)
    return Abstention(answers, sample.learn(folds)), left_out
