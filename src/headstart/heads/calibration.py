"""The temperature by which logits are divided so that probabilities mean what they say.

Letters: N rows, C classes.
"""

import numpy as np

from headstart.metrics.losses import sigmoid_log_loss


def temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The number by which (N, C) logits are divided to minimise log loss (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599), within 1/4..4; 1 where there is too little to tell.
    """
    if len(labels) < 20:
        return 1.0
    picked = np.arange(len(labels))

    def loss(log_heat: float) -> float:
        z = scores / np.exp(log_heat)
        z = z - z.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[picked, labels]).mean(dtype=np.float64))

    low, high = -np.log(4), np.log(4)
    golden = (5**0.5 - 1) / 2
    for _ in range(30):  # the loss is convex in 1 / temperature: one minimum
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    found = (low + high) / 2
    return float(np.exp(found)) if loss(found) < loss(0.0) - 1e-4 else 1.0


def multilabel_temperature(scores: np.ndarray, targets: np.ndarray) -> float:
    """What logits are divided by to minimise the log loss, among 33 from a quarter to four."""
    heats = 4.0 ** np.linspace(-1, 1, 33)
    losses = [sigmoid_log_loss(scores / heat, targets) for heat in heats]
    return float(heats[int(np.argmin(losses))])


def calibrated(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Probabilities at the temperature that serves them best, and that temperature."""
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1))
    heat = np.float32(temperature(logits, labels))
    return cooled(probabilities, heat), heat


def soft_temperature(scores: np.ndarray, labels: np.ndarray, smoothing: float) -> np.float32:
    """What (N, C) logits are divided by to serve smoothed labels best; never below 1."""
    z = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    # Smoothed labels p are smoothing / C, and 1 - smoothing more for the label's own class.
    own = z[np.arange(len(z)), labels].mean()
    wanted = smoothing * z.mean() + (1 - smoothing) * own  # mean of sum(p z)
    heats = np.geomspace(1, 100, 100)
    losses = [float(np.log(np.exp(z / heat).sum(axis=1)).mean() - wanted / heat) for heat in heats]
    return np.float32(heats[int(np.argmin(losses))])


def cooled(probabilities: np.ndarray, heat: np.float32) -> np.ndarray:
    """Probabilities whose logits are divided by `heat`."""
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1)) / heat
    cooled: np.ndarray = np.exp(logits)
    return cooled / cooled.sum(axis=1, keepdims=True)
