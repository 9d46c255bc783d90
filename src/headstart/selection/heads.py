"""Which head serves best, measured: linear or neural, with class weights or without, one or more.

Every candidate is judged on images that took no part in its training nor in any choice within it
(strength, calibration, when to stop): cross-validation around the cross-validation that a head
itself does. The rule: within one standard error of the lowest log loss, the simplest.
Letters: N images, V views, D features, C classes.
"""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headstart.errors import DatasetError
from headstart.heads.examples import Examples, Labels, split_by_fold
from headstart.heads.fit import fit_head
from headstart.heads.head import Head
from headstart.heads.neural import TRAINABLE
from headstart.metrics.comparison import standard_errors
from headstart.metrics.intervals import CROSSED, Interval, interval
from headstart.recipe import Recipe
from headstart.selection.price import Worth, judge_choice
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

    def take(self, rows: np.ndarray) -> "HeadScore":
        """As it would be if these had been the images, some of them perhaps twice."""
        return replace(self, losses=self.losses[rows], right=self.right[rows])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "name": self.name, "accuracy": self.accuracy, "recall": self.recall,
            "interval": list(self.accuracy_interval), "log_loss": self.log_loss,
            "seconds": round(self.seconds, 2), "epochs": self.epochs,
        }  # fmt: skip


@dataclass(frozen=True)
class HeadSelection:
    """The recipe with the head that serves best, what was tried, and what was not and why. worth:
    of what was chosen, with what the choice flatters taken off.
    """

    recipe: Recipe
    chosen: HeadScore
    tried: tuple[HeadScore, ...]
    worth: Worth
    untried: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "chosen": self.chosen.name,
            "accuracy": self.worth.accuracy,
            "interval": list(self.worth.interval),
            "tried": [score.to_dict() for score in self.tried],
            "untried": list(self.untried),
        }


def list_candidates(recipe: Recipe, labels: Labels) -> list[tuple[str, dict[str, Any]]]:
    """Name and changes of the recipe, the simplest first."""
    linear: dict[str, Any] = {"head": "linear", "ensemble": False}
    neural = {**linear, "head": "neural", "epochs": EPOCHS, "patience": PATIENCE}
    kinds = [("linear", linear)]
    counts = labels.task.class_counts(labels.targets)
    if not recipe.balanced and counts.max() > UNEVEN * counts.min():
        kinds.append(("linear, class weights", {**linear, "balanced": True}))
    kinds.append(("linear, mean of folds", {**linear, "ensemble": True}))
    small, large = ["batchnorm", "dense 64 relu", "dropout"], ["batchnorm", "dense 256 relu",
                    "dropout 0.5"]  # fmt: skip
    decay = {"weight_decay": 0.1, "optimizer": "adamw"}
    return [
        *kinds,
        ("neural 64", {**neural, "layers": small, "dropout": 0.2}),
        ("neural 256", {**neural, "layers": large}),
        ("neural 256, weight decay", {**neural, **decay, "layers": large}),
        ("neural 64, mean of folds", {**neural, "layers": small, "ensemble": True}),
    ]


def select_head(
    examples: Examples,
    recipe: Recipe,
    progress: Progress,
    *,
    on_result: Callable[[HeadScore], None] | None = None,
) -> HeadSelection:
    """Try the heads on N training images in one class each.

    The recipe's budget is the time after which nothing new is begun; a plain linear head is always
    tried. Ctrl-C ends the search with the best so far. Raises DatasetError for fewer than three
    groups: each head is fitted without one of them, and makes its own choices by cross-validation
    of the others.
    """
    if examples.group_count < LEAST:
        raise DatasetError(
            f"expected training images of {LEAST} groups or more to compare heads, found "
            f"{examples.group_count}"
        )
    started = time.perf_counter()
    scores: list[HeadScore] = []
    untried: list[str] = []
    fold_of = examples.folds(FOLDS, recipe.seed + 1)
    trains = any(importlib.util.find_spec(name) for name in TRAINABLE)
    plan = list_candidates(recipe, examples)
    with progress.stage("heads", len(plan), "candidates"):
        for number, (name, changes) in enumerate(plan):
            if changes["head"] == "neural" and not trains:
                untried.append(f"{name} (needs pip install 'headstart[tensorflow]')")
                continue
            if scores and time.perf_counter() - started > recipe.budget:
                untried.append(name)
                continue
            try:
                score = score_head(name, changes, examples, recipe, fold_of)
            except KeyboardInterrupt:
                if not scores:
                    raise
                progress.warn("the search is stopped: going on with the best so far")
                untried += [later for later, _ in plan[number:]]
                break
            scores.append(score)
            progress.advance()
            if on_result is not None:
                on_result(score)
    chosen = choose_simplest(scores, examples.targets)
    choices = dict(chosen.changes)
    if chosen.epochs is not None and not choices["ensemble"]:
        # As long as served on average, on all images: none is left to tell when to stop.
        choices |= {"epochs": chosen.epochs, "patience": 0}
    worth = _judge(scores, examples, fold_of)
    return HeadSelection(recipe.changed(**choices), chosen, tuple(scores), worth, tuple(untried))


def _judge(scores: list[HeadScore], examples: Examples, fold_of: np.ndarray) -> Worth:
    """What the simplest of the heads is worth, on the images of which a head can tell."""
    known = examples.learnable(fold_of)
    right_of = {score.name: np.where(known | ~known.any(), score.right, np.nan) for score in scores}

    def right_by_choice(rows: np.ndarray) -> list[np.ndarray]:
        drawn = [score.take(rows) for score in scores]
        return [right_of[choose_simplest(drawn, examples.targets[rows]).name]]

    return judge_choice(right_by_choice, len(examples), examples.groups)


def choose_simplest(scores: list[HeadScore], targets: np.ndarray) -> HeadScore:
    """The first within one standard error of the lowest log loss; with class weights instead, if
    these lift the mean recall of the classes by more than its standard error and cost no accuracy
    that could be told from chance. targets: (N,) class numbers.
    """
    plain = [score for score in scores if not score.changes.get("balanced")]
    best = min(plain, key=lambda score: score.log_loss)
    chosen = next(score for score in plain if score.loses_to(best) <= 1)
    for score in scores:
        if score.changes.get("balanced"):
            gain, error = recall_gain(score.right, chosen.right, targets)
            lost = chosen.right.astype(float) - score.right
            if gain > error and lost.mean() <= lost.std(ddof=1) / len(lost) ** 0.5:
                chosen = score
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


def score_head(
    name: str, changes: dict[str, Any], examples: Examples, recipe: Recipe, fold_of: np.ndarray
) -> HeadScore:
    """How well the recipe with these changes does on the images of each fold (N,), trained on the
    others.
    """
    begun = time.perf_counter()
    changed = recipe.changed(**changes)
    weighed = replace(examples, balanced=changed.balanced)
    targets, task = examples.targets, examples.task
    probabilities = np.empty((len(examples), len(task.classes)))
    epochs: list[int] = []
    for inside, others in split_by_fold(weighed, fold_of):
        head, best = _fit(others, changed)
        probabilities[inside] = head.probabilities(examples.values[inside, 0])
        epochs += best
    right = probabilities.argmax(axis=1) == targets
    losses = task.loss.of_probabilities(np.nan_to_num(probabilities), targets)  # nan: diverged
    learnable = examples.learnable(fold_of)
    told = np.flatnonzero(learnable) if learnable.any() else np.arange(len(targets))
    hits, known = int(right[told].sum()), np.unique(targets[told])
    recall = float(np.mean([right[targets == number].mean() for number in known]))
    return HeadScore(
        name, changes, hits / len(told),
        interval(hits, len(told), worth=CROSSED) or (0.0, 1.0), recall,
        right, losses, time.perf_counter() - begun,
        round(float(np.median(epochs))) if epochs else None,
    )  # fmt: skip


def _fit(examples: Examples, recipe: Recipe) -> tuple[Head, list[int]]:
    """The head of some images, and the epochs at which it was best on some of them."""
    neural = recipe.head == "neural"
    trained = fit_head(examples, recipe.changed(folds=INNER) if neural else recipe)
    return trained.head, [trained.kept_epoch or 1] if neural and not recipe.ensemble else []
