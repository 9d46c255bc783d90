"""What is said of a head: how sure it is made, and what copies of images do to its figures."""

from types import SimpleNamespace

import numpy as np

from claims import Draws, claim
from claims._sets import draw, examples_of
from headstart.data.item import group_numbers
from headstart.heads import linear
from headstart.heads.examples import Examples
from headstart.metrics.task import SingleLabel

EASY = (("cats_and_dogs_filtered", 60), ("hymenoptera", 60), ("hymenoptera", 120))


def _temperature_costs(given: Examples, new: Examples) -> float:
    """Log loss of new images at the head's temperature, less what it is without one."""
    fit = linear.fit(given)
    loss, heat = fit.task.loss, fit.temperature
    logits = new.values[:, 0] @ fit.weight + fit.bias
    cost = loss.of_logits(logits, new.targets) - loss.of_logits(logits * heat, new.targets)
    return float(cost.mean())


@claim("a head's temperature", (-1.0, 0.001), repeats=12, slack=1)
def temperature(draws: Draws) -> dict[str, np.ndarray]:
    """The temperature of a head does not make its probabilities of new images worse."""
    found = {}
    for name, images in EASY:
        every = examples_of(draws.sets / name)
        costs = [_temperature_costs(*draw(every, images, draws.rng)) for _ in range(draws.repeats)]
        found[f"{name}, {images} images"] = np.array(costs)
    task = SingleLabel(("a", "b"))
    for images in (50, 100):
        costs = []
        for _ in range(draws.repeats):
            targets = np.arange(images + 1000) % 2
            values = draws.rng.normal(0.42 * (2 * targets - 1)[:, None], 1, (len(targets), 30))
            every = Examples(values=values.astype("f4")[:, None], targets=targets, task=task)
            given, new = np.split(np.arange(len(targets)), [images])
            costs.append(_temperature_costs(every.take(given), every.take(new)))
        found[f"far apart, {images} images"] = np.array(costs)
    return found


@claim("cross-validation with copies", (-0.01, 0.01), repeats=60, slack=1)
def copies(draws: Draws) -> dict[str, np.ndarray]:
    """Cross-validation finds the same of images that mean nothing, whether or not the set holds
    copies of them.
    """
    task = SingleLabel(("a", "b"))
    found = {}
    for share in (0.1, 0.3, 0.5):
        off = []
        for _ in range(draws.repeats):
            targets = draws.rng.integers(0, 2, 100)
            values = draws.rng.normal(size=(100, 1, 60)).astype("f4")
            rows = np.concatenate([np.arange(100), draws.rng.integers(0, 100, int(100 * share))])
            right = [
                _cross_validated(values[part], targets[part], part, task)[:100]
                for part in (rows, rows[:100])
            ]
            off.append(float(right[0].mean() - right[1].mean()))
        found[f"{share:.0%} copies"] = np.array(off)
    return found


def _cross_validated(
    values: np.ndarray, targets: np.ndarray, contents: np.ndarray, task: SingleLabel
) -> np.ndarray:
    """(N,) whether images were right; contents: (N,) numbers."""
    items = [SimpleNamespace(content_hash=b"%d" % number, group=None) for number in contents]
    groups = group_numbers(items)  # type: ignore[arg-type]
    given = Examples(values=values, targets=targets, task=task, groups=groups)
    right: np.ndarray = linear.cross_validate(given).logits.argmax(axis=1) == targets
    return right
