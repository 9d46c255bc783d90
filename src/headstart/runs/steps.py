"""The steps of a training, each told to `progress`; training and studies put them in order."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.abstention.abstention import FOLDS, Abstention, learn
from headstart.classifier import resume_command
from headstart.data.dataset import Dataset, load
from headstart.data.item import Item
from headstart.data.rows import list_column, take
from headstart.data.ties import group_numbers
from headstart.errors import BadImage, DatasetError, HeadstartError, RecipeError
from headstart.features.cost import count_costs
from headstart.features.eight_bits import import_nncf, open_eight_bits
from headstart.features.extract import Features, extract, open_cache
from headstart.features.extractor import Extractor, open_extractor
from headstart.features.views import FreshViews
from headstart.heads.callbacks import check_callbacks
from headstart.heads.ensemble import check_ensemble
from headstart.heads.examples import Examples, Labels
from headstart.heads.fit import Trained, fit_ensemble, fit_linear, fit_neural, needs_images_apart
from headstart.heads.linear import SAID
from headstart.images.augment import NONE
from headstart.metrics.task import Task
from headstart.recipe import Recipe
from headstart.report.words import describe_doubts, describe_selection
from headstart.runs import compare
from headstart.runs.changes import Changes
from headstart.selection.cuts import Selection, select
from headstart.selection.heads import LEAST, HeadScore, HeadSelection, select_head
from headstart.selection.precision import describe, may_pay, weigh
from headstart.store.store import Store
from headstart.system.memory import take_rows
from headstart.system.progress import Progress
from headstart.system.threads import algebra_for

if TYPE_CHECKING:
    from headstart.tuning.stages import Tuning

TOLD_ACCURACIES = (0.95, 0.99)
LOOKED_FOR = 100  # images of a store whose files are looked for
TOLD = 10  # images left out that are told one by one
SPLITS = ("train", "validation", "test")
PURPOSES = {"train": "to learn from", "validation": "to validate", "test": "to test"}


def read_dataset(
    source: Any, recipe: Recipe, progress: Progress, store: Store | None = None
) -> Dataset:
    """The labelled images, split as the recipe says. store: their features, where these are all
    that is given of them.
    """
    with progress.stage("dataset"):
        dataset = store.read_dataset(recipe) if store is not None else load(
            source, validation_fraction=recipe.validation_fraction, seed=recipe.seed,
            groups=recipe.groups, progress=progress,
        )  # fmt: skip
    for warning in dataset.warnings:
        progress.warn(warning)
    counts = {purpose: len(dataset.split(split)) for split, purpose in PURPOSES.items()}
    parts = ", ".join(f"{count:,} {purpose}" for purpose, count in counts.items() if count)
    progress.say(f"{len(dataset.items):,} images of {len(dataset.classes)} classes: {parts}")
    return dataset


def choose_cut(dataset: Dataset, recipe: Recipe, progress: Progress, **options: Any) -> Selection:
    """What the recipe leaves open ("auto"), measured on the training images."""
    items = dataset.split("train")
    selection = select(items, label(items, dataset.task, recipe), recipe, progress, **options)
    _say_choice(selection, progress)
    if selection.untried:
        progress.say(
            f"{len(selection.untried)} candidates were not measured within {recipe.budget:.0f} s. "
            f"With more time: --budget {max(60, 2 * recipe.budget):.0f}s"
        )
        progress.detail(f"not measured: {', '.join(selection.untried)}")
    return selection


def _say_choice(selection: Selection, progress: Progress) -> None:
    """What was chosen and what it is worth, now or before."""
    if line := describe_selection(selection.to_dict(), before=selection.before is not None):
        progress.detail(line)


def build_extractor(recipe: Recipe, progress: Progress, training: Sequence[Item] = ()) -> Extractor:
    """The frozen backbone up to the recipe's cut; in 8 bits calibrated on images of `training`."""
    with progress.stage("extractor"):
        extractor = open_extractor(recipe)
        if recipe.precision == "int8":
            extractor = open_eight_bits(extractor, training)
    for warning in extractor.warnings:
        progress.warn(warning)
    size = f"{extractor.geometry.width}x{extractor.geometry.height}"
    progress.detail(
        f"{recipe.backbone} up to {_name_cuts(recipe, extractor)}, {size} pixels, "
        f"{extractor.dimensions:,} features, {extractor.description['precision']}"
    )
    return extractor


def _name_cuts(recipe: Recipe, extractor: Extractor) -> str:
    if list_parts(recipe, extractor):
        return f"{extractor.cuts[0]} and {len(extractor.cuts) - 1} more, a head for each"
    return " + ".join(map(str, extractor.cuts))


@dataclass(frozen=True)
class Inputs:
    """What a training works on: the labelled images, every choice, the frozen network, and what it
    says of the images, by split. groups: (N,) of the training images, where more is known to belong
    together than the images themselves say. precision: what was measured to choose it.
    """

    dataset: Dataset
    recipe: Recipe
    extractor: Extractor
    features: dict[str, Features]
    groups: np.ndarray | None = None
    precision: dict[str, Any] | None = None

    @property
    def task(self) -> Task:
        """Which one of the classes an image is in, or which of them."""
        return self.dataset.task

    def examples(self, split: str = "train") -> Examples:
        """The usable images of a split with their features, as heads learn from them."""
        features = self.features[split]
        parts = list_parts(self.recipe, self.extractor)
        labels = label(features.items, self.task, self.recipe)
        if split == "train" and self.groups is not None:
            labels = replace(labels, groups=self.groups)
        return labels.with_features(features.values, parts)


def prepare(
    dataset: Dataset, recipe: Recipe, progress: Progress, strict: bool, store: Store | None = None
) -> Inputs:
    """The frozen network built, and all it says of the images, or has said in a store.

    Raises DatasetError where a class has no usable training image, or all are of one group.
    """
    if store is not None:
        extractor = build_extractor(recipe, progress)
        features = read_features(dataset, store, extractor, progress)
        _check_classes(dataset, features["train"].items)
        return Inputs(dataset, recipe, extractor, features)
    recipe, measured = choose_precision(dataset, recipe, progress)
    extractor = build_extractor(recipe, progress, dataset.split("train"))
    features = compute_features(dataset, recipe, extractor, progress, strict)
    _check_classes(dataset, features["train"].items)
    return Inputs(dataset, recipe, extractor, features, precision=measured)


def choose_precision(
    dataset: Dataset, recipe: Recipe, progress: Progress
) -> tuple[Recipe, dict[str, Any] | None]:
    """The recipe in 8 bits where that is quicker and training images lose nothing by it, and what
    was measured.
    """
    if not may_pay(recipe, len(dataset.items)):
        return recipe, None
    extractor, items = open_extractor(recipe), dataset.split("train")
    with progress.stage("precision"):
        scores = weigh(items, label(items, dataset.task, recipe), recipe, extractor,
                       list_parts(recipe, extractor), progress)  # fmt: skip
    if scores is None:
        return recipe, None
    told = describe(*scores)
    full, eight = told["tried"]
    progress.detail(
        f"{told['chosen']}: on {told['images']} training images 8 bits are right in "
        f"{eight['accuracy']:.1%}, {full['precision']} in {full['accuracy']:.1%}"
    )
    chosen = recipe.changed(precision="int8") if told["chosen"] == "int8" else recipe
    return chosen, told


def compute_features(
    dataset: Dataset, recipe: Recipe, extractor: Extractor, progress: Progress, strict: bool
) -> dict[str, Features]:
    """By split: all views of the training images, the others as they are."""
    # Fresh views are computed while the head trains: here only the images themselves.
    views = recipe.cached_views
    items = {split: dataset.split(split) for split in SPLITS if dataset.split(split)}
    total = sum(len(part) * (views if split == "train" else 1) for split, part in items.items())
    features = {}
    with progress.stage("features", total, "images"):
        space = open_cache(extractor, progress)
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
            if strict and features[split].bad:
                break
    bad = [row for part in features.values() for row in part.bad]
    refuse(bad, strict, progress, "unreadable.csv in the run names all")
    return features


def read_features(
    dataset: Dataset, store: Store, extractor: Extractor, progress: Progress
) -> dict[str, Features]:
    """By split, from the files of a store, once it is known that they are the extractor's."""
    for warning in store.check_extractor(extractor):
        progress.warn(warning)
    if not any(item.path.is_file() for item in dataset.items[:LOOKED_FOR]):
        progress.say("the images themselves are not here: audit and report go by their features")
    items = {split: dataset.split(split) for split in SPLITS if dataset.split(split)}
    with progress.stage("features", len(dataset.items), "images"):
        return store.read(items, progress)


def refuse(bad: Sequence[tuple[Any, str]], strict: bool, progress: Progress, all_in: str) -> None:
    """Leave unusable images out, or stop at the first (BadImage) if `strict`.

    The first ten are told one by one, of the others how many and where they all are.
    """
    for item, reason in bad[:TOLD]:
        if strict:
            raise BadImage(f"{item.name}: {reason}. Without --strict it would be left out")
        progress.warn(f"left out {item.name}: {reason}")
    if len(bad) > TOLD:
        progress.warn(f"left out {len(bad) - TOLD:,} more images; {all_in}")


def _check_classes(dataset: Dataset, items: Sequence[Item]) -> None:
    groups = group_numbers(items)
    if groups is not None and groups.max() == 0:
        raise DatasetError(
            "expected training images of two groups or more, found one group. Type: --groups "
            "with a column or pattern that tells them apart"
        )
    learned = {name for names in list_column(items, "labels").values for name in names}
    lost = [name for name in dataset.classes if name not in learned]
    if lost:
        raise DatasetError(
            f"expected usable training images of every class, found none of {', '.join(lost)}. "
            "Add images or remove the class"
        )


def check_suits(task: Task, recipe: Recipe, callbacks: Sequence[Any] = ()) -> None:
    """Raises RecipeError for what images in several classes cannot have, for layers whose heads
    cannot be averaged and for callbacks that are not served, MissingExtra where the recipe needs
    Keras or NNCF and there is none: before anything slow is done.
    """
    if task.multilabel and (recipe.head == "neural" or recipe.finetune or recipe.ensemble):
        more = "".join(f" and {name}" for name in ("finetune", "ensemble") if getattr(recipe, name))
        raise RecipeError(
            "expected head = 'linear' without finetune and ensemble for images in several "
            f"classes, found head = {recipe.head!r}{more}. "
            "Type: headstart train TABLE"
        )
    check_callbacks(callbacks, recipe)
    if recipe.precision == "int8":
        import_nncf()
    if recipe.head == "neural" and recipe.ensemble:
        check_ensemble(recipe.layers)
    if recipe.head == "neural" or recipe.finetune:
        from headstart.heads.neural import prepare_keras

        prepare_keras()


def label(items: Sequence[Item], task: Task, recipe: Recipe) -> Labels:
    """What the images are, as heads learn it."""
    labels = list_column(items, "labels")
    return Labels(
        targets=task.targets(labels.values)[labels.codes], task=task,
        groups=group_numbers(items), balanced=recipe.balanced,
    )  # fmt: skip


def list_parts(recipe: Recipe, extractor: Extractor) -> tuple[slice, ...]:
    """Which features each of the heads sees that are averaged; none for one head on all."""
    late = recipe.fusion == "late" and recipe.head == "linear" and len(extractor.cuts) > 1
    return tuple(extractor.slices.values()) if late else ()


def choose_head(inputs: Inputs, progress: Progress) -> tuple[Inputs, HeadSelection | None]:
    """With the recipe's head, which is measured if that is left open ("auto")."""
    recipe, task = inputs.recipe, inputs.task
    if recipe.head != "auto":
        return inputs, None
    examples = inputs.examples()
    if task.multilabel or examples.group_count < LEAST:
        why = "images in several classes have no other" if task.multilabel else (
            "too few groups to compare")  # fmt: skip
        progress.detail(f"a linear head: {why}")
        return replace(inputs, recipe=recipe.changed(head="linear")), None
    selection = measure_heads(examples, recipe, progress)
    low, high = selection.worth.interval
    progress.detail(
        f"{len(selection.tried)} heads measured: {selection.chosen.name} "
        f"({selection.worth.accuracy:.1%}, {low:.1%} to {high:.1%})"
    )
    return replace(inputs, recipe=selection.recipe), selection


def measure_heads(
    examples: Examples,
    recipe: Recipe,
    progress: Progress,
    on_result: Callable[[HeadScore], None] | None = None,
) -> HeadSelection:
    """Heads of every kind on the features of training images."""
    selection = select_head(examples, recipe, progress, on_result=on_result)
    if selection.untried:
        progress.say(f"not measured within the budget: {', '.join(selection.untried)}")
    return selection


def train_head(
    inputs: Inputs, folder: Path, progress: Progress, *, resumed: bool, callbacks: Sequence[Any]
) -> Trained:
    """The head that the recipe asks for, trained on the training images."""
    recipe, examples = inputs.recipe, inputs.examples()
    if recipe.head == "linear":
        with progress.stage("head"):
            return fit_linear(examples, recipe)

    told = 0

    def tell(row: dict[str, float]) -> None:
        nonlocal told
        before = int(row["epoch"]) - 1  # of one that is gone on with, more than were told
        if before > told and not recipe.ensemble:
            progress.advance(before - told)
        told = before + 1
        progress.advance()
        validated = (
            f", validation accuracy {row['val_accuracy']:.1%}" if "val_accuracy" in row else ""
        )
        progress.say(
            f"epoch {row['epoch']:>3}/{recipe.epochs}  loss {row['loss']:.4f}, "
            f"accuracy {row['accuracy']:.1%}{validated}  ({row['seconds']:.1f} s)"
        )

    if needs_images_apart(recipe, callbacks) and not recipe.ensemble:
        progress.say("a fifth of the training images tells when to stop, and is not trained on")
    _say_how_to_go_on(folder, progress)
    heads = recipe.folds if recipe.ensemble else 1
    with progress.stage("head", heads * recipe.epochs, "epochs"):
        if recipe.ensemble:
            return fit_ensemble(examples, recipe, folder, resume=resumed, on_epoch=tell)
        validation = fresh = None
        if "validation" in inputs.features:
            looked_at = inputs.examples("validation")
            validation = looked_at.values[:, 0], looked_at.targets
        if recipe.fresh:
            fresh = FreshViews(
                inputs.features["train"].items, inputs.extractor, recipe.augmentation, recipe.seed,
                recipe.batch_size,
            )  # fmt: skip
        return fit_neural(
            examples, recipe, folder, validation=validation, fresh=fresh, resume=resumed,
            on_epoch=tell, callbacks=callbacks,
        )  # fmt: skip


def tune(inputs: Inputs, folder: Path, progress: Progress, *, resumed: bool) -> "Tuning | None":
    """The layers above a boundary fine-tuned too, where the recipe asks for it."""
    if not inputs.recipe.finetune:
        return None
    from headstart.tuning.stages import finetune

    _say_how_to_go_on(folder, progress)
    return finetune(
        inputs.features["train"].items, inputs.examples(), inputs.extractor, inputs.recipe, folder,
        progress, resume=resumed,
    )  # fmt: skip


def _say_how_to_go_on(folder: Path, progress: Progress) -> None:
    progress.say(f"Run: {folder}\nIf it is stopped, go on with: {resume_command(folder)}")


@dataclass(frozen=True)
class Results:
    """Metrics by split, cross-validation among them, and the (N, C) probabilities of each split."""

    metrics: dict[str, Any]
    probabilities: dict[str, np.ndarray]


def thin(part: Features, classes: int) -> Features:
    """So many of the images that what is said of them, a number a class, is held in memory."""
    step = -(-len(part.items) * classes // SAID)
    if step <= 1:
        return part
    rows = np.arange(0, len(part.items), step)
    return replace(part, values=take_rows(part.values, rows), items=take(part.items, rows))


def thin_judged(inputs: Inputs, progress: Progress) -> Inputs:
    """With so many validation and test images as can be judged in memory, which is told."""
    classes, thinned = len(inputs.task.classes), dict(inputs.features)
    for split, part in inputs.features.items():
        if split != "train" and (some := thin(part, classes)) is not part:
            progress.warn(
                f"{len(some.items):,} of the {len(part.items):,} {split} images are judged: of "
                f"{classes:,} classes memory holds no more"
            )
            thinned[split] = some
    return replace(inputs, features=thinned)


def measure(inputs: Inputs, trained: Trained, progress: Progress) -> Results:
    """What the trained head says of every split, and how good that is."""
    task = inputs.task
    with progress.stage("evaluation"):
        parts = {split: thin(part, len(task.classes)) for split, part in inputs.features.items()}
        targets = {split: label(part.items, task, inputs.recipe).targets
                   for split, part in parts.items()}  # fmt: skip
        probabilities = {
            split: trained.head.probabilities(part.values[:, 0]) for split, part in parts.items()
        }
        metrics = {
            split: task.evaluate(rows, targets[split], trained.thresholds)
            for split, rows in probabilities.items()
        }
        if trained.out_of_fold is not None and not np.isnan(trained.out_of_fold).all():
            judged = inputs.examples().targets
            metrics["cross_validation"] = task.evaluate(
                trained.out_of_fold, judged if trained.judged is None else judged[trained.judged],
                trained.thresholds_out_of_fold, crossed=True,
            )  # fmt: skip
    return Results(metrics, probabilities)


def compare_with_before(
    inputs: Inputs, results: Results, changes: Changes, progress: Progress
) -> dict[str, Any]:
    """What has changed since the run before, and how the new head compares with that one on images
    that neither has trained on, as run.json has it.
    """
    run = changes.run
    told: dict[str, Any] = {"run": str(run.folder), "changes": str(changes), "comparison": None}
    split = next((name for name in ("test", "validation") if name in inputs.features), None)
    if split is None:
        return told
    items, said = inputs.features[split].items, results.probabilities[split]
    with progress.stage("run before"):
        try:
            paired = compare.compare_with_before(changes, items, said, inputs.task.classes)
        except HeadstartError as error:  # it may be damaged: the new one is none the worse
            progress.warn(f"not compared with {run.folder}: {error}")
            return told
    if paired is None:
        return told
    told["comparison"] = asdict(paired)
    progress.say(compare.describe_before(told))
    return told


@dataclass(frozen=True)
class Doubts:
    """When the classifier had better not answer, and what of that is told.

    told: for run.json.
    """

    abstention: Abstention
    told: dict[str, Any]


def learn_abstention(inputs: Inputs, trained: Trained, progress: Progress) -> Doubts:
    """From which probabilities on answers are right, and which images are none of the classes."""
    examples, recipe = inputs.examples(), inputs.recipe
    with progress.stage("abstention"), algebra_for(examples.values.size):
        abstention, left_out = learn(
            examples.values[:, 0], examples.targets, trained.out_of_fold,
            examples.folds(FOLDS, recipe.seed), examples.task.classes, seed=recipe.seed,
            columns=find_deepest(inputs.extractor), frozen=not trained.tuned, judged=trained.judged,
        )  # fmt: skip
    told: dict[str, Any] = {"temperature": trained.temperature}
    if abstention.out_of_fold is not None:
        answers = [abstention.out_of_fold.answer(accuracy) for accuracy in TOLD_ACCURACIES]
        told["answers"] = [
            {
                "accuracy": a.accuracy,
                "share": a.share,
                "interval": a.share_interval,
                "accuracy_interval": a.accuracy_interval,
            }
            for a in answers
        ]
    if left_out:
        told["left_out"] = [
            {"class": row.name, "refused": row.refused, "images": row.images,
             "interval": row.interval} for row in left_out
        ]  # fmt: skip
    for line in describe_doubts(told):
        progress.detail(line)
    return Doubts(abstention, told)


def find_deepest(extractor: Extractor) -> slice | None:
    """Where the features of the deepest of several cuts stand, which tells best what images show:
    beside earlier ones it refused 72% of a class left out, together with five of these 20%.
    """
    if len(extractor.cuts) == 1 or extractor.network is None:
        return None
    costs = count_costs(extractor)
    return extractor.slices[max(costs, key=lambda cut: costs[cut])]
