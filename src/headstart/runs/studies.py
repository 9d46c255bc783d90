"""What is measured of images without training a classifier: cuts, heads, how many images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from headstart.data.item import group_numbers
from headstart.errors import DatasetError
from headstart.heads.epochs import CachedViews
from headstart.images.augment import NONE
from headstart.recipe import Recipe, load_recipe
from headstart.runs import steps
from headstart.selection.cuts import Selection
from headstart.selection.heads import HeadScore, HeadSelection
from headstart.selection.learning_curve import LearningCurve
from headstart.selection.learning_curve import learning_curve as curve_of
from headstart.system.progress import Progress, Silent

MOST = 3000  # training images that a study of all cuts looks at


def measure_cuts(
    source: str | Path,
    recipe: Recipe,
    progress: Progress,
    *,
    every_cut: bool = True,
    variations: bool = True,
    most: int = MOST,
) -> Selection:
    """Every candidate cut of the recipe's backbone, scored inside the training images, and other
    ways to feed the best of them.
    """
    dataset = steps.read_dataset(source, recipe, progress)
    return steps.choose_cut(
        dataset, recipe.changed(cut="auto"), progress,
        variations=variations, every_cut=every_cut, most=most,
    )  # fmt: skip


def measure_heads(
    source: str | Path,
    recipe: Recipe,
    progress: Progress,
    on_result: Callable[[HeadScore], None] | None = None,
) -> HeadSelection:
    """Heads of every kind, compared inside the training images at the recipe's cut.

    Raises DatasetError for images in several classes: their heads are linear.
    """
    dataset = steps.read_dataset(source, recipe, progress)
    if dataset.multi:
        raise DatasetError("expected one class an image to compare heads, found several")
    recipe = steps.choose_cut(dataset, recipe, progress).recipe
    extractor = steps.build_extractor(recipe, progress)
    only = replace(dataset, items=dataset.split("train"))
    part = steps.compute_features(only, recipe, extractor, progress, False)["train"]
    steps.usable_classes(dataset, {"train": part})
    return steps.measured_heads(part, dataset.classes, recipe, progress, on_result)


def learning_curve(
    source: str | Path,
    recipe: str | Recipe = "quick",
    *,
    progress: Progress | None = None,
    **choices: Any,
) -> LearningCurve:
    """What more images would bring, measured inside the training images alone.

    Raises DatasetError for too few images of a class.
    """
    progress = progress or Silent()
    chosen = load_recipe(recipe, **choices)
    dataset = steps.read_dataset(source, chosen, progress)
    if dataset.multi:
        raise DatasetError("expected one class an image for a learning curve, found several")
    chosen = steps.choose_cut(dataset, chosen, progress).recipe.changed(views=1, augmentation=NONE)
    extractor = steps.build_extractor(chosen, progress)
    items = replace(dataset, items=dataset.split("train"))
    part = steps.compute_features(items, chosen, extractor, progress, False)["train"]
    with progress.stage("learning curve"):
        return curve_of(
            part.values[:, 0], steps.labels_of(part, dataset.classes), dataset.classes,
            groups=group_numbers(part.items), seed=chosen.seed,
            class_weight="balanced" if chosen.balanced else None,
        )  # fmt: skip


def learning_rates(
    source: str | Path, recipe: Recipe, progress: Progress
) -> tuple[list[float], list[float], float]:
    """Learning rates, smoothed losses and a rate to try, for the recipe's neural head."""
    from headstart.heads.neural import find_learning_rate

    dataset = steps.read_dataset(source, recipe, progress)
    if dataset.multi:
        raise DatasetError("expected one class an image for a neural head, found several")
    only = replace(dataset, items=dataset.split("train"))
    extractor = steps.build_extractor(recipe, progress)
    part = steps.compute_features(only, recipe, extractor, progress, False)["train"]
    return find_learning_rate(
        CachedViews(part.values, recipe.batch_size),
        steps.labels_of(part, dataset.classes),
        len(dataset.classes),
        part.values.shape[2],
        recipe,
    )
