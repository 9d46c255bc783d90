"""How wrong probabilities are."""

import numpy as np


def own_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(M,) log losses of (M, C) probabilities."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses: np.ndarray = -np.log(np.clip(own, 1e-7, 1))
    return losses


def sigmoid_log_loss(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean over images and classes of the sigmoid's log loss of (N, C) logits."""
    losses = np.maximum(scores, 0) + np.log1p(np.exp(-np.abs(scores))) - targets * scores
    return float(losses.mean(dtype=np.float64))
