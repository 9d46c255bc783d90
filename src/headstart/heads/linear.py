"""The linear head: multinomial logistic regression, its strength chosen by cross-validation.

Only training images take part in the choice: each is predicted by a head that has not seen it
(nor any other view of it), and the strength with the lowest out-of-fold log loss wins.
Letters: N rows, D features, C classes, V views, L strengths.
"""

from dataclasses import dataclass

import numpy as np

from headstart.errors import HeadError
from headstart.heads.calibration import temperature
from headstart.heads.folds import assign_folds, several
from headstart.heads.head import Dense, Head
from headstart.heads.solver import (
    BLOCK,
    Preconditioner,
    Standardised,
    logits,
    rotated,
    solve,
    standardised,
    unrotated,
)

STRENGTHS = tuple(float(10.0**k) for k in np.arange(1, -4.01, -0.5))
CHOOSING, FINAL = 3e-2, 1e-3  # tolerances: a choice needs less than a result
PATIENCE = 2  # strengths without gain before the search ends
WORK = 3e12  # multiplications that choosing may cost; beyond it fewer folds are tried


@dataclass(frozen=True)
class Tried:
    """One strength: its out-of-fold mean log loss and accuracy, with the loss' standard error."""

    strength: float
    log_loss: float
    log_loss_error: float
    accuracy: float


@dataclass(frozen=True)
class LinearFit:
    """weight (D, C) and bias (C,) on features as the extractor gives them.

    out_of_fold: (N, C) probabilities of rows by heads that had not seen them, nan where no fold
    covered the row. temperature: what the logits were divided by to calibrate them.
    of_folds: weight and bias of an ensemble, the mean of the folds' heads.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    tried: tuple[Tried, ...]
    out_of_fold: np.ndarray
    temperature: float
    iterations: int
    of_folds: tuple[np.ndarray, np.ndarray]

    def head(self, *, of_folds: bool = False) -> Head:
        """The head as plain arrays, with its softmax; or the mean of the folds' heads."""
        weight, bias = self.of_folds if of_folds else (self.weight, self.bias)
        return Head((Dense(weight, bias, "softmax"),))


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    groups: np.ndarray | None = None,
    class_weight: str | np.ndarray | None = None,
    folds: int = 5,
    seed: int = 0,
    strengths: tuple[float, ...] = STRENGTHS,
) -> LinearFit:
    """Train on (N, D) float32 features and (N,) labels 0..C-1.

    groups: (N,) int; rows of one group (views of an image) are never on both sides of a fold.
    class_weight: "balanced", (C,) weights, or None. Deterministic for a seed.
    Raises HeadError for features that are not finite or labels that do not fit.
    """
    problem = _problem(features, labels, classes, groups, class_weight, folds, seed, strengths)
    data, weight, columns, grid, preconditioner, fold_of = problem
    tried, best, crossed, start = _choose(
        data, labels, weight, fold_of, grid, columns, preconditioner
    )
    final, iterations = solve(
        data, labels, (weight / weight.sum())[None], grid[[best]], columns, preconditioner,
        start=start, tolerance=FINAL, most=300,
    )  # fmt: skip
    covered = ~np.isnan(crossed[:, 0])
    heat = temperature(crossed[covered], labels[covered])
    crossed = crossed / np.float32(heat)
    w, b = _plain(data, final[0])
    folds_w, folds_b = _plain(data, start[0])
    return LinearFit(
        weight=w / np.float32(heat),
        bias=b / np.float32(heat),
        of_folds=(folds_w / np.float32(heat), folds_b / np.float32(heat)),
        strength=float(grid[best]),
        tried=tuple(tried),
        out_of_fold=_softmax(crossed),
        temperature=heat,
        iterations=int(iterations[0]),
    )


@dataclass(frozen=True)
class Crossed:
    """How heads do on rows that they have not seen, at the best of the strengths tried.

    out_of_fold: (N, C) calibrated probabilities, nan where no fold covered the row.
    """

    strength: float
    tried: tuple[Tried, ...]
    out_of_fold: np.ndarray


def cross_validate(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    groups: np.ndarray | None = None,
    class_weight: str | np.ndarray | None = None,
    folds: int = 5,
    seed: int = 0,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Crossed:
    """What `fit` would choose and how well it does, without the final head; arguments as there."""
    problem = _problem(
        features, labels, classes, groups, class_weight, folds, seed, strengths, weights=False
    )
    data, weight, columns, grid, preconditioner, fold_of = problem
    tried, best, crossed, _ = _choose(data, labels, weight, fold_of, grid, columns, preconditioner)
    covered = ~np.isnan(crossed[:, 0])
    heat = np.float32(temperature(crossed[covered], labels[covered]))
    return Crossed(float(grid[best]), tuple(tried), _softmax(crossed / heat))


def _problem(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    groups: np.ndarray | None,
    class_weight: str | np.ndarray | None,
    folds: int,
    seed: int,
    strengths: tuple[float, ...],
    *,
    weights: bool = True,
) -> tuple[Standardised, np.ndarray, int, np.ndarray, Preconditioner, np.ndarray]:
    """What choosing needs: standardised data, row weights, columns, strengths from strong to
    weak, preconditioner, fold numbers. weights: whether they are asked for, or only predictions.
    """
    _check(features, labels, classes)
    data = rotated(standardised(features), weights=weights)
    weight = _row_weights(labels, classes, class_weight)
    fold_of = several(assign_folds(labels, groups, folds, seed))
    columns = 1 if classes == 2 else classes
    grid = np.array(sorted(strengths, reverse=True))
    return data, weight, columns, grid, Preconditioner(data), fold_of


def _check(features: np.ndarray, labels: np.ndarray, classes: int) -> None:
    if features.ndim != 2 or len(features) != len(labels):
        raise HeadError(
            f"expected (N, D) features and (N,) labels, found {features.shape} and {labels.shape}"
        )
    if len(labels) < 2 or classes < 2:
        raise HeadError(f"expected two images of two classes at least, found {len(labels)}")
    if labels.min() < 0 or labels.max() >= classes:
        raise HeadError(f"expected labels 0..{classes - 1}, found {labels.min()}..{labels.max()}")
    bad = 0
    for start in range(0, len(features), BLOCK):
        bad += int((~np.isfinite(features[start : start + BLOCK])).any(axis=1).sum())
    if bad:
        raise HeadError(
            f"expected finite features, found nan or infinity in {bad} of {len(features)} images. "
            "Type: --precision f32"
        )


def _row_weights(
    labels: np.ndarray, classes: int, class_weight: str | np.ndarray | None
) -> np.ndarray:
    if class_weight is None:
        return np.ones(len(labels))
    if isinstance(class_weight, str):
        counts = np.bincount(labels, minlength=classes)
        class_weight = len(labels) / (classes * np.maximum(counts, 1))
    return np.asarray(class_weight, np.float64)[labels]


def _affordable(shape: tuple[int, ...], columns: int, strengths: int, folds: int) -> int:
    """How many of the folds are tried."""
    cost = 20 * 4.0 * shape[0] * shape[1] * columns * strengths
    return int(np.clip(WORK // max(cost, 1), 1, folds))


def _choose(
    data: Standardised,
    labels: np.ndarray,
    weight: np.ndarray,
    fold_of: np.ndarray,
    grid: np.ndarray,
    columns: int,
    preconditioner: Preconditioner,
) -> tuple[list[Tried], int, np.ndarray, np.ndarray]:
    """What was tried, the best strength's index, its (N, C) out-of-fold logits, and the mean of
    its folds' weights (1, D + 1, K), near which the final head lies.
    """
    used = _affordable(data.features.shape, columns, len(grid), int(fold_of.max()) + 1)
    masks = np.stack([weight * (fold_of != fold) for fold in range(used)])
    masks /= masks.sum(axis=1, keepdims=True)
    covered = fold_of < used
    tried: list[Tried] = []
    best, best_scores = 0, np.empty(0)
    weights, start = None, np.empty(0)
    for index, strength in enumerate(grid):
        strengths = np.full(used, strength)
        weights, _ = solve(
            data, labels, masks, strengths, columns, preconditioner,
            start=weights, tolerance=CHOOSING,
        )  # fmt: skip
        scores = out_of_fold(data, fold_of, weights, used)
        tried.append(_tried(strength, scores[covered], labels[covered], weight[covered]))
        if tried[-1].log_loss <= tried[best].log_loss:
            best, best_scores = index, scores
            start = weights.mean(axis=0, keepdims=True)
        elif index >= best + PATIENCE:
            break  # weaker ones only get worse from here
    return tried, best, best_scores, start


def out_of_fold(
    data: Standardised, fold_of: np.ndarray, weights: np.ndarray, used: int
) -> np.ndarray:
    """(N, C) logits of each row by the head of its own fold."""
    columns = weights.shape[2]
    scores = np.full((len(fold_of), columns), np.nan, np.float32)
    for start in range(0, len(fold_of), BLOCK):
        rows = slice(start, min(start + BLOCK, len(fold_of)))
        fold = fold_of[rows]
        inside = np.flatnonzero(fold < used)
        scores[start + inside] = logits(data, weights, rows)[inside, fold[inside]]
    return np.concatenate([-scores / 2, scores / 2], axis=1) if columns == 1 else scores


def _tried(strength: float, scores: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> Tried:
    z = scores - scores.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(labels)), labels]
    mean = float(np.average(losses, weights=weight))
    error = float(np.sqrt(np.average((losses - mean) ** 2, weights=weight) / len(labels)))
    right = scores.argmax(axis=1) == labels
    return Tried(float(strength), mean, error, float(np.average(right, weights=weight)))


def _plain(data: Standardised, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(D, C) and (C,) on features that are not standardised."""
    data, weights = unrotated(data, weights)
    scaled = weights[:-1].astype(np.float64) * data.inverse_scale[:, None]
    bias = weights[-1] - data.mean.astype(np.float64) @ scaled
    if scaled.shape[1] == 1:
        scaled = np.concatenate([-scaled / 2, scaled / 2], axis=1)
        bias = np.concatenate([-bias / 2, bias / 2])
    return scaled.astype(np.float32), bias.astype(np.float32)


def _softmax(z: np.ndarray) -> np.ndarray:
    exponents = np.exp(z - z.max(axis=1, keepdims=True))
    result: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
    return result
