"""One plain verdict from the curves and the intervals: underfitting, fitting or overfitting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headstart.metrics.classification import Metrics

LOW = 0.75  # training accuracy, relative to chance, below which a head has not learned its images
SMOOTH = 3  # epochs over which losses are averaged: a small validation set is noisy
RISE = 0.05  # share by which validation loss must rise over its lowest


@dataclass(frozen=True)
class Verdict:
    """kind: "underfitting", "fitting", "overfitting" or "diverged". since: the epoch, from 1."""

    kind: str
    text: str
    since: int | None = None


def verdict(
    metrics: Mapping[str, Metrics],
    history: Mapping[str, Sequence[float]] | None = None,
    *,
    tuned: bool = False,
) -> Verdict | None:
    """What the training and validation figures say, and what to try; None without them.

    Overfitting needs proof: the training accuracy must lie above the validation interval, or the
    smoothed validation loss must have risen by 5% while the training loss fell. tuned: whether the
    backbone was trained too, which remedies do not try.
    """
    if not history:  # a linear head fits its own images, and cross-validation chose how closely
        return None
    training = metrics.get("train")
    looked_at = metrics.get("validation") or metrics.get("cross_validation")
    losses = list(history.get("loss", ()))
    if not all(map(math.isfinite, [*losses, *history.get("val_loss", ())])):
        return Verdict(
            "diverged", "The loss became nan: the training diverged. Try a learning rate ten "
            "times smaller (headstart lr PHOTOS shows which).",
        )  # fmt: skip
    if training is None or looked_at is None:
        return None
    if training.accuracy is None or looked_at.accuracy is None:
        return None
    low, high = looked_at.accuracy_interval or (0.0, 1.0)
    gap = training.accuracy - looked_at.accuracy
    both = (
        f"training {training.accuracy:.1%}, validation {looked_at.accuracy:.1%} "
        f"(95% interval {low:.1%} to {high:.1%})"
    )
    since = _find_turn(list(history.get("val_loss", ())), losses)
    if (
        training.accuracy < _lowest_learned(len(training.classes))
        and gap <= high - looked_at.accuracy
    ):
        return Verdict(
            "underfitting", f"Underfitting: {both}. The head has not learned its own images. Try "
            "more epochs, a higher learning rate, a wider head or less augmentation.",
        )  # fmt: skip
    if training.accuracy > high or since is not None:
        when = ""
        if since:
            when = f" since epoch {since}: validation loss rose while training loss fell"
        return Verdict(
            "overfitting", f"Overfitting{when}; {both}: {gap:.1%} better on images it has seen. "
            + ("Try more photos or more augmentation." if tuned else "Try more photos, "
               "augmentation, dropout or a smaller head; headstart remedies RUN tries them."),
            since,
        )  # fmt: skip
    wide = high - low
    enough = (
        f" With {looked_at.n:,} validation images a gap below {wide / 2:.1%} cannot be told from "
        "chance."
    )
    return Verdict("fitting", f"Fitting: {both}; no sign of overfitting.{enough}")


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
