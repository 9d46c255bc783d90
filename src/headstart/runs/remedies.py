"""What helps against overfitting: each remedy tried on cached features, by cross-validation.

Only the training images of the run take part: each is predicted by heads that have not seen it.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headstart.data.dataset import Dataset, load
from headstart.errors import ClassifierError, DatasetError
from headstart.features.extract import extract_features
from headstart.features.extractor import open_extractor
from headstart.heads.examples import split_by_fold
from headstart.heads.fit import fit_linear, fit_neural
from headstart.images.augment import NONE
from headstart.metrics.classification import Metrics, evaluate
from headstart.metrics.comparison import Comparison, compare
from headstart.recipe import Recipe
from headstart.runs.folder import Run, as_run
from headstart.runs.steps import label
from headstart.system.progress import Progress, Silent

FOLDS = 3
LARGE = 10_000  # features from which one fold must do: such heads take minutes, not seconds


@dataclass(frozen=True)
class Remedy:
    """One change of the recipe: what cross-validation says of it, and against no change.

    comparison: of this remedy with the recipe as it was, on the same images.
    """

    name: str
    recipe: Recipe
    metrics: Metrics
    seconds: float
    comparison: Comparison | None = None


def list_candidates(base: Recipe) -> list[tuple[str, dict[str, Any]]]:
    """The changes worth trying, the quick ones first. A linear head has neither dropout nor epochs:
    for it there are views, and a small neural head in its place.
    """
    if base.head == "linear":
        small = {"head": "neural", "layers": ["dense 64 relu", "dropout"], "dropout": 0.5}
        changes: list[tuple[str, dict[str, Any]]] = [
            ("flipped views", {"views": 2, "augmentation": "flip"}),
            ("augmentation, 3 views", {"views": 3, "augmentation": "lesson"}),
            ("no augmentation", {"views": 1, "augmentation": "none"}),
            ("small neural head", {**small, "epochs": 60, "patience": 5}),
        ]
        return [(name, change) for name, change in changes if base.changed(**change) != base]
    lesson = base.augmentation if base.augmentation != NONE else "lesson"
    plain = {"views": 1, "augmentation": "none"}
    viewed = {"views": 3, "augmentation": lesson}
    pooled = {"pooling": "avg"}
    decay = 1e-4 / base.learning_rate  # what a step takes off each weight is their product
    changes = [
        ("linear head, pooled", {**plain, **pooled, "head": "linear"}),
        ("pooling instead of flatten", {**viewed, **pooled}),
        ("pooling, no augmentation", {**plain, **pooled}),
        ("pooling, no dropout", {**viewed, **pooled, "dropout": 0.0}),
        ("pooling, dropout 0.5", {**viewed, **pooled, "dropout": 0.5}),
        ("pooling, smaller head", {**viewed, **pooled, "layers": ["dense 64 relu", "dropout"]}),
        ("pooling, weight decay", {**viewed, **pooled, "weight_decay": decay}),
        ("pooling, early stopping", {**viewed, **pooled, "patience": 3}),
        ("no augmentation, no dropout", {**plain, "dropout": 0.0}),
        ("augmentation, no dropout", {**viewed, "dropout": 0.0}),
        ("augmentation and dropout", {**viewed, "dropout": base.dropout or 0.2}),
    ]
    if base.pooling != "flatten":
        changes = [(n.replace("pooling, ", ""), c) for n, c in changes[:1] + changes[2:8]]
    return changes


class Remedies(NamedTuple):
    """The remedies tried, the recipe as it was first, and the names of those not tried."""

    tried: list[Remedy]
    untried: list[str]

    @property
    def best(self) -> Remedy:
        """The one with the highest accuracy; among equals within chance, the quickest."""
        return best_of(self.tried)


def remedies(
    run: "Run | str | os.PathLike[str]",
    *,
    budget: float = 600.0,
    progress: Progress | None = None,
    on_result: Callable[[Remedy], None] | None = None,
) -> Remedies:
    """What helps against overfitting, tried by cross-validation inside the run's training images.

    run: or its folder; its images must still be where they were. budget: seconds after which no
    further remedy is begun.
    """
    run = as_run(run)
    progress = progress or Silent()
    started = time.perf_counter()
    base = run.recipe
    if base.fresh:  # a few cached views stand for endless ones
        base = base.changed(views=3)
    dataset = load(run.record["source"], validation_fraction=base.validation_fraction,
                   seed=base.seed, groups=base.groups)  # fmt: skip
    if dataset.task.multilabel:
        raise DatasetError("expected one class an image to compare remedies, found several")
    if (run.record.get("tuning") or {}).get("kept"):
        raise ClassifierError(
            f"expected a run whose backbone is frozen, found {run.folder}, which was fine-tuned: "
            "its layers have seen all training images, and cross-validation would flatter them"
        )
    probabilities: np.ndarray | None = None
    tried: list[Remedy] = []
    missed: list[str] = []
    for name, changes in [("as it was", {}), *list_candidates(base)]:
        if tried and time.perf_counter() - started > budget:
            missed.append(name)
            continue
        begun = time.perf_counter()
        recipe = base.changed(**changes)
        out_of_fold, labels = _cross_validate(dataset, recipe, progress)
        metrics = evaluate(out_of_fold, labels, dataset.classes)
        if not metrics.n:
            raise DatasetError(
                "expected training images of two groups or more in a class, to cross-validate, "
                f"found too few in {run.record['source']}. Add images"
            )
        comparison = None
        if probabilities is None:
            probabilities = out_of_fold
        else:
            both = ~np.isnan(out_of_fold[:, 0]) & ~np.isnan(probabilities[:, 0])
            comparison = compare(out_of_fold[both], probabilities[both], labels[both])
        tried.append(Remedy(name, recipe, metrics, time.perf_counter() - begun, comparison))
        if on_result is not None:
            on_result(tried[-1])
    return Remedies(tried, missed)


def best_of(tried: list[Remedy]) -> Remedy:
    """The remedy with the highest accuracy; among equals within chance, the quickest."""
    top = max(tried, key=lambda remedy: remedy.metrics.accuracy or 0)
    low = (top.metrics.accuracy_interval or (0, 0))[0]
    good = [r for r in tried if (r.metrics.accuracy or 0) >= max(low, (top.metrics.accuracy or 0)
            - 0.005)]  # fmt: skip
    return min(good, key=lambda remedy: remedy.seconds)


def _cross_validate(
    dataset: Dataset, recipe: Recipe, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) out-of-fold probabilities of the training images, nan where none was made, and their
    (N,) class numbers.
    """
    items = dataset.split("train")
    with progress.stage("features", len(items) * recipe.cached_views, "images"):
        features = extract_features(items, open_extractor(recipe), recipe, progress)
    examples = label(features.items, dataset.task, recipe).with_features(features.values)
    if recipe.head == "linear":
        out_of_fold = fit_linear(examples, recipe).out_of_fold
        assert out_of_fold is not None
        return out_of_fold, examples.targets
    large = examples.dimensions > LARGE
    fold_of = examples.folds(5 if large else FOLDS, recipe.seed)
    probabilities = np.full((len(examples), len(dataset.classes)), np.nan, np.float32)
    for inside, others in list(split_by_fold(examples, fold_of))[: 1 if large else FOLDS]:
        with tempfile.TemporaryDirectory() as scratch:
            head = fit_neural(others, recipe, Path(scratch)).head
        probabilities[inside] = head.probabilities(examples.values[inside, 0])
    probabilities[~examples.learnable(fold_of)] = np.nan
    return probabilities, examples.targets
