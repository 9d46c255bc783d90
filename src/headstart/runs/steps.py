"""The steps of a training, each told to `progress`; pipeline and studies put them in order."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.data.dataset import Dataset, load
from headstart.data.item import Item, group_numbers
from headstart.errors import BadImage, DatasetError, RecipeError
from headstart.features.cache import FeatureCache
from headstart.features.extract import Features, extract, open_space
from headstart.features.extractor import Extractor, open_extractor
from headstart.features.views import FreshViews
from headstart.heads.fit import (
    Trained,
    fit_ensemble,
    fit_linear,
    fit_multilabel,
    fit_neural,
    watches,
)
from headstart.images.augment import NONE
from headstart.metrics.classification import Metrics, evaluate
from headstart.metrics.multilabel import MultiMetrics, evaluate_multi
from headstart.recipe import Recipe
from headstart.selection.cuts import Selection, select
from headstart.selection.heads import LEAST, HeadScore, HeadSelection, select_head
from headstart.selection.score import Truth
from headstart.system.progress import Progress

if TYPE_CHECKING:
    from headstart.tuning.stages import Tuning

SPLITS = ("train", "validation", "test")


def read_dataset(source: str | Path, recipe: Recipe, progress: Progress) -> Dataset:
    """The labelled images, split as the recipe says."""
    with progress.stage("dataset"):
        dataset = load(
            source, validation_fraction=recipe.validation_fraction, seed=recipe.seed,
            groups=recipe.groups,
        )  # fmt: skip
    for warning in dataset.warnings:
        progress.warn(warning)
    counts = {split: len(dataset.split(split)) for split in SPLITS}
    told = ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)
    progress.say(f"{len(dataset.items):,} images of {len(dataset.classes)} classes: {told}")
    return dataset


def choose_cut(dataset: Dataset, recipe: Recipe, progress: Progress, **options: Any) -> Selection:
    """What the recipe leaves open ("auto"), measured on the training images."""
    items = dataset.split("train")
    truth = Truth(
        targets_of(items, dataset.classes) if dataset.multi else numbers_of(items, dataset.classes),
        len(dataset.classes), group_numbers(items), recipe.balanced, recipe.seed,
    )  # fmt: skip
    selection = select(items, truth, recipe, progress, **options)
    if selection.chosen is not None:
        low, high = selection.chosen.accuracy_interval
        progress.say(
            f"measured on {selection.chosen.images:,} training images, {len(selection.tried)} "
            f"candidates in {selection.seconds:.1f} s: {selection.chosen.name} "
            f"({selection.chosen.accuracy:.1%}, {low:.1%} to {high:.1%})"
        )
    elif selection.before is not None:
        progress.say(
            f"measured before on {selection.before['images']:,} training images: "
            f"{selection.before['chosen']}"
        )
    if selection.untried:
        progress.say(
            f"not tried within {recipe.budget:.0f} s: {', '.join(selection.untried[:6])}"
            f"{', ...' if len(selection.untried) > 6 else ''}. With more time: --budget "
            f"{max(60, 2 * recipe.budget):.0f}s"
        )
    return selection


def build_extractor(recipe: Recipe, progress: Progress) -> Extractor:
    """The frozen backbone up to the recipe's cut."""
    with progress.stage("extractor"):
        extractor = open_extractor(recipe)
    size = f"{extractor.geometry.width}x{extractor.geometry.height}"
    progress.say(
        f"{recipe.backbone} up to {' + '.join(extractor.cuts)}, {size} pixels, "
        f"{extractor.dimensions:,} features, {extractor.description['precision']}"
    )
    return extractor


def compute_features(
    dataset: Dataset, recipe: Recipe, extractor: Extractor, progress: Progress, strict: bool
) -> dict[str, Features]:
    """By split: all views of the training images, the others as they are."""
    # Fresh views are computed while the head trains: here only the images themselves.
    views = recipe.cached_views
    items = {split: dataset.split(split) for split in SPLITS if dataset.split(split)}
    total = sum(len(part) * (views if split == "train" else 1) for split, part in items.items())
    features = {}
    with FeatureCache() as cache, progress.stage("features", total, "images"):
        space = open_space(extractor, cache, progress)
        for split, part in items.items():
            training = split == "train"
            features[split] = extract(
                part,
                extractor,
                space,
                augmentation=recipe.augmentation if training else NONE,
                views=views if training else 1,
                seed=recipe.seed,
                progress=progress,
            )
            refuse(features[split].bad, strict, progress)
    return features


def refuse(bad: Iterable[tuple[Any, str]], strict: bool, progress: Progress) -> None:
    """Leave unusable images out, or stop at them (BadImage) if `strict`."""
    for item, reason in bad:
        if strict:
            raise BadImage(f"{item.name}: {reason}. Without --strict it would be left out")
        progress.warn(f"left out {item.name}: {reason}")


def usable_classes(dataset: Dataset, features: dict[str, Features]) -> tuple[str, ...]:
    """The classes, each of which must still have training images."""
    groups = group_numbers(features["train"].items)
    if groups is not None and groups.max() == 0:
        raise DatasetError("expected training images of two groups or more, found one group")
    kept = features["train"].items
    left = {item.label for item in kept} | {name for item in kept for name in item.labels}
    lost = [name for name in dataset.classes if name not in left]
    if lost:
        raise DatasetError(
            f"expected usable training images of every class, found none of {', '.join(lost)}. "
            "Add images or remove the class"
        )
    return dataset.classes


def check_suits(dataset: Dataset, recipe: Recipe) -> None:
    """Raises RecipeError for what images in several classes cannot have, MissingExtra where the
    recipe needs Keras and there is none: before anything slow is done.
    """
    if dataset.multi and (recipe.head == "neural" or recipe.finetune or recipe.ensemble):
        more = "".join(f" and {name}" for name in ("finetune", "ensemble") if getattr(recipe, name))
        raise RecipeError(
            "expected head = 'linear' without finetune and ensemble for images in several "
            f"classes, found head = {recipe.head!r}{more}. "
            "Type: headstart train TABLE"
        )
    if recipe.head == "neural" or recipe.finetune:
        from headstart.heads.neural import backend

        backend()


def choose_head(
    features: dict[str, Features],
    classes: tuple[str, ...],
    recipe: Recipe,
    progress: Progress,
    multi: bool,
) -> tuple[Recipe, HeadSelection | None]:
    """The recipe with its head, which is measured if that is left open ("auto")."""
    if recipe.head != "auto":
        return recipe, None
    groups = group_numbers(features["train"].items)
    if multi or (groups is not None and len(np.unique(groups)) < LEAST):
        why = "images in several classes have no other" if multi else "too few groups to compare"
        progress.say(f"a linear head: {why}")
        return recipe.changed(head="linear"), None
    found = measured_heads(features["train"], classes, recipe, progress)
    low, high = found.chosen.accuracy_interval
    progress.say(
        f"{len(found.tried)} heads measured: {found.chosen.name} "
        f"({found.chosen.accuracy:.1%}, {low:.1%} to {high:.1%})"
    )
    return found.recipe, found


def measured_heads(
    part: Features,
    classes: Sequence[str],
    recipe: Recipe,
    progress: Progress,
    on_result: Callable[[HeadScore], None] | None = None,
) -> HeadSelection:
    """Heads of every kind on the features of training images."""
    found = select_head(
        part.values, numbers_of(part.items, classes), len(classes), recipe, progress,
        groups=group_numbers(part.items), on_result=on_result,
    )  # fmt: skip
    if found.untried:
        progress.say(f"not tried: {', '.join(found.untried)}")
    return found


def train_head(
    features: dict[str, Features],
    classes: tuple[str, ...],
    recipe: Recipe,
    extractor: Extractor,
    folder: Path,
    progress: Progress,
    resumed: bool,
    callbacks: Sequence[Any],
    multi: bool,
) -> Trained:
    """The head that the recipe asks for, trained on the training images."""
    part = features["train"]
    if multi:
        with progress.stage("head"):
            return fit_multilabel(
                part.values, targets_of(part.items, classes), recipe, group_numbers(part.items)
            )
    labels = labels_of(part, classes)
    if recipe.head == "linear":
        with progress.stage("head"):
            return fit_linear(part.values, labels, len(classes), recipe, group_numbers(part.items))
    looked_at = None
    if "validation" in features:
        values = features["validation"].values[:, 0]
        looked_at = values, labels_of(features["validation"], classes)
    fresh = None
    if recipe.fresh:
        fresh = FreshViews(
            part.items, extractor, recipe.augmentation, recipe.seed, recipe.batch_size
        )

    def tell(row: dict[str, float]) -> None:
        progress.advance()
        told = f", validation accuracy {row['val_accuracy']:.1%}" if "val_accuracy" in row else ""
        progress.say(
            f"epoch {row['epoch']:>3}/{recipe.epochs}  loss {row['loss']:.4f}, "
            f"accuracy {row['accuracy']:.1%}{told}  ({row['seconds']:.1f} s)"
        )

    if watches(recipe) and not recipe.ensemble:
        progress.say("a fifth of the training images tells when to stop, and is not trained on")
    progress.say(f"Run: {folder}. Stopped, it goes on with: headstart train --resume {folder}")
    with progress.stage("head", recipe.epochs, "epochs"):
        if recipe.ensemble:
            return fit_ensemble(
                part.values, labels, len(classes), recipe, folder,
                groups=group_numbers(part.items), resume=resumed, on_epoch=tell,
            )  # fmt: skip
        return fit_neural(
            part.values, labels, looked_at, len(classes), recipe, folder,
            groups=group_numbers(part.items), fresh=fresh, resume=resumed, on_epoch=tell,
            callbacks=callbacks,
        )  # fmt: skip


def tune(
    features: dict[str, Features],
    classes: tuple[str, ...],
    recipe: Recipe,
    extractor: Extractor,
    folder: Path,
    progress: Progress,
    resumed: bool,
) -> "Tuning | None":
    """The layers above a boundary fine-tuned too, where the recipe asks for it."""
    if not recipe.finetune:
        return None
    from headstart.tuning.stages import finetune

    progress.say(f"Run: {folder}. Stopped, it goes on with: headstart train --resume {folder}")
    part = features["train"]
    labels = labels_of(part, classes)
    return finetune(
        part, labels, len(classes), extractor, recipe, folder, progress,
        groups=group_numbers(part.items), resume=resumed,
    )  # fmt: skip


def measure(
    features: dict[str, Features],
    trained: Trained,
    classes: tuple[str, ...],
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metrics by split, and the (N, C) probabilities they come from."""

    def judged(
        found: np.ndarray, part: Features, thresholds: np.ndarray | None
    ) -> Metrics | MultiMetrics:
        if thresholds is None:
            return evaluate(found, labels_of(part, classes), classes)
        return evaluate_multi(found, targets_of(part.items, classes), classes, thresholds)

    with progress.stage("evaluation"):
        probabilities = {
            split: trained.head.probabilities(part.values[:, 0]) for split, part in features.items()
        }
        metrics = {
            split: judged(probabilities[split], part, trained.thresholds)
            for split, part in features.items()
        }
        if trained.out_of_fold is not None:
            metrics["cross_validation"] = judged(
                trained.out_of_fold, features["train"], trained.thresholds_out_of_fold
            )
    return metrics, probabilities


def targets_of(items: Sequence[Item], classes: Sequence[str]) -> np.ndarray:
    """(N, C) of 0 and 1: which classes each image is in."""
    numbers = {name: number for number, name in enumerate(classes)}
    targets = np.zeros((len(items), len(classes)), np.float32)
    for row, item in enumerate(items):
        targets[row, [numbers[name] for name in item.labels]] = 1
    return targets


def labels_of(features: Features, classes: tuple[str, ...]) -> np.ndarray:
    """(N,) class numbers."""
    return numbers_of(features.items, classes)


def numbers_of(items: Sequence[Item], classes: Sequence[str]) -> np.ndarray:
    """(N,) class numbers."""
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[item.label or ""] for item in items], np.int64)
