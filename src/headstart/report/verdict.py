"""One plain verdict from the curves and the intervals: underfitting, fitting or overfitting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from headstart.metrics.classification import Metrics
from headstart.metrics.intervals import interval

LOW = 0.75  # training accuracy, relative to chance, below which a head has not learned its images
SMOOTH = 3  # epochs over which losses are averaged: a small validation set is noisy
RISE = 0.05  # share by which validation loss must rise over its lowest
SLIGHT = 0.03  # a gap between training and validation accuracy below which nothing need be done
SWING = 0.02  # by which validation accuracy changes from epoch to epoch, on average, to be told
EPOCHS = 5  # that must be seen before a swing is one; the first two are passed over
LARGE = 0.1  # one that matters even where validation loss has not risen
Z = 1.6448536269514722  # of a one-sided 95% interval: how large a gap is, at least or at most
MUCH_DROPOUT, SMALL_HEAD = 0.5, 64  # beyond which more, or less, is no advice


@dataclass(frozen=True)
class Regularisation:
    """What a recipe already has against overfitting. augmented: whether a head sees changed images.
    dropout: the highest rate. units: of the widest hidden layer, 0 for none. stops: whether it ends
    early, with the best epoch.
    """

    augmented: bool = False
    dropout: float = 0.0
    units: int = 1024
    stops: bool = False


@dataclass(frozen=True)
class Verdict:
    """kind: "underfitting", "fitting", "overfitting", "unclear" or "diverged". since: the epoch,
    from 1.
    """

    kind: str
    text: str
    since: int | None = None


def verdict(
    metrics: Mapping[str, Metrics],
    history: Mapping[str, Sequence[float]] | None = None,
    *,
    kept_epoch: int | None = None,
    tuned: bool = False,
    has: Regularisation | None = None,
) -> Verdict | None:
    """What the training and validation figures say, and what to try; None without them.

    Overfitting needs proof, and a size that matters: the training accuracy must lie above the
    one-sided validation interval and by 3 points above the validation accuracy; and the smoothed
    validation loss must have risen by 5% while the training loss fell, or the gap be 10 points.
    Where a gap of 10 points can be neither told nor excluded the verdict is that.
    kept_epoch: whose weights are used; what came after it is no harm. tuned: whether the backbone
    was trained too, which remedies do not try. has: what is no advice any more.
    """
    if not history:  # a linear head fits its own images, and cross-validation chose how closely
        return None
    training = metrics.get("train")
    looked_at = metrics.get("validation") or metrics.get("cross_validation")
    losses = list(history.get("loss", ()))
    if not all(map(math.isfinite, [*losses, *history.get("val_loss", ())])):
        return Verdict(
            "diverged", "The loss became nan: the training diverged. Try a learning rate ten "
            "times smaller (headstart lr shows which).",
        )  # fmt: skip
    if training is None or looked_at is None:
        return None
    if training.accuracy is None or looked_at.accuracy is None:
        return None
    low, high = looked_at.accuracy_interval or (0.0, 1.0)
    both = (
        f"training {training.accuracy:.1%}, validation {looked_at.accuracy:.1%} "
        f"(95% interval {low:.1%} to {high:.1%})"
    )
    gap = training.accuracy - looked_at.accuracy
    lowest, highest = interval(looked_at.accuracy * looked_at.n, looked_at.n, Z) or (0.0, 1.0)
    told = training.accuracy > highest
    most = training.accuracy - lowest
    validation = list(history.get("val_loss", ()))[:kept_epoch]
    since = _find_turn(validation, losses[:kept_epoch])
    has = has or Regularisation()
    swing = "" if has.stops or tuned else _describe_swing(history.get("val_accuracy", ()))
    overfits = told and gap >= SLIGHT and (since or gap >= LARGE or not validation)
    if training.accuracy < _lowest_learned(len(training.classes)) and not overfits:
        return Verdict(
            "underfitting", f"Underfitting: {both}. The head has not learned its own images. Try "
            f"{_against_underfitting(has)}.",
        )  # fmt: skip
    if overfits:
        when = ""
        if since:
            when = f" since epoch {since}: validation loss rose while training loss fell"
        return Verdict(
            "overfitting", f"Overfitting{when}; {both}: {gap:.1%} better on images it has seen. "
            f"{_against_overfitting(has, tuned)}{swing}", since,
        )  # fmt: skip
    images = f"{looked_at.n:,} validation images"
    if told:
        return Verdict("fitting", f"Fitting: {both}; slight overfitting: {gap:.1%} better on "
                       f"images it has seen, at most {most:.1%} by these "
                       f"{images}.{swing}")  # fmt: skip
    if most >= LARGE:
        return Verdict(
            "unclear", f"Too few validation images to tell: {both}. With {images} it may be up to "
            f"{most:.1%} better on images it has seen, or not at all. Try more photos, or a larger "
            f"share of them for validation (--set validation_fraction=0.3).{swing}",
        )  # fmt: skip
    return Verdict("fitting", f"Fitting: {both}; no sign of overfitting. With {images} more than "
                   f"{max(0.0, most):.1%} can be excluded.{swing}")  # fmt: skip


def _against_underfitting(has: Regularisation) -> str:
    tries = ["more epochs", "a higher learning rate", "a wider head"]
    tries += ["less augmentation"] * has.augmented + ["less dropout"] * (has.dropout > 0)
    return _listed(tries)


def _against_overfitting(has: Regularisation, tuned: bool) -> str:
    tries = [] if has.augmented else ["more augmentation" if tuned else "augmentation"]
    if not tuned:
        tries += ["more dropout" if has.dropout else "dropout"] * (has.dropout < MUCH_DROPOUT)
        tries += ["a smaller head"] * (has.units > SMALL_HEAD)
    return f"Try {_listed(['more photos', *tries])}."


def _describe_swing(accuracies: Sequence[float]) -> str:
    """That the last epoch is a lucky or an unlucky one, where validation accuracy goes up and down;
    "" where it does not.
    """
    settled = list(accuracies)[2:]
    if len(accuracies) < EPOCHS or not all(map(math.isfinite, settled)):
        return ""
    changes = [abs(after - before) for before, after in pairwise(settled)]
    mean = sum(changes) / len(changes)
    if mean < SWING:
        return ""
    return (
        f" Validation accuracy swings by {mean:.1%} from epoch to epoch: early stopping keeps the "
        "best one (--set patience=5)."
    )


def _listed(tries: list[str]) -> str:
    return " or ".join(part for part in (", ".join(tries[:-1]), tries[-1]) if part)


def _lowest_learned(classes: int) -> float:
    """The training accuracy below which a head has not learned its own images."""
    chance = 1 / max(2, classes)
    return chance + LOW * (1 - chance)


def _find_turn(validation: list[float], training: list[float]) -> int | None:
    """The epoch, from 1, since which smoothed validation loss rises while training loss falls."""
    if len(validation) < SMOOTH + 2 or len(validation) != len(training):
        return None
    smooth = []
    for i in range(len(validation)):
        around = validation[max(0, i - SMOOTH + 1) : i + 1]
        smooth.append(sum(around) / len(around))
    lowest = min(range(len(smooth)), key=smooth.__getitem__)
    risen = smooth[-1] > smooth[lowest] * (1 + RISE)
    falling = training[-1] < training[lowest]
    return lowest + 2 if risen and falling and lowest + 1 < len(smooth) else None
