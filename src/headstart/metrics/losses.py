"""Log losses: how wrong logits and probabilities are, and what a solver wants to know of them.

A loss belongs to a kind of task: `CrossEntropy` where an image is in one class,
`BinaryCrossEntropy` where it may be in several.
Letters: N images, C classes, P problems solved at once, K columns of logits a problem.
"""

from abc import ABC, abstractmethod

import numpy as np

# float32 probabilities beside 1 are known to this, so nothing smaller is told from 0 (scikit-learn
# clips at float32's epsilon too).
SMALLEST = 1e-7


class Loss(ABC):
    """What heads, calibration and metrics ask of a loss."""

    @abstractmethod
    def columns(self, classes: int) -> int:
        """K, how many logits stand for C classes."""

    @abstractmethod
    def expand(self, scores: np.ndarray) -> np.ndarray:
        """(N, C) logits of the (N, K) columns."""

    @abstractmethod
    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) probabilities of (N, C) logits."""

    @abstractmethod
    def of_logits(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N,) log losses of (N, C) logits."""

    @abstractmethod
    def of_probabilities(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N,) log losses of (N, C) probabilities; nan where these are nan."""

    @abstractmethod
    def with_residual(self, z: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log loss (N, P) and probability minus target (N, P, K) of logits `z` (N, P, K), which
        may be overwritten.
        """


class CrossEntropy(Loss):
    """Classes that exclude each other: softmax; targets are (N,) class numbers.

    Two classes take one column, the second's logit minus the first's.
    """

    def columns(self, classes: int) -> int:
        return 1 if classes == 2 else classes

    def expand(self, scores: np.ndarray) -> np.ndarray:
        return np.concatenate([-scores / 2, scores / 2], axis=1) if scores.shape[1] == 1 else scores

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
        return result

    def of_logits(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        z = logits - logits.max(axis=1, keepdims=True)
        losses: np.ndarray = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(targets)), targets]
        return losses

    def of_probabilities(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
        own = probabilities[np.arange(len(targets)), targets].astype(np.float64)
        losses: np.ndarray = -np.log(np.clip(own, SMALLEST, 1))
        return losses

    def with_residual(self, z: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if z.shape[2] == 1:
            target = targets[:, None].astype(np.float32)
            loss, probability = _sigmoid_loss(z[:, :, 0], target)
            return loss, (probability - target)[:, :, None]
        z -= z.max(axis=2, keepdims=True)
        rows = np.arange(len(targets))
        own = z[rows, :, targets].copy()
        np.exp(z, out=z)
        total = z.sum(axis=2, keepdims=True)
        loss = np.log(total[:, :, 0]) - own
        z /= total
        z[rows, :, targets] -= 1
        return loss, z


class BinaryCrossEntropy(Loss):
    """Classes that do not exclude each other: a sigmoid each; targets are (N, C) of 0 and 1.

    The loss of an image is the mean over the classes; the solver's is their sum.
    """

    def columns(self, classes: int) -> int:
        return classes

    def expand(self, scores: np.ndarray) -> np.ndarray:
        return scores

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        result: np.ndarray = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
        return result

    def of_logits(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        losses: np.ndarray = _sigmoid_loss(logits, targets)[0].mean(axis=1)
        return losses

    def of_probabilities(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
        clipped = np.clip(probabilities.astype(np.float64), SMALLEST, 1 - SMALLEST)
        losses: np.ndarray = -np.log(np.where(targets == 1, clipped, 1 - clipped)).mean(axis=1)
        return losses

    def with_residual(self, z: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        target = targets[:, None, :].astype(np.float32)
        loss, probability = _sigmoid_loss(z, target)
        return loss.sum(axis=2), probability - target


def _sigmoid_loss(z: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log(1 + e^z) - y z without overflow on either side, and the probability."""
    loss = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - target * z
    return loss, 1 / (1 + np.exp(-np.clip(z, -60, 60)))
