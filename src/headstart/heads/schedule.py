"""The learning rate as a pure function of where the training stands: resuming needs no state."""

import math
from collections.abc import Sequence

from headstart.recipe import Recipe

WARM = 0.3  # share of one_cycle in which the rate rises
PLATEAU, FACTOR = 3, 0.2  # epochs without a better val_loss, and what the rate is then times


def compute_learning_rate(recipe: Recipe, step: int, steps: int, losses: Sequence[float]) -> float:
    """The rate of step `step` of `steps` in all; `losses` are the validation losses so far.

    cosine: Loshchilov & Hutter 2017 (https://arxiv.org/abs/1608.03983); one_cycle: Smith 2018
    (https://arxiv.org/abs/1803.09820), from a 25th up and down to a 10,000th.
    """
    peak, done = recipe.learning_rate, step / max(1, steps)
    if recipe.schedule == "cosine":
        return peak * (1 + math.cos(math.pi * done)) / 2
    if recipe.schedule == "one_cycle":
        if done < WARM:
            return _interpolate(peak / 25, peak, done / WARM)
        return _interpolate(peak, peak / 1e4, (done - WARM) / (1 - WARM))
    if recipe.schedule == "plateau":
        return peak * FACTOR ** _count_plateaus(losses)
    return peak


def _interpolate(start: float, end: float, share: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _count_plateaus(losses: Sequence[float]) -> int:
    """How often PLATEAU epochs passed without a better loss."""
    best, waited, plateaus = math.inf, 0, 0
    for loss in losses:
        if loss < best:
            best, waited = loss, 0
        else:
            waited += 1
            if waited == PLATEAU:
                plateaus, waited = plateaus + 1, 0
    return plateaus
