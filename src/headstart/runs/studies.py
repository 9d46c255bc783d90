"""What is measured of images without training a classifier: cuts, heads, how many images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from headstart.errors import DatasetError
from headstart.heads.epochs import CachedViews
from headstart.heads.examples import Examples
from headstart.images.augment import NONE
from headstart.recipe import Choices, Recipe, load_recipe, show_choices
from headstart.runs import steps
from headstart.selection.cuts import Selection
from headstart.selection.heads import HeadScore, HeadSelection
from headstart.selection.learning_curve import LearningCurve
from headstart.selection.learning_curve import learning_curve as curve_of
from headstart.system.progress import Progress, choose_progress

RATES = 120  # learning rates that are tried
MOST = 3000  # training images that a study of all cuts looks at


@show_choices
def measure_cuts(
    source: Any,
    recipe: str | Path | Recipe = "quick",
    *,
    every_cut: bool = True,
    variations: bool = True,
    most: int = MOST,
    progress: Progress | bool | None = None,
    **choices: Unpack[Choices],
) -> Selection:
    """Every candidate cut of the recipe's backbone, scored inside the training images, and other
    ways to feed the best of them.

    source, recipe, choices: as `train` takes them; `budget` is the time it may take, in seconds.
    every_cut: none is passed over, nor judged on fewer images. variations: whether sizes, resizing
    and views are tried too. most: training images looked at.

    >>> selection = headstart.measure_cuts("photos/", budget=30)
    >>> selection.recipe.cut  # fewer than 100 images tell nothing: the last layer
    ('last',)
    """
    progress = choose_progress(progress)
    chosen = load_recipe(recipe, **choices)
    dataset = steps.read_dataset(source, chosen, progress)
    return steps.choose_cut(
        dataset, chosen.changed(cut="auto"), progress,
        variations=variations, every_cut=every_cut, most=most,
    )  # fmt: skip


def measure_heads(
    source: Any,
    recipe: Recipe,
    progress: Progress,
    on_result: Callable[[HeadScore], None] | None = None,
) -> HeadSelection:
    """Heads of every kind, compared inside the training images at the recipe's cut.

    Raises DatasetError for images in several classes: their heads are linear.
    """
    examples, recipe = _examples(source, recipe, progress, "to compare heads")
    return steps.measure_heads(examples, recipe, progress, on_result)


@show_choices
def learning_curve(
    source: Any,
    recipe: str | Path | Recipe = "quick",
    *,
    progress: Progress | bool | None = None,
    **choices: Unpack[Choices],
) -> LearningCurve:
    """What more images would bring, measured inside the training images alone.

    source, recipe, choices: as `train` takes them. Raises DatasetError for too few images of a
    class.

    >>> curve = headstart.learning_curve("photos/", cut="last")
    >>> len(curve.sizes), curve.overall.is_clear  # whether more images help
    (6, False)
    """
    progress = choose_progress(progress)
    plain = load_recipe(recipe, **choices).changed(views=1, augmentation=NONE)
    examples, plain = _examples(source, plain, progress, "for a learning curve")
    with progress.stage("learning curve"):
        return curve_of(examples, seed=plain.seed)


def learning_rates(
    source: Any, recipe: Recipe, progress: Progress
) -> tuple[list[float], list[float], float]:
    """Learning rates, smoothed losses and a rate to try, for the recipe's neural head."""
    from headstart.heads.neural import find_learning_rate

    examples, recipe = _examples(source, recipe, progress, "for a neural head")
    with progress.stage("learning rates", RATES, "steps"):
        return find_learning_rate(
            CachedViews(examples.values, recipe.batch_size), examples.targets,
            len(examples.task.classes), examples.dimensions, recipe, steps=RATES,
            on_step=progress.advance,
        )  # fmt: skip


def _examples(
    source: Any, recipe: Recipe, progress: Progress, purpose: str
) -> tuple[Examples, Recipe]:
    """The training images in one class each, with their features at the recipe's cut, which is
    measured where it is left open; and the recipe with that cut.
    """
    dataset = steps.read_dataset(source, recipe, progress)
    if dataset.task.multilabel:
        raise DatasetError(f"expected one class an image {purpose}, found several")
    recipe = steps.choose_cut(dataset, recipe, progress).recipe
    training = replace(dataset, items=dataset.split("train"))
    return steps.prepare(training, recipe, progress, strict=False).examples(), recipe
