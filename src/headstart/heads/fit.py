"""From examples to a trained head, whichever kind the recipe asks for.

Letters: N images, V views, D features, C classes.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.heads import linear
from headstart.heads.callbacks import choose_by_validation
from headstart.heads.ensemble import average_heads
from headstart.heads.epochs import Batches, CachedViews
from headstart.heads.examples import Examples
from headstart.heads.head import Head
from headstart.recipe import Recipe

APART = 5  # one fold of so many tells a neural head when to stop
WAIT = 5  # epochs without gain after which a head of an ensemble stops
OnEpoch = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Trained:
    """A trained head. out_of_fold: (N, C) probabilities of the training images by heads that had
    not seen them, where there are such; judged: None, or of which images alone these are.
    thresholds: (C,) of a head for several classes an image; thresholds_out_of_fold: (N, C), for
    each training image by others alone.
    history: by epoch, empty for a linear head. strength, trials, temperature: of a linear head,
    what was chosen among what, and what its logits were divided by to calibrate them. tuned:
    whether the network itself has learned from the training images.
    """

    head: Head
    out_of_fold: np.ndarray | None = None
    judged: np.ndarray | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    kept_epoch: int | None = None
    thresholds: np.ndarray | None = None
    thresholds_out_of_fold: np.ndarray | None = None
    strength: float | None = None
    trials: tuple[linear.Trial, ...] = ()
    temperature: float | None = None
    tuned: bool = False


def fit_linear(examples: Examples, recipe: Recipe) -> Trained:
    """A linear head; groups and views stay together. Raises HeadError as `linear.fit` does."""
    fit = linear.fit(examples, folds=recipe.folds, seed=recipe.seed)
    out_of_fold = fit.out_of_fold
    covered = ~np.isnan(out_of_fold[:, 0])
    targets = examples.targets if fit.judged is None else examples.targets[fit.judged]
    thresholds = examples.task.thresholds(out_of_fold[covered], targets[covered])
    return Trained(
        fit.head(of_folds=recipe.ensemble), out_of_fold, fit.judged, thresholds=thresholds,
        thresholds_out_of_fold=None if thresholds is None else _thresholds_by_others(
            examples, out_of_fold, recipe),
        strength=fit.cross_validation.strength, trials=fit.cross_validation.trials,
        temperature=fit.temperature,
    )  # fmt: skip


def _thresholds_by_others(
    examples: Examples, out_of_fold: np.ndarray, recipe: Recipe
) -> np.ndarray:
    """(N, C): the best thresholds of some images flatter these, so each is judged by others'."""
    fold_of = examples.folds(recipe.folds, recipe.seed + 1)
    known = ~np.isnan(out_of_fold[:, 0])
    of_fold = []
    for fold in range(int(fold_of.max()) + 1):
        others = known & (fold_of != fold)
        of_fold.append(examples.task.thresholds(out_of_fold[others], examples.targets[others]))
    return np.stack([limits for limits in of_fold if limits is not None])[fold_of]


def fit_neural(
    examples: Examples,
    recipe: Recipe,
    folder: Path,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    apart: np.ndarray | None = None,
    fresh: Batches | None = None,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
    callbacks: Sequence[Any] = (),
) -> Trained:
    """A neural head on cached views, or on views drawn `fresh` every epoch.

    validation: (M, D) features and (M,) class numbers looked at after each epoch. Where something
    depends on what is seen there (when to stop, when to lower the rate), the images of the (N,)
    mask `apart` are looked at instead, and not trained on: validation images choose nothing. By
    default these are a fifth of the images, whole groups together.
    """
    from headstart.heads import neural

    views: Batches = fresh or CachedViews(examples.values, recipe.batch_size)
    rows = np.arange(len(examples))
    if needs_images_apart(recipe, callbacks):
        if apart is None:
            fold_of = examples.folds(APART, recipe.seed)
            apart = fold_of == 0
            if (apart & examples.learnable(fold_of)).any():  # who is alone is learned
                apart &= examples.learnable(fold_of)
        validation = examples.values[apart, 0], examples.targets[apart]
        rows = np.flatnonzero(~apart)
    fit = neural.fit(
        lambda epoch, order: views(epoch, rows[order]), examples.targets[rows], validation,
        len(examples.task.classes), examples.dimensions, recipe, folder=folder, resume=resume,
        on_epoch=on_epoch, callbacks=callbacks,
    )  # fmt: skip
    return Trained(fit.head, history=fit.history, kept_epoch=fit.kept_epoch)


def needs_images_apart(recipe: Recipe, callbacks: Sequence[Any] = ()) -> bool:
    """Whether the training depends on images that are looked at meanwhile."""
    return recipe.patience > 0 or recipe.schedule == "plateau" or choose_by_validation(callbacks)


def fit_ensemble(
    examples: Examples,
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Neural heads, each on all folds but one, which tells it when to stop; the mean of their
    logits as one head, with what each says of the fold it has not seen.
    """
    fold_of = examples.folds(recipe.folds, recipe.seed)
    heads = []
    out_of_fold = np.empty((len(examples), len(examples.task.classes)), np.float32)
    recipe = recipe.changed(patience=recipe.patience or WAIT)
    for fold in range(int(fold_of.max()) + 1):
        apart = fold_of == fold
        part = folder / "folds" / str(fold)
        part.mkdir(parents=True, exist_ok=True)
        trained = fit_neural(examples, recipe, part, apart=apart, resume=resume, on_epoch=on_epoch)
        heads.append(trained.head)
        out_of_fold[apart] = trained.head.probabilities(examples.values[apart, 0])
    out_of_fold[~examples.learnable(fold_of)] = np.nan
    return Trained(average_heads(heads), out_of_fold)


def fit_head(examples: Examples, recipe: Recipe, on_epoch: OnEpoch | None = None) -> Trained:
    """The recipe's head, of whichever kind; nothing is kept to go on from."""
    if recipe.head == "linear":
        return fit_linear(examples, recipe)
    with tempfile.TemporaryDirectory() as scratch:
        fit = fit_ensemble if recipe.ensemble else fit_neural
        return fit(examples, recipe, Path(scratch), on_epoch=on_epoch)
