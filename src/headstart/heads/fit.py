"""From features to a trained head, whichever kind the recipe asks for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.heads import linear, multilabel
from headstart.heads.epochs import Batches, CachedViews
from headstart.heads.folds import assign_folds, combinations
from headstart.heads.head import Head, averaged
from headstart.recipe import Recipe

APART = 5  # one fold of so many tells a neural head when to stop


@dataclass(frozen=True)
class Trained:
    """A trained head. out_of_fold: (N, C) probabilities of the training images by heads that had
    not seen them, where there are such. thresholds: (C,) of a head for several classes an image;
    thresholds_out_of_fold: (N, C), for each training image by others alone.
    history: by epoch, empty for a linear head.
    """

    head: Head
    out_of_fold: np.ndarray | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    kept_epoch: int | None = None
    thresholds: np.ndarray | None = None
    thresholds_out_of_fold: np.ndarray | None = None


def fit_multilabel(
    values: np.ndarray, targets: np.ndarray, recipe: Recipe, groups: np.ndarray | None = None
) -> Trained:
    """A linear head on (N, V, D) features and (N, C) targets of 0 and 1; groups stay together."""
    count, views, dimensions = values.shape
    groups = np.arange(count) if groups is None else groups
    head = multilabel.fit(
        values.reshape(count * views, dimensions), np.repeat(targets, views, axis=0),
        groups=np.repeat(groups, views), balanced=recipe.balanced, folds=recipe.folds,
        seed=recipe.seed,
    )  # fmt: skip
    crossed = head.out_of_fold[::views]
    # The best thresholds of some images flatter these: each is judged by those of the others.
    fold_of = assign_folds(combinations(targets), groups, recipe.folds, recipe.seed + 1)
    by_others = np.stack([
        multilabel.thresholds(crossed[fold_of != fold], targets[fold_of != fold])
        for fold in range(int(fold_of.max()) + 1)
    ])  # fmt: skip
    return Trained(
        head.head(), crossed, thresholds=multilabel.thresholds(crossed, targets),
        thresholds_out_of_fold=by_others[fold_of],
    )  # fmt: skip


def fit_linear(
    values: np.ndarray,
    labels: np.ndarray,
    classes: int,
    recipe: Recipe,
    groups: np.ndarray | None = None,
) -> Trained:
    """A linear head on (N, V, D) features and (N,) class numbers; groups (N,) stay together."""
    count, views, dimensions = values.shape
    groups = np.arange(count) if groups is None else groups
    head = linear.fit(
        values.reshape(count * views, dimensions),
        np.repeat(labels, views),
        classes,
        groups=np.repeat(groups, views),
        class_weight="balanced" if recipe.balanced else None,
        folds=recipe.folds,
        seed=recipe.seed,
    )
    return Trained(head.head(of_folds=recipe.ensemble), head.out_of_fold[::views])


def fit_neural(
    values: np.ndarray,
    labels: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray] | None,
    classes: int,
    recipe: Recipe,
    folder: Path,
    *,
    apart: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    fresh: Batches | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    callbacks: Any = (),
) -> Trained:
    """A neural head on (N, V, D) features, or on views drawn `fresh` every epoch.

    validation: features and labels looked at after each epoch. Where something depends on what is
    seen there (when to stop, when to lower the rate), the images of the (N,) mask `apart` are
    looked at instead, and not trained on: validation images choose nothing. By default these are a
    fifth of the images, whole groups (N,) together.
    """
    from headstart.heads import neural

    views: Batches = fresh or CachedViews(values, recipe.batch_size)
    rows = np.arange(len(labels))
    if watches(recipe):
        if apart is None:
            apart = assign_folds(labels, groups, APART, recipe.seed) == 0
        validation, rows = (values[apart, 0], labels[apart]), np.flatnonzero(~apart)
    head = neural.fit(
        lambda epoch, order: views(epoch, rows[order]), labels[rows], validation, classes,
        values.shape[2], recipe, folder=folder, resume=resume, on_epoch=on_epoch,
        callbacks=callbacks,
    )  # fmt: skip
    return Trained(head.head, None, head.history, head.kept_epoch)


def watches(recipe: Recipe) -> bool:
    """Whether the training depends on images that are looked at meanwhile."""
    return recipe.patience > 0 or recipe.schedule == "plateau"


def fit_ensemble(
    values: np.ndarray,
    labels: np.ndarray,
    classes: int,
    recipe: Recipe,
    folder: Path,
    *,
    groups: np.ndarray | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Trained:
    """Neural heads, each on all folds but one, which tells it when to stop; the mean of their
    logits as one head, with what each says of the fold it has not seen.
    """
    fold_of = assign_folds(labels, groups, recipe.folds, recipe.seed)
    count = int(fold_of.max()) + 1
    heads, out_of_fold = [], np.empty((len(labels), classes), np.float32)
    recipe = recipe.changed(patience=recipe.patience or 5)
    for fold in range(count):
        apart = fold_of == fold
        part = folder / "folds" / str(fold)
        part.mkdir(parents=True, exist_ok=True)
        found = fit_neural(
            values, labels, None, classes, recipe, part,
            apart=apart, resume=resume, on_epoch=on_epoch,
        )  # fmt: skip
        heads.append(found.head)
        out_of_fold[apart] = found.head.probabilities(values[apart, 0])
    return Trained(averaged(heads), out_of_fold)
