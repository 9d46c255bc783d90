"""The linear head for images in several classes: one logistic regression a class, all at once.

Letters: N rows, D features, C classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from headstart.heads.calibration import multilabel_temperature
from headstart.heads.folds import assign_folds, combinations, several
from headstart.heads.head import Dense, Head
from headstart.heads.linear import CHOOSING, FINAL, PATIENCE, STRENGTHS, out_of_fold
from headstart.heads.solver import (
    Preconditioner,
    Standardised,
    rotated,
    solve,
    standardised,
    unrotated,
)
from headstart.metrics.losses import sigmoid_log_loss

FEW = 10  # images of a class below which its threshold stays at one half


@dataclass(frozen=True)
class MultilabelFit:
    """weight (D, C), bias (C,). out_of_fold: (N, C) probabilities of rows by heads that had not
    seen them.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    out_of_fold: np.ndarray

    def head(self) -> Head:
        """The head as plain arrays, a sigmoid for each class."""
        return Head((Dense(self.weight, self.bias, "sigmoid"),))


def fit(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    balanced: bool = False,
    folds: int = 5,
    seed: int = 0,
) -> MultilabelFit:
    """Train on (N, D) float32 features and (N, C) targets of 0 and 1.

    The strength with the lowest out-of-fold log loss wins; the logits are then calibrated.
    balanced: rows of rare classes weigh more. groups (N,): never on both sides of a fold.
    Raises HeadError for rows of one group only.
    """
    data, preconditioner, fold_of, shares = _problem(
        features, targets, groups, balanced, folds, seed
    )
    chosen, crossed, start = _choose(data, preconditioner, targets, fold_of, shares, STRENGTHS)
    classes = targets.shape[1]
    heat = np.float32(multilabel_temperature(crossed, targets))
    final, _ = solve(
        data, targets, (shares / shares.sum())[None], np.array([chosen]), classes,
        preconditioner, start=start, tolerance=FINAL, most=300,
    )  # fmt: skip
    origin, plain = unrotated(data, final[0])
    scaled = plain[:-1].astype(np.float64) * origin.inverse_scale[:, None]
    bias = plain[-1] - origin.mean.astype(np.float64) @ scaled
    return MultilabelFit(
        (scaled / heat).astype(np.float32),
        (bias / heat).astype(np.float32),
        chosen,
        _sigmoid(crossed / heat),
    )


def cross_validate(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    balanced: bool = False,
    folds: int = 5,
    seed: int = 0,
    strengths: tuple[float, ...] = STRENGTHS,
) -> tuple[float, np.ndarray]:
    """The strength that `fit` would choose and its calibrated out-of-fold probabilities (N, C)."""
    data, preconditioner, fold_of, shares = _problem(
        features, targets, groups, balanced, folds, seed, weights=False
    )
    chosen, crossed, _ = _choose(data, preconditioner, targets, fold_of, shares, strengths)
    return chosen, _sigmoid(crossed / np.float32(multilabel_temperature(crossed, targets)))


def _problem(
    features: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray | None,
    balanced: bool,
    folds: int,
    seed: int,
    *,
    weights: bool = True,
) -> tuple[Standardised, Preconditioner, np.ndarray, np.ndarray]:
    """Data, preconditioner, (N,) fold numbers and (N,) row weights."""
    fold_of = several(assign_folds(combinations(targets), groups, folds, seed))
    shares = np.ones(len(targets))
    if balanced:
        rarity = len(targets) / np.maximum(targets.sum(axis=0), 1)
        shares = np.maximum((targets * rarity).max(axis=1), 1.0)
    data = rotated(standardised(features), weights=weights)
    return data, Preconditioner(data), fold_of, shares


def _choose(
    data: Standardised,
    preconditioner: Preconditioner,
    targets: np.ndarray,
    fold_of: np.ndarray,
    shares: np.ndarray,
    strengths: Iterable[float],
) -> tuple[float, np.ndarray, np.ndarray]:
    """The best strength, its (N, C) out-of-fold logits and the mean of its folds' weights."""
    masks = np.stack([shares * (fold_of != fold) for fold in range(int(fold_of.max()) + 1)])
    masks /= masks.sum(axis=1, keepdims=True)
    best, chosen, crossed, start, waited = np.inf, 0.0, np.empty(0), np.empty(0), 0
    weights = None
    for strength in sorted(strengths, reverse=True):
        weights, _ = solve(
            data, targets, masks, np.full(len(masks), strength), targets.shape[1],
            preconditioner, start=weights, tolerance=CHOOSING,
        )  # fmt: skip
        scores = out_of_fold(data, fold_of, weights, len(masks))
        loss = sigmoid_log_loss(scores, targets)
        if loss <= best:
            best, chosen, crossed, waited = loss, strength, scores, 0
            start = weights.mean(axis=0, keepdims=True)
        else:
            waited += 1
            if waited == PATIENCE:
                break
    return chosen, crossed, start


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(scores, -60, 60)))


def thresholds(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(C,) probabilities from which a class is given, of (N, C) out-of-fold ones of images."""
    return np.array(
        [threshold(probabilities[:, c], targets[:, c]) for c in range(targets.shape[1])]
    )


def threshold(probabilities: np.ndarray, target: np.ndarray) -> float:
    """The threshold with the highest F1, midway to the next probability; 0.5 with few images."""
    positives = int(target.sum())
    if positives < FEW or positives == len(target):
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(target[order])
    f1 = 2 * hits / (np.arange(1, len(target) + 1) + positives)
    best = int(f1.argmax())
    ranked = probabilities[order]
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)
