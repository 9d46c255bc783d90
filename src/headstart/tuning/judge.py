"""Whether fine-tuning pays: on which images that is asked, what a stage is worth, the verdict.

Letters: N training images, M those of them that are judged by, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.heads.epochs import validation_scores
from headstart.heads.examples import Labels
from headstart.heads.folds import assign_folds
from headstart.metrics.comparison import compare, standard_errors
from headstart.metrics.intervals import Z
from headstart.metrics.losses import CrossEntropy

GAIN = 0.02  # share of the log loss that a deeper stage must take off
PLAINLY = 2  # standard errors by which a stage loses after which no deeper one is tried
PARTS = 5  # of so many equal ones one chooses among stages and another one gives the verdict


@dataclass(frozen=True)
class Parts:
    """The numbers of the training images in three parts that share no image and no group.

    learning: trained on. judging: choose among epochs and stages. unseen: give the verdict, and
    take part in nothing before it.
    """

    learning: np.ndarray
    judging: np.ndarray
    unseen: np.ndarray


@dataclass(frozen=True)
class Score:
    """How good probabilities are: mean log loss, and the share of images that are right."""

    log_loss: float
    accuracy: float


@dataclass(frozen=True)
class Stage:
    """One boundary: log loss and accuracy on the judging images, and whether it was kept."""

    boundary: str
    blocks: int
    epochs: int
    log_loss: float
    accuracy: float
    seconds: float
    kept: bool


@dataclass(frozen=True)
class Verdict:
    """Whether the tuned network is to be used in the place of the linear head, and why."""

    pays: bool
    text: str


def part_images(labels: Labels, seed: int) -> Parts:
    """Three fifths, one fifth and one fifth of N images, every class in its share."""
    fold_of = assign_folds(labels.task.strata(labels.targets), labels.groups, PARTS, seed)
    return Parts(np.flatnonzero(fold_of > 1), np.flatnonzero(fold_of == 0),
                 np.flatnonzero(fold_of == 1))  # fmt: skip


def can_choose(labels: Labels, parts: Parts) -> bool:
    """Whether the learning images are enough to choose a linear head's strength by."""
    if labels.groups is None:
        return len(parts.learning) > 1
    return len(np.unique(labels.groups[parts.learning])) > 1


def score(probabilities: np.ndarray, targets: np.ndarray) -> Score:
    """Of (M, C) probabilities and (M,) class numbers."""
    row = validation_scores(probabilities, targets)
    return Score(row["val_loss"], row["val_accuracy"])


def gains(after: np.ndarray, before: np.ndarray, targets: np.ndarray) -> bool:
    """Whether the (M, C) probabilities after a stage are so much better than those before it that
    it is kept.
    """
    return score(after, targets).log_loss < score(before, targets).log_loss * (1 - GAIN)


def loses_plainly(after: np.ndarray, before: np.ndarray, targets: np.ndarray) -> bool:
    """Whether a stage made (M, C) probabilities worse beyond chance: then deeper ones do not
    help.
    """
    return _excess(after, before, targets) > PLAINLY


def judge(after: np.ndarray, before: np.ndarray, targets: np.ndarray) -> Verdict:
    """Whether the tuned network beats the linear head beyond the interval.

    after, before: (M, C) probabilities of the unseen images by the one and by the other.
    """
    paired = compare(after, before, targets)
    low, high = paired.difference_interval
    surer = _excess(before, after, targets) > Z and paired.difference >= 0
    loss = CrossEntropy()
    difference = loss.of_probabilities(before, targets) - loss.of_probabilities(after, targets)
    figures = (
        f"accuracy {paired.difference:+.1%} ({low:+.1%} to {high:+.1%}), log loss "
        f"{-difference.mean():+.3f} on {len(targets):,} training images unseen by both"
    )
    if surer or paired.verdict == "the first is better":
        return Verdict(True, f"Fine-tuning pays: {figures}.")
    return Verdict(False, f"Fine-tuning does not pay here: {figures}. The linear head is kept.")


def judge_without_gain(stages: Sequence[Stage], before: np.ndarray, targets: np.ndarray) -> Verdict:
    """Why none of the stages was kept. before: (M, C) of the judging images by the linear head."""
    if not stages:
        return Verdict(False, "No stage of the fine-tuning was finished: the linear head is kept.")
    best = min(stages, key=lambda stage: (np.isnan(stage.log_loss), stage.log_loss))
    start = score(before, targets)
    return Verdict(
        False,
        f"Fine-tuning does not pay here: of {len(stages)} stages none took {GAIN:.0%} off the log "
        f"loss of {len(targets):,} training images that it had not seen ({start.log_loss:.3f}, at "
        f"best {best.log_loss:.3f}; accuracy {start.accuracy:.1%}, then {best.accuracy:.1%})."
        " The linear head is kept.",
    )


def _excess(worse: np.ndarray, better: np.ndarray, targets: np.ndarray) -> float:
    """By how many standard errors the log losses of `worse` exceed those of `better`."""
    loss = CrossEntropy()
    return standard_errors(
        loss.of_probabilities(worse, targets), loss.of_probabilities(better, targets)
    )
