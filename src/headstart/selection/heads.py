"""Which head serves best, measured: linear or neural, with class weights or without, one or more.

Every candidate is judged on images that took no part in its training nor in any choice within it
(strength, calibration, when to stop): cross-validation around the cross-validation that a head
itself does. The rule: within one standard error of the lowest log loss, the simplest.
Letters: N images, V views, D features, C classes.
"""

import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import DatasetError
from headstart.heads.fit import fit_ensemble, fit_linear, fit_neural
from headstart.heads.folds import assign_folds
from headstart.heads.neural import TRAINABLE
from headstart.metrics.comparison import standard_errors
from headstart.metrics.intervals import Interval, interval
from headstart.recipe import Recipe
from headstart.system.progress import Progress

FOLDS = 5  # around the folds that a head itself makes
INNER = 3  # of the latter for neural heads, which take seconds each
EPOCHS, PATIENCE = 60, 5  # of neural heads: at most, and without gain
LEAST = 3  # groups: one to judge, two to choose within
UNEVEN = 1.5  # times as many images of the largest class as of the smallest


@dataclass(frozen=True)
class HeadScore:
    """A candidate: accuracy, mean recall of the classes and (N,) losses on unseen images.

    changes: of the recipe. right (N,): whether each image was. seconds: that judging it took.
    epochs: after which it did best, in the middle of the folds.
    """

    name: str
    changes: dict[str, Any]
    accuracy: float
    accuracy_interval: Interval
    recall: float
    right: np.ndarray = field(repr=False)
    losses: np.ndarray = field(repr=False)
    seconds: float = 0.0
    epochs: int | None = None

    @property
    def log_loss(self) -> float:
        """Mean over the images."""
        return float(self.losses.mean())

    def loses_to(self, other: "HeadScore") -> float:
        """By how many standard errors the other's log loss is lower, image by image."""
        return standard_errors(self.losses, other.losses)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "name": self.name, "accuracy": self.accuracy, "recall": self.recall,
            "interval": list(self.accuracy_interval), "log_loss": self.log_loss,
            "seconds": round(self.seconds, 2), "epochs": self.epochs,
        }  # fmt: skip


@dataclass(frozen=True)
class HeadSelection:
    """The recipe with the head that serves best, what was tried, and what was not and why."""

    recipe: Recipe
    chosen: HeadScore
    tried: tuple[HeadScore, ...]
    untried: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "chosen": self.chosen.name,
            "tried": [scored.to_dict() for scored in self.tried],
            "untried": list(self.untried),
        }


def candidates(recipe: Recipe, labels: np.ndarray) -> list[tuple[str, dict[str, Any]]]:
    """Name and changes of the recipe, the simplest first."""
    linear: dict[str, Any] = {"head": "linear", "ensemble": False}
    neural = {**linear, "head": "neural", "epochs": EPOCHS, "patience": PATIENCE}
    found = [("linear", linear)]
    counts = np.bincount(labels)
    if not recipe.balanced and counts.max() > UNEVEN * counts.min():
        found.append(("linear, class weights", {**linear, "balanced": True}))
    found.append(("linear, mean of folds", {**linear, "ensemble": True}))
    small, large = ["batchnorm", "dense 64 relu", "dropout"], ["batchnorm", "dense 256 relu",
                    "dropout 0.5"]  # fmt: skip
    decay = {"weight_decay": 0.1, "optimizer": "adamw"}
    return [
        *found,
        ("neural 64", {**neural, "layers": small, "dropout": 0.2}),
        ("neural 256", {**neural, "layers": large}),
        ("neural 256, weight decay", {**neural, **decay, "layers": large}),
        ("neural 64, mean of folds", {**neural, "layers": small, "ensemble": True}),
    ]


def select_head(
    values: np.ndarray,
    labels: np.ndarray,
    classes: int,
    recipe: Recipe,
    progress: Progress,
    *,
    groups: np.ndarray | None = None,
    on_result: Callable[[HeadScore], None] | None = None,
) -> HeadSelection:
    """Try the heads on (N, V, D) features of training images with (N,) class numbers.

    groups (N,): never on both sides of a fold. The recipe's budget is the time after which nothing
    new is begun; a plain linear head is always tried. Ctrl-C ends the search with the best so far.
    Raises DatasetError for fewer than three groups: each head is fitted without one of them, and
    makes its own choices by cross-validation of the others.
    """
    if groups is not None and len(np.unique(groups)) < LEAST:
        raise DatasetError(
            f"expected training images of {LEAST} groups or more to compare heads, found "
            f"{len(np.unique(groups))}"
        )
    started = time.perf_counter()
    tried: list[HeadScore] = []
    untried: list[str] = []
    fold_of = assign_folds(labels, groups, FOLDS, recipe.seed + 1)
    trains = any(importlib.util.find_spec(name) for name in TRAINABLE)
    plan = candidates(recipe, labels)
    with progress.stage("heads", len(plan), "candidates"):
        for number, (name, changes) in enumerate(plan):
            if changes["head"] == "neural" and not trains:
                untried.append(f"{name} (needs pip install 'headstart[tensorflow]')")
                continue
            if tried and time.perf_counter() - started > recipe.budget:
                untried.append(name)
                continue
            try:
                scored = _scored(
                    name, changes, values, labels, classes, recipe.changed(**changes), fold_of,
                    groups,
                )  # fmt: skip
            except KeyboardInterrupt:
                if not tried:
                    raise
                progress.warn("the search is stopped: going on with the best so far")
                untried += [later for later, _ in plan[number:]]
                break
            tried.append(scored)
            progress.advance()
            if on_result is not None:
                on_result(scored)
    chosen = simplest(tried, labels)
    fixed = dict(chosen.changes)
    if chosen.epochs is not None and not fixed["ensemble"]:
        # As long as served on average, on all images: none is left to tell when to stop.
        fixed |= {"epochs": chosen.epochs, "patience": 0}
    return HeadSelection(recipe.changed(**fixed), chosen, tuple(tried), tuple(untried))


def simplest(tried: list[HeadScore], labels: np.ndarray) -> HeadScore:
    """The first within one standard error of the lowest log loss; with class weights instead, if
    these lift the mean recall of the classes by more than its standard error and cost no accuracy
    that could be told from chance.
    """
    plain = [scored for scored in tried if not scored.changes.get("balanced")]
    best = min(plain, key=lambda scored: scored.log_loss)
    chosen = next(scored for scored in plain if scored.loses_to(best) <= 1)
    for scored in tried:
        if scored.changes.get("balanced"):
            gain, error = recall_gain(scored.right, chosen.right, labels)
            lost = chosen.right.astype(float) - scored.right
            if gain > error and lost.mean() <= lost.std(ddof=1) / len(lost) ** 0.5:
                chosen = scored
    return chosen


def recall_gain(one: np.ndarray, other: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """By how much the mean recall of the classes is higher, and its standard error, of (N,)
    whether images were right.
    """
    difference = one.astype(float) - other
    parts = [difference[labels == label] for label in np.unique(labels)]
    variances = [part.var(ddof=1) / len(part) if len(part) > 1 else 0.25 for part in parts]
    return float(np.mean([part.mean() for part in parts])), float(
        np.sum(variances) ** 0.5 / len(parts)
    )


def _scored(
    name: str,
    changes: dict[str, Any],
    values: np.ndarray,
    labels: np.ndarray,
    classes: int,
    recipe: Recipe,
    fold_of: np.ndarray,
    groups: np.ndarray | None,
) -> HeadScore:
    begun = time.perf_counter()
    probabilities = np.empty((len(labels), classes))
    epochs: list[int] = []
    for fold in range(int(fold_of.max()) + 1):
        inside, outside = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        kin = None if groups is None else groups[outside]
        head, best = _fitted(values[outside], labels[outside], classes, recipe, kin)
        probabilities[inside] = head.probabilities(values[inside, 0])
        epochs += best
    right = probabilities.argmax(axis=1) == labels
    own = np.clip(np.nan_to_num(probabilities[np.arange(len(labels)), labels]), 1e-7, 1)
    hits = int(right.sum())
    recall = float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
    return HeadScore(
        name, changes, hits / len(labels), interval(hits, len(labels)) or (0.0, 1.0), recall,
        right, -np.log(own), time.perf_counter() - begun,
        round(float(np.median(epochs))) if epochs else None,
    )  # fmt: skip


def _fitted(
    values: np.ndarray, labels: np.ndarray, classes: int, recipe: Recipe, groups: np.ndarray | None
) -> tuple[Any, list[int]]:
    """The head of some images, and the epochs at which it was best on some of them."""
    if recipe.head == "linear":
        return fit_linear(values, labels, classes, recipe, groups).head, []
    with tempfile.TemporaryDirectory() as scratch:
        if recipe.ensemble:
            inner = recipe.changed(folds=INNER)
            return fit_ensemble(
                values, labels, classes, inner, Path(scratch), groups=groups
            ).head, []
        found = fit_neural(values, labels, None, classes, recipe, Path(scratch), groups=groups)
    return found.head, [found.kept_epoch or 1]
