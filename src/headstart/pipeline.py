"""train(): the whole story on one page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import __version__
from headstart import run as runs
from headstart.augment import NONE
from headstart.cache import FeatureCache
from headstart.classifier import assemble
from headstart.classifier import load as load_classifier
from headstart.dataset import Dataset, Item, group_numbers, load
from headstart.errors import BadImage, DatasetError, RecipeError
from headstart.evaluation import Comparison, Metrics, compare
from headstart.evaluation import evaluate as measured
from headstart.evaluation_multi import MultiMetrics, evaluate_multi
from headstart.extractor import Extractor, open_extractor
from headstart.features import Features, extract, open_space
from headstart.files import write_atomically
from headstart.head_selection import HeadScore, HeadSelection, select_head
from headstart.heads.training import (
    Trained,
    fit_ensemble,
    fit_linear,
    fit_multilabel,
    fit_neural,
    watches,
)
from headstart.learning_curve import LearningCurve
from headstart.learning_curve import learning_curve as curve_of
from headstart.progress import Silent
from headstart.recipe import Recipe, load_recipe
from headstart.report.curves import curves_picture
from headstart.run import Run
from headstart.scoring import Truth
from headstart.selection import Selection, select
from headstart.verdict import verdict
from headstart.views import CachedViews, FreshViews

if TYPE_CHECKING:
    from headstart.finetune import Tuning

MOST = 3000  # training images that a study of all cuts looks at
SPLITS = ("train", "validation", "test")


def train(
    source: str | Path,
    recipe: str | Path | Recipe = "quick",
    *,
    out: str | Path | None = None,
    strict: bool = False,
    progress: Silent | None = None,
    callbacks: Sequence[Any] = (),
    **choices: Any,
) -> Run:
    """Train a classifier on labelled images and save it as a run.

    source: a folder with one folder per class, a table, or an archive of these. recipe: a name, a
    TOML file or a Recipe; `choices` override single fields of it (`backbone="inception_v3"`).
    out: the run's folder, new; by default runs/NAME-N. strict: stop at an unusable image.
    callbacks: Keras callbacks for a neural head, such as TensorBoard's.
    Raises a HeadstartError that says what was expected, what was found and what to type next.
    """
    recipe = load_recipe(recipe, **choices)
    runs.check_new(out)
    return _carry_out(Path(source), recipe, strict, progress or Silent(), callbacks, out=out)


def finetune(
    run: Run, *, out: str | Path | None = None, progress: Silent | None = None, **choices: Any
) -> Run:
    """Train the run's recipe again with fine-tuning; its features are already there.

    Where the run has no augmentation, that of the recipe `thorough` is used. `choices` override
    single fields. The images must still be where they were. Raises as `train` does.
    """
    recipe, thorough = run.recipe, load_recipe("thorough")
    changes: dict[str, Any] = {"finetune": True, "head": "linear"}
    for name in ("label_smoothing", "batch_size"):
        changes[name] = getattr(thorough, name)
    if recipe.augmentation == NONE or recipe.views == "fresh":
        changes["views"] = thorough.views
    if recipe.augmentation == NONE:
        changes["augmentation"] = thorough.augmentation
    return train(
        run.record["source"], recipe.changed(**{**changes, **choices}), out=out, progress=progress
    )


def resume(
    run: str | Path, *, progress: Silent | None = None, callbacks: Sequence[Any] = ()
) -> Run:
    """Go on with a training that was stopped: from the features and the last epoch it kept.

    The result is that of a training that was never stopped. A finished run is returned as it is.
    Raises ClassifierError if `run` is not the folder of a training.
    """
    folder = Path(run)
    if (folder / "run.json").is_file():
        return Run(folder)
    started = runs.started(folder)
    recipe = load_recipe(folder / "recipe.toml")
    source, strict = Path(started["source"]), started["strict"]
    return _carry_out(source, recipe, strict, progress or Silent(), callbacks, folder=folder)


def _carry_out(
    source: Path,
    recipe: Recipe,
    strict: bool,
    progress: Silent,
    callbacks: Sequence[Any],
    *,
    out: str | Path | None = None,
    folder: Path | None = None,
) -> Run:
    """The whole story; with `folder`, of a training that had begun there."""
    dataset = _dataset(source, recipe, progress)
    selection = _selection(dataset, recipe, progress)
    recipe = selection.recipe
    extractor = _extractor(recipe, progress)
    features = _features(dataset, recipe, extractor, progress, strict)
    classes = _usable(dataset, features)
    _suits(dataset, recipe)
    recipe, heads = _chosen_head(features, classes, recipe, progress, dataset.multi)
    resumed, folder = folder is not None, folder or runs.start(source, recipe, strict, out)
    trained = _head(
        features, classes, recipe, extractor, folder, progress, resumed, callbacks, dataset.multi
    )
    tuning = _tuned(features, classes, recipe, extractor, folder, progress, resumed)
    if tuning is not None and tuning.stack is not None:
        recipe, trained = tuning.recipe, Trained(tuning.stack, history=tuning.history)
        extractor = _extractor(recipe, progress)
        features = _features(dataset, recipe.changed(views=1), extractor, progress, strict)
    metrics, probabilities = _measured(features, trained, classes, progress)
    with progress.stage("save"):
        about = _about(extractor, recipe)
        if trained.thresholds is not None:
            about["thresholds"] = [round(float(value), 6) for value in trained.thresholds]
        assemble(extractor, trained.stack, classes, about).save(folder / "classifier")
        if recipe.head == "neural" or trained.history:
            _write_keras(folder, recipe, trained, extractor)
        _write(
            folder, source, dataset, features, trained, metrics, probabilities, progress,
            {"selection": selection.to_dict() if selection.tried or selection.before else None,
             "heads": heads.to_dict() if heads else None,
             "tuning": tuning.to_dict() if tuning else None},
        )  # fmt: skip
        runs.finish(folder)
    return Run(folder)


def evaluate(
    run: str | Path,
    source: str | Path,
    *,
    strict: bool = False,
    progress: Silent | None = None,
) -> dict[str, Metrics]:
    """Metrics of a classifier on labelled images, by split ("all" where there are no splits).

    Raises DatasetError if the images have a class that the classifier does not know.
    """
    return evaluate_views(run, source, 1, strict=strict, progress=progress)[0]


def evaluate_views(
    run: str | Path,
    source: str | Path,
    views: int,
    *,
    strict: bool = False,
    progress: Silent | None = None,
) -> tuple[dict[str, Any], dict[str, Comparison], dict[str, Metrics]]:
    """Metrics by split with test-time views; against the image alone; and of the image alone."""
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
    found: dict[str, tuple[list[np.ndarray], list[Item]]] = {}
    with progress.stage("predict", len(dataset.items), "images"):
        rows = classifier.by_view(dataset.items, views)
        for item, (_, error, by_view) in zip(dataset.items, rows, strict=True):
            progress.advance()
            if by_view is None:
                _refuse([(item, error or "")], strict, progress)
                continue
            kept, labels = found.setdefault(item.split or "all", ([], []))
            kept.append(np.stack([by_view.mean(axis=0), by_view[0]]))
            labels.append(item)
    metrics: dict[str, Any] = {}
    paired, alone = {}, {}
    for split, (kept, labelled) in found.items():
        both = np.stack(kept).astype(np.float32)
        if thresholds is not None:
            targets, limits = _targets(labelled, classifier.classes), np.array(thresholds)
            metrics[split] = evaluate_multi(both[:, 0], targets, classifier.classes, limits)
            continue
        numbers = np.array([classifier.classes.index(item.label or "") for item in labelled])
        metrics[split] = measured(both[:, 0], numbers, classifier.classes)
        alone[split] = measured(both[:, 1], numbers, classifier.classes)
        paired[split] = compare(both[:, 0], both[:, 1], numbers)
    return metrics, paired, alone


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
    dataset = _dataset(source, recipe, progress)
    return _selection(
        dataset, recipe.changed(cut="auto"), progress,
        variations=variations, every_cut=every_cut, most=most,
    )  # fmt: skip


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
    dataset = _dataset(source, chosen, progress)
    if dataset.multi:
        raise DatasetError("expected one class an image for a learning curve, found several")
    chosen = _selection(dataset, chosen, progress).recipe.changed(views=1, augmentation=NONE)
    extractor = _extractor(chosen, progress)
    items = replace(dataset, items=dataset.split("train"))
    part = _features(items, chosen, extractor, progress, False)["train"]
    with progress.stage("learning curve"):
        return curve_of(
            part.values[:, 0], _labels(part, dataset.classes), dataset.classes,
            groups=group_numbers(part.items), seed=chosen.seed,
            class_weight="balanced" if chosen.balanced else None,
        )  # fmt: skip


def learning_rates(
    source: str | Path, recipe: Recipe, progress: Silent
) -> tuple[list[float], list[float], float]:
    """Learning rates, smoothed losses and a rate to try, for the recipe's neural head."""
    from headstart.heads.neural import find_learning_rate

    dataset = _dataset(source, recipe, progress)
    extractor = _extractor(recipe, progress)
    part = _features(dataset, recipe, extractor, progress, False)["train"]
    return find_learning_rate(
        CachedViews(part.values, recipe.batch_size),
        _labels(part, dataset.classes),
        len(dataset.classes),
        part.values.shape[2],
        recipe,
    )


def _dataset(source: str | Path, recipe: Recipe, progress: Silent) -> Dataset:
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


def _selection(dataset: Dataset, recipe: Recipe, progress: Silent, **options: Any) -> Selection:
    """What the recipe leaves open ("auto"), measured on the training images."""
    items = dataset.split("train")
    truth = Truth(
        _targets(items, dataset.classes) if dataset.multi else _numbers(items, dataset.classes),
        len(dataset.classes), group_numbers(items), recipe.balanced, recipe.seed,
    )  # fmt: skip
    selection = select(items, truth, recipe, progress, **options)
    if selection.chosen is not None:
        low, high = selection.chosen.accuracy_interval
        progress.say(
            f"measured on {selection.images:,} training images, {len(selection.tried)} candidates "
            f"in {selection.seconds:.1f} s: {selection.chosen.name} "
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


def _extractor(recipe: Recipe, progress: Silent) -> Extractor:
    with progress.stage("extractor"):
        extractor = open_extractor(recipe)
    size = f"{extractor.geometry.width}x{extractor.geometry.height}"
    progress.say(
        f"{recipe.backbone} up to {' + '.join(extractor.cuts)}, {size} pixels, "
        f"{extractor.dimensions:,} features, {extractor.description['precision']}"
    )
    return extractor


def _features(
    dataset: Dataset, recipe: Recipe, extractor: Extractor, progress: Silent, strict: bool
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
            _refuse(features[split].bad, strict, progress)
    return features


def _refuse(bad: Iterable[tuple[Any, str]], strict: bool, progress: Silent) -> None:
    for item, reason in bad:
        if strict:
            raise BadImage(f"{item.name}: {reason}. Without --strict it would be left out")
        progress.warn(f"left out {item.name}: {reason}")


def _usable(dataset: Dataset, features: dict[str, Features]) -> tuple[str, ...]:
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


def _suits(dataset: Dataset, recipe: Recipe) -> None:
    """Raises RecipeError for what images in several classes cannot have."""
    if dataset.multi and (recipe.head == "neural" or recipe.finetune or recipe.ensemble):
        more = "".join(f" and {name}" for name in ("finetune", "ensemble") if getattr(recipe, name))
        raise RecipeError(
            "expected head = 'linear' without finetune and ensemble for images in several "
            f"classes, found head = {recipe.head!r}{more}. "
            "Type: headstart train TABLE"
        )


def _chosen_head(
    features: dict[str, Features],
    classes: tuple[str, ...],
    recipe: Recipe,
    progress: Silent,
    multi: bool,
) -> tuple[Recipe, HeadSelection | None]:
    """The recipe with its head, which is measured if that is left open ("auto")."""
    if recipe.head != "auto":
        return recipe, None
    if multi:
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
    progress: Silent,
    on_result: Callable[[HeadScore], None] | None = None,
) -> HeadSelection:
    """Heads of every kind on the features of training images."""
    found = select_head(
        part.values, _numbers(part.items, classes), len(classes), recipe, progress,
        groups=group_numbers(part.items), on_result=on_result,
    )  # fmt: skip
    if found.untried:
        progress.say(f"not tried: {', '.join(found.untried)}")
    return found


def measure_heads(
    source: str | Path,
    recipe: Recipe,
    progress: Silent,
    on_result: Callable[[HeadScore], None] | None = None,
) -> HeadSelection:
    """Heads of every kind, compared inside the training images at the recipe's cut.

    Raises DatasetError for images in several classes: their heads are linear.
    """
    dataset = _dataset(source, recipe, progress)
    if dataset.multi:
        raise DatasetError("expected one class an image to compare heads, found several")
    recipe = _selection(dataset, recipe, progress).recipe
    extractor = _extractor(recipe, progress)
    only = replace(dataset, items=dataset.split("train"))
    part = _features(only, recipe, extractor, progress, False)["train"]
    return measured_heads(part, dataset.classes, recipe, progress, on_result)


def _head(
    features: dict[str, Features],
    classes: tuple[str, ...],
    recipe: Recipe,
    extractor: Extractor,
    folder: Path,
    progress: Silent,
    resumed: bool,
    callbacks: Sequence[Any],
    multi: bool,
) -> Trained:
    """The head that the recipe asks for, trained on the training images."""
    part = features["train"]
    if multi:
        with progress.stage("head"):
            return fit_multilabel(
                part.values, _targets(part.items, classes), recipe, group_numbers(part.items)
            )
    labels = _labels(part, classes)
    if recipe.head == "linear":
        with progress.stage("head"):
            return fit_linear(part.values, labels, len(classes), recipe, group_numbers(part.items))
    looked_at = None
    if "validation" in features:
        values = features["validation"].values[:, 0]
        looked_at = values, _labels(features["validation"], classes)
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


def _tuned(
    features: dict[str, Features],
    classes: tuple[str, ...],
    recipe: Recipe,
    extractor: Extractor,
    folder: Path,
    progress: Silent,
    resumed: bool,
) -> "Tuning | None":
    """The layers above a boundary fine-tuned too, where the recipe asks for it."""
    if not recipe.finetune:
        return None
    from headstart.finetune import finetune

    part = features["train"]
    labels = _labels(part, classes)
    return finetune(
        part, labels, len(classes), extractor, recipe, folder, progress,
        groups=group_numbers(part.items), resume=resumed,
    )  # fmt: skip


def _write_keras(folder: Path, recipe: Recipe, trained: Trained, extractor: Extractor) -> None:
    """Where Keras has trained, the whole as a plain Keras model too."""
    from headstart.keras_model import keras_model

    temporary = folder / ".model.keras"
    keras_model(recipe, trained.stack, extractor.cuts).save(temporary, zipped=True)
    temporary.replace(folder / "model.keras")


def _measured(
    features: dict[str, Features],
    trained: Trained,
    classes: tuple[str, ...],
    progress: Silent,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metrics by split, and the (N, C) probabilities they come from."""

    def judged(found: np.ndarray, part: Features) -> Metrics | MultiMetrics:
        if trained.thresholds is None:
            return measured(found, _labels(part, classes), classes)
        return evaluate_multi(found, _targets(part.items, classes), classes, trained.thresholds)

    with progress.stage("evaluation"):
        probabilities = {
            split: trained.stack.probabilities(part.values[:, 0])
            for split, part in features.items()
        }
        metrics = {split: judged(probabilities[split], part) for split, part in features.items()}
        if trained.out_of_fold is not None:
            metrics["cross_validation"] = judged(trained.out_of_fold, features["train"])
    return metrics, probabilities


def _targets(items: Sequence[Item], classes: Sequence[str]) -> np.ndarray:
    """(N, C) of 0 and 1: which classes each image is in."""
    numbers = {name: number for number, name in enumerate(classes)}
    targets = np.zeros((len(items), len(classes)), np.float32)
    for row, item in enumerate(items):
        targets[row, [numbers[name] for name in item.labels]] = 1
    return targets


def _labels(features: Features, classes: tuple[str, ...]) -> np.ndarray:
    """(N,) class numbers."""
    return _numbers(features.items, classes)


def _numbers(items: Sequence[Item], classes: Sequence[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[item.label or ""] for item in items], np.int64)


def _about(extractor: Extractor, recipe: Recipe) -> dict[str, Any]:
    """What a classifier tells of its origin."""
    return {
        "headstart": __version__,
        "recipe": recipe.name,
        "backbone": recipe.backbone,
        "cuts": list(extractor.cuts),
        "pooling": recipe.pooling,
        "extractor": extractor.fingerprint,
        "augmentation": {
            name: value
            for name, value in recipe.model_dump(mode="json")["augmentation"].items()
            if recipe.augmentation != NONE and value is not None
        },
    }


def _write(
    folder: Path,
    source: str | Path,
    dataset: Dataset,
    features: dict[str, Features],
    trained: Trained,
    metrics: dict[str, Any],
    probabilities: dict[str, np.ndarray],
    progress: Silent,
    studies: dict[str, Any],
) -> None:
    """Everything of the run but its classifier; run.json, the last, says that it is whole."""
    classes = dataset.classes
    bad = [row for part in features.values() for row in part.bad]
    runs.write_table(
        folder / "unreadable.csv", ["image", "reason"], ((item.name, why) for item, why in bad)
    )
    runs.write_table(
        folder / "predictions.csv",
        ["image", "content", "split", "label", "predicted", *classes],
        _prediction_rows(features, probabilities, classes, trained.thresholds),
    )
    if trained.history:
        write_atomically(folder / "curves.png", curves_picture({"": trained.history}))
    runs.write_json(
        folder / "metrics.json", {split: found.to_dict() for split, found in metrics.items()}
    )
    judged = verdict(metrics, trained.history)
    seconds = {stage: round(spent, 3) for stage, spent in progress.seconds.items()}
    runs.write_json(
        folder / "run.json",
        {
            "format": runs.FORMAT,
            "headstart": __version__,
            "source": str(source),
            "dataset": dataset.fingerprint(),
            "classes": list(classes),
            "images": {
                **{split: len(part.items) for split, part in features.items()},
                "unreadable": len(bad),
            },
            "multi": dataset.multi,
            "groups": len({item.group for item in dataset.items} - {None}),
            "cache": {
                "hits": sum(part.hits for part in features.values()),
                "misses": sum(part.misses for part in features.values()),
            },
            "verdict": judged.text if judged else None,
            **studies,
            "kept_epoch": trained.kept_epoch,
            "history": trained.history,
            "warnings": progress.warnings,
            "seconds": {**seconds, "total": round(sum(seconds.values()), 3)},
        },
    )


def _prediction_rows(
    features: dict[str, Features],
    probabilities: dict[str, np.ndarray],
    classes: tuple[str, ...],
    thresholds: np.ndarray | None,
) -> Iterable[list[Any]]:
    for split, part in features.items():
        if split == "train":
            continue
        for item, row in zip(part.items, probabilities[split], strict=True):
            predicted = classes[int(row.argmax())]
            if thresholds is not None:
                given = zip(classes, row, thresholds, strict=True)
                predicted = ";".join(name for name, p, limit in given if p >= limit)
            rounded = [f"{p:.6g}" for p in row]
            yield [item.name, item.content_hash.hex(), split, item.label, predicted, *rounded]
