"""What is said of a choice among many: cuts of a network, remedies, recipes."""

from functools import cache
from itertools import count
from pathlib import Path

import numpy as np

from claims import FALSE_ALARMS, Draws, claim
from claims._search import Kept, accuracy, search
from headstart.heads.examples import Examples
from headstart.metrics.classification import evaluate
from headstart.metrics.comparison import compare
from headstart.metrics.resampling import compare_resampled
from headstart.metrics.task import SingleLabel
from headstart.recipe import load_recipe
from headstart.runs.remedies import Remedies, Remedy
from headstart.runs.repeats import measure_repeats
from headstart.selection.score import are_enough
from headstart.selection.variations import LEAST
from headstart.system.progress import Silent

SMALL = (("hymenoptera", 100), ("hymenoptera", 200), ("clothing", 150), ("clothing", 300))


@cache
def _kept(folder: Path) -> Kept:
    return Kept(folder)


@cache
def _searched(sets: Path, name: str, images: int, repeats: int) -> np.ndarray:
    """(R, 3) accuracies: of what was chosen as told, on new images, and of the last layer there.

    The draws are those of the seeds from 0 on that leave enough of each class.
    """
    kept = _kept(sets / name)
    rows: list[tuple[float, float, float]] = []
    for seed in count():
        drawn = np.random.default_rng(seed).permutation(len(kept.items))[:images]
        if are_enough(kept.labels.take(drawn), LEAST):
            chosen = search(kept, drawn, seed)
            assert chosen.worth is not None
            last = accuracy(kept, drawn, None, seed)
            rows.append((chosen.worth.accuracy, accuracy(kept, drawn, chosen, seed), last))
        if len(rows) == repeats:
            break
    return np.array(rows)


@claim("what a search says of its choice", (-0.005, 0.005), repeats=12, slack=1)
def told(draws: Draws) -> dict[str, np.ndarray]:
    """The accuracy told of what was chosen is that on new images of a head on it."""
    found = {}
    for name, images in SMALL:
        said, true, _ = _searched(draws.sets, name, images, draws.repeats).T
        found[f"{name}, {images} images"] = said - true
    return found


@claim("gain of a search", (-0.002, 1.0), repeats=12, slack=1)
def gain(draws: Draws) -> dict[str, np.ndarray]:
    """What is chosen is no worse on new images than the last layer."""
    found = {}
    for name, images in SMALL:
        _, true, last = _searched(draws.sets, name, images, draws.repeats).T
        found[f"{name}, {images} images"] = true - last
    return found


def _remedies(rng: np.random.Generator, accuracy: float, images: int) -> Remedies:
    """Eleven changes that change nothing; of half of the images all say the same."""
    right = rng.random((12, images)) < accuracy
    right[:, ::2] = right[0, ::2]
    targets, shares = np.zeros(images, int), [np.stack([r, ~r], 1).astype(float) for r in right]
    return Remedies([
        Remedy(
            str(number), load_recipe("quick"), evaluate(share, targets, ["a", "b"]), 1.0, row * 1.0,
            comparison=compare(share, shares[0], targets) if number else None,
        )
        for number, (row, share) in enumerate(zip(right, shares, strict=True))
    ], [])  # fmt: skip


REMEDIES = ((0.8, 100), (0.9, 300), (0.95, 200))


@claim("remedies that change nothing", FALSE_ALARMS, repeats=100)
def false_remedies(draws: Draws) -> dict[str, np.ndarray]:
    """Of eleven changes that change nothing none is called better, but in 5% of cases."""
    return {
        f"{share:.0%} of {images}": np.array([
            "this is better" in _remedies(draws.rng, share, images).verdicts.values()
            for _ in range(draws.repeats)
        ])
        for share, images in REMEDIES
    }  # fmt: skip


@claim("what the best remedy is worth", (-0.003, 0.003), repeats=60, slack=1)
def worth_of_remedies(draws: Draws) -> dict[str, np.ndarray]:
    """The accuracy told of the best of twelve that are alike is the accuracy of all."""
    return {
        f"{share:.0%} of {images}": np.array([
            _remedies(draws.rng, share, images).worth.accuracy - share
            for _ in range(draws.repeats)
        ])
        for share, images in REMEDIES
    }  # fmt: skip


@claim("recipes over redrawn trainings", FALSE_ALARMS, repeats=60)
def redrawn_recipes(draws: Draws) -> dict[str, np.ndarray]:
    """Of two recipes that are equally good none is called better, but in 5% of cases: heads on two
    halves of features that know as much.
    """
    task, recipe = SingleLabel(("a", "b")), load_recipe("quick", cut="last")
    found: dict[str, list[bool]] = {}
    for _ in range(draws.repeats):
        for repeats in (3, 5):
            targets = draws.rng.integers(0, 2, 150)
            values = draws.rng.normal(0.25 * (2 * targets - 1)[:, None], 1, (150, 40))
            sides = draws.rng.random((repeats, 150)) < 0.2
            first, second = (
                measure_repeats(
                    Examples(values=half.astype("f4")[:, None], targets=targets, task=task),
                    recipe, sides, Silent(),
                )
                for half in (values[:, :20], values[:, 20:])
            )  # fmt: skip
            verdict = compare_resampled(first - second, 120, 30).verdict
            found.setdefault(f"{repeats} repeats", []).append("better" in verdict)
    return {name: np.array(values) for name, values in found.items()}
