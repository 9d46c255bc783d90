"""The verdict on overfitting, of neural heads whose gap is known from many new images."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from claims import Draws, claim
from claims.cross_validation import NEW, _world
from headstart.heads.fit import fit_neural
from headstart.recipe import load_recipe
from headstart.report.verdict import verdict

HEAD: dict[str, Any] = {"head": "neural", "layers": ["dense 256 relu", "dropout"], "dropout": 0.2}
# How far the 4 classes lie apart, training and validation images, the recipe's other choices.
CASES: dict[str, tuple[float, int, int, dict[str, Any]]] = {
    "overfits": (0.6, 150, 300, {"epochs": 40, "learning_rate": 3e-3}),
    "underfits": (0.5, 300, 300, {"epochs": 2, "learning_rate": 3e-5}),
    "fits well": (2.2, 600, 600, {"epochs": 15}),
    "overfits, 12 validation images": (0.6, 150, 12, {"epochs": 40, "learning_rate": 3e-3}),
    "fits well, 12 validation images": (2.2, 600, 12, {"epochs": 15}),
}
FEW = 50  # validation images, of which it may be said that they are too few
PLAIN, NOTHING = 0.1, 0.02  # gaps in accuracy that are overfitting, and that are none


def _is_right(name: str, draws: Draws) -> bool:
    """Whether the verdict on a head is what its gap on many new images says."""
    apart, n, looked_at, choices = CASES[name]
    make = _world(4, 200, apart, draws.rng)
    seen, shown, new = (make(np.arange(count) % 4) for count in (n, looked_at, NEW))
    with tempfile.TemporaryDirectory() as scratch:
        trained = fit_neural(
            seen, load_recipe("quick", **HEAD, **choices), Path(scratch),
            validation=(shown.values[:, 0], shown.targets),
        )  # fmt: skip
    training, validation, truth = (
        part.task.evaluate(trained.head.probabilities(part.values[:, 0]), part.targets, None)
        for part in (seen, shown, new)
    )
    told = verdict({"train": training, "validation": validation}, trained.history,
                   kept_epoch=trained.kept_epoch)  # fmt: skip
    assert told is not None
    gap = training.accuracy - truth.accuracy
    if gap >= PLAIN:
        right = {"overfitting"}
    elif training.accuracy < 0.6:  # four classes: a quarter is chance
        right = {"underfitting"}
    else:
        right = {"fitting"} if gap <= NOTHING else {"fitting", "overfitting"}
    return told.kind in right or (told.kind == "unclear" and looked_at <= FEW)


@claim("verdict", (0.95, 1.0), repeats=10)
def verdicts(draws: Draws) -> dict[str, np.ndarray]:
    """Over- and underfitting and heads that fit well are told as such, few images as too few."""
    return {name: np.array([_is_right(name, draws) for _ in range(draws.repeats)])
            for name in CASES}  # fmt: skip
