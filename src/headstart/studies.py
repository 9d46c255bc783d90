"""What is measured of images and classifiers without training a new one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart import run as runs
from headstart import steps
from headstart.augment import NONE
from headstart.classifier import load as load_classifier
from headstart.dataset import load
from headstart.errors import DatasetError
from headstart.evaluation import Comparison, Metrics, compare
from headstart.evaluation import evaluate as measured
from headstart.evaluation_multi import evaluate_multi
from headstart.head_selection import HeadScore, HeadSelection
from headstart.items import Item, group_numbers
from headstart.learning_curve import LearningCurve
from headstart.learning_curve import learning_curve as curve_of
from headstart.progress import Silent
from headstart.recipe import Recipe, load_recipe
from headstart.selection import Selection
from headstart.views import CachedViews

MOST = 3000  # training images that a study of all cuts looks at


@dataclass(frozen=True)
class Evaluated:
    """Metrics by split, with `views` views of each image; against the image alone, and of it.

    The latter two are of images in one class.
    """

    metrics: dict[str, Any]
    paired: dict[str, Comparison]
    alone: dict[str, Metrics]
    views: int


def evaluate_views(
    run: str | Path,
    source: str | Path,
    views: int,
    *,
    strict: bool = False,
    progress: Silent | None = None,
) -> Evaluated:
    """Measure a classifier on labelled images, with at most so many different views of each.

    Images that a run was trained on are counted and told, for they flatter.
    Raises DatasetError if the images have a class that the classifier does not know.
    """
    progress = progress or Silent()
    classifier = load_classifier(run)
    dataset = load(source, split=False)
    unknown = [name for name in dataset.classes if name not in classifier.classes]
    if unknown:
        raise DatasetError(
            f"expected images of the classes {', '.join(classifier.classes)}, "
            f"found also {', '.join(unknown)}"
        )
    thresholds = classifier.description.get("thresholds")
    if dataset.multi and thresholds is None:
        raise DatasetError(
            "expected one class an image, as this classifier was trained, found several"
        )
    known = runs.training_images(Path(run))
    seen = sum(i.content_hash.hex() in known for i in dataset.items if i.split != "train")
    if seen:
        progress.warn(
            f"{seen:,} of these {len(dataset.items):,} images were trained on, which flatters the "
            "figures: those of images that it has not seen are in the run's metrics.json"
        )
    found: dict[str, tuple[list[np.ndarray], list[Item]]] = {}
    count = 1
    with progress.stage("predict", len(dataset.items), "images"):
        rows = classifier.by_view(dataset.items, views)
        for item, (_, error, by_view) in zip(dataset.items, rows, strict=True):
            progress.advance()
            if by_view is None:
                steps.refuse([(item, error or "")], strict, progress)
                continue
            kept, labels = found.setdefault(item.split or "all", ([], []))
            count = len(by_view)
            kept.append(np.stack([by_view.mean(axis=0), by_view[0]]))
            labels.append(item)
    metrics: dict[str, Any] = {}
    paired, alone = {}, {}
    for split, (kept, labelled) in found.items():
        both = np.stack(kept).astype(np.float32)
        if thresholds is not None:
            targets, limits = steps.targets_of(labelled, classifier.classes), np.array(thresholds)
            metrics[split] = evaluate_multi(both[:, 0], targets, classifier.classes, limits)
            continue
        numbers = np.array([classifier.classes.index(item.label or "") for item in labelled])
        metrics[split] = measured(both[:, 0], numbers, classifier.classes)
        alone[split] = measured(both[:, 1], numbers, classifier.classes)
        paired[split] = compare(both[:, 0], both[:, 1], numbers)
    return Evaluated(metrics, paired, alone, count)


def measure_cuts(
    source: str | Path,
    recipe: Recipe,
    progress: Silent,
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
    progress: Silent,
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
    progress: Silent | None = None,
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
    source: str | Path, recipe: Recipe, progress: Silent
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
