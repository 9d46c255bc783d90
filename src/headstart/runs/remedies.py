"""What helps against overfitting: each remedy tried on cached features, by cross-validation.

Only the training images of the run take part: each is predicted by heads that have not seen it.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from headstart.data.dataset import Dataset, load
from headstart.errors import ClassifierError, DatasetError
from headstart.features.extract import extract_features
from headstart.features.extractor import open_extractor
from headstart.heads.examples import Labels, split_by_fold
from headstart.heads.fit import fit_head, fit_linear
from headstart.images.augment import NONE
from headstart.metrics.classification import Metrics, evaluate
from headstart.metrics.comparison import Comparison, adjust, compare
from headstart.metrics.intervals import interval
from headstart.recipe import Recipe
from headstart.runs.changes import check_same, check_there
from headstart.runs.folder import Run, as_run
from headstart.runs.steps import label, list_parts
from headstart.selection.price import Worth, judge_choice
from headstart.system.progress import Progress, choose_progress

FOLDS = 3
LARGE = 10_000  # features from which one fold must do: such heads take minutes, not seconds


@dataclass(frozen=True)
class Remedy:
    """One change of the recipe: what cross-validation says of it, and against no change.

    right: (N,) whether each training image was, nan where it was not predicted. groups: (N,), of
    which none is on both sides of a fold, or None. comparison: of this remedy with the recipe as it
    was, on the same images, as if it were the only one.
    """

    name: str
    recipe: Recipe
    metrics: Metrics
    seconds: float
    right: np.ndarray = field(repr=False)
    groups: np.ndarray | None = field(default=None, repr=False)
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
    def seconds(self) -> float:
        """What trying all of them takes, about: those that were not as long as those that were."""
        spent = self._seconds()
        return sum(spent) + len(self.untried) * sum(spent) / len(spent)

    @property
    def best(self) -> Remedy:
        """The one with the highest accuracy; among equals within chance, the quickest."""
        return self.tried[_best_of(self._right(), self._seconds())]

    @property
    def worth(self) -> Worth:
        """What the best is worth, with what the choice among so many flatters taken off."""
        right, seconds = self._right(), self._seconds()
        return judge_choice(
            lambda rows: [right[_best_of(right[:, rows], seconds)]],
            right.shape[1],
            self.tried[0].groups,
            right[0],
        )

    @property
    def verdicts(self) -> dict[str, str]:
        """By remedy, whether it is better than the recipe as it was; that so many were tried is
        taken into account.
        """
        compared = [(remedy.name, remedy.comparison) for remedy in self.tried if remedy.comparison]
        p_values = adjust([comparison.p_value for _, comparison in compared])
        return {
            name: "the data cannot tell" if p_value >= 0.05
            else "this is better" if comparison.difference > 0 else "as it was is better"
            for (name, comparison), p_value in zip(compared, p_values, strict=True)
        }  # fmt: skip

    def _right(self) -> np.ndarray:
        """(M, N) of M remedies."""
        return np.stack([remedy.right for remedy in self.tried])

    def _seconds(self) -> list[float]:
        return [remedy.seconds for remedy in self.tried]


def remedies(
    run: "Run | str | os.PathLike[str]",
    *,
    budget: float = 600.0,
    progress: Progress | bool | None = None,
    on_result: Callable[[Remedy], None] | None = None,
    changed_data: bool = False,
) -> Remedies:
    """What helps against overfitting, tried by cross-validation inside the run's training images.

    run: or its folder; its images must still be where they were. budget: seconds after which no
    further remedy is begun; the first of them, the quickest, is tried always. changed_data: go on
    where the images are others than the run was trained on; without it that is a DatasetError,
    which says what has changed.

    >>> found = headstart.remedies("runs/photos-1", budget=0)
    >>> [remedy.name for remedy in found.tried]  # there was time for one
    ['as it was', 'flipped views']
    """
    run = as_run(run)
    progress = choose_progress(progress)
    started = time.perf_counter()
    base = run.recipe
    if base.fresh:  # a few cached views stand for endless ones
        base = base.changed(views=3)
    check_there(run)
    dataset = load(run.source, validation_fraction=base.validation_fraction,
                   seed=base.seed, groups=base.groups, progress=progress)  # fmt: skip
    if since := check_same(run, dataset, base, changed=changed_data):
        progress.warn(f"since {run.folder}: {since}")
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
        if len(tried) > 1 and time.perf_counter() - started > budget:
            missed.append(name)
            continue
        begun = time.perf_counter()
        recipe = base.changed(**changes)
        out_of_fold, labels = _cross_validate(dataset, recipe, progress)
        targets = labels.targets
        metrics = evaluate(out_of_fold, targets, dataset.classes, crossed=True)
        if not metrics.n:
            raise DatasetError(
                "expected training images of two groups or more in a class, to cross-validate, "
                f"found too few in {run.record['source']}. Add images"
            )
        known = ~np.isnan(out_of_fold[:, 0])
        comparison = None
        if probabilities is None:
            probabilities = out_of_fold
        else:
            both = known & ~np.isnan(probabilities[:, 0])
            comparison = compare(out_of_fold[both], probabilities[both], targets[both])
        right = np.where(known, out_of_fold.argmax(axis=1) == targets, np.nan)
        seconds = time.perf_counter() - begun
        named = recipe if tried else run.recipe  # as it was, with views drawn anew if it has such
        tried.append(Remedy(name, named, metrics, seconds, right, labels.groups, comparison))
        if on_result is not None:
            on_result(tried[-1])
    return Remedies(tried, missed)


def _best_of(right: np.ndarray, seconds: Sequence[float]) -> int:
    """Which of M remedies has the highest accuracy by (M, N) right, nan where it did not predict;
    among equals within chance, the quickest.
    """
    n = (~np.isnan(right)).sum(axis=1)
    hits = np.nansum(right, axis=1)
    accuracy = hits / np.maximum(n, 1)
    top = int(accuracy.argmax())
    low, _ = interval(int(hits[top]), int(n[top])) or (0.0, 1.0)
    good = np.flatnonzero(accuracy >= max(low, accuracy[top] - 0.005))
    return min(map(int, good), key=lambda number: seconds[number])


def _cross_validate(
    dataset: Dataset, recipe: Recipe, progress: Progress
) -> tuple[np.ndarray, Labels]:
    """(N, C) out-of-fold probabilities of the training images, nan where none was made, and what
    they are.
    """
    items = dataset.split("train")
    with progress.stage("features", len(items) * recipe.cached_views, "images"):
        extractor = open_extractor(recipe)
        features = extract_features(items, extractor, recipe, progress)
    parts = list_parts(recipe, extractor)
    examples = label(features.items, dataset.task, recipe).with_features(features.values, parts)
    if recipe.head == "linear":
        with progress.stage("head"):
            out_of_fold = fit_linear(examples, recipe).out_of_fold
        assert out_of_fold is not None
        return out_of_fold, examples
    large = examples.dimensions > LARGE
    fold_of = examples.folds(5 if large else FOLDS, recipe.seed)
    probabilities = np.full((len(examples), len(dataset.classes)), np.nan, np.float32)
    folds = list(split_by_fold(examples, fold_of))[: 1 if large else FOLDS]
    with progress.stage("head", len(folds) * recipe.epochs, "epochs"):
        for inside, others in folds:
            head = fit_head(others, recipe, lambda _: progress.advance()).head
            probabilities[inside] = head.probabilities(examples.values[inside, 0])
    probabilities[~examples.learnable(fold_of)] = np.nan
    return probabilities, examples
