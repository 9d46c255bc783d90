"""The interval printed beside the accuracy by cross-validation: of the classifier that is saved."""

from collections.abc import Callable

import numpy as np

from claims import Draws, claim
from claims._sets import draw, examples_of
from headstart.heads import linear
from headstart.heads.examples import Examples
from headstart.metrics.task import SingleLabel

NEW = 4000  # images that stand for endless ones
# Classes, features, how far apart the classes lie, training images.
WORLDS = (
    (2, 200, 0.5, 60), (2, 200, 0.5, 200), (2, 1280, 0.8, 100), (5, 200, 0.8, 60),
    (5, 200, 0.8, 200), (10, 200, 0.8, 100), (10, 200, 1.0, 400), (3, 50, 0.6, 300),
)  # fmt: skip
SETS = ("cats_and_dogs_filtered", "sign_language_digits")


def _world(
    classes: int, dimensions: int, apart: float, rng: np.random.Generator
) -> Callable[[np.ndarray], Examples]:
    """Makes examples of class numbers: hidden causes, mixed and rectified as a network's."""
    mixing = rng.normal(size=(16, dimensions))
    centres = apart * rng.normal(size=(classes, 16))
    task = SingleLabel(tuple(map(str, range(classes))))

    def make(labels: np.ndarray) -> Examples:
        hidden = centres[labels] + 1.5 * rng.normal(size=(len(labels), 16))
        values = np.maximum(hidden @ mixing / 4 + rng.normal(size=(len(labels), dimensions)), 0)
        return Examples(values=values[:, None].astype(np.float32), targets=labels, task=task)

    return make


def _held(seen: Examples, unseen: Examples, seed: int) -> bool:
    """Whether the interval by cross-validation on some holds the accuracy on others."""
    fit = linear.fit(seen, seed=seed)
    measured = seen.task.evaluate(fit.out_of_fold, seen.targets, None,
                                  crossed=True)  # fmt: skip
    said = fit.head().probabilities(unseen.values[:, 0])
    low, high = measured.accuracy_interval or (0.0, 1.0)
    return bool(low <= (said.argmax(axis=1) == unseen.targets).mean() <= high)


@claim("cross-validation interval", repeats=120)
def cross_validation_interval(draws: Draws) -> dict[str, np.ndarray]:
    """The interval by cross-validation holds the final classifier's accuracy on new images."""
    outcomes = {}
    for classes, dimensions, apart, n in WORLDS:
        held = []
        for seed in range(draws.repeats):
            make = _world(classes, dimensions, apart, draws.rng)
            unseen = make(draws.rng.integers(0, classes, NEW))
            held.append(_held(make(np.arange(n) % classes), unseen, seed))
        outcomes[f"{n} images of {classes} classes, {dimensions} features"] = np.array(held)
    return outcomes


@claim("cross-validation interval of photos", repeats=120)
def cross_validation_interval_of_photos(draws: Draws) -> dict[str, np.ndarray]:
    """The same on draws from real sets at the last layer, whose remainder stands for new images."""
    outcomes = {}
    for name in SETS:
        every = examples_of(draws.sets / name)
        for n in (80, 200):
            held = [_held(*draw(every, n, draws.rng), seed) for seed in range(draws.repeats)]
            outcomes[f"{n} of {name}"] = np.array(held)
    return outcomes
