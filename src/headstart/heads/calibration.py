"""The temperature by which logits are divided so that probabilities mean what they say.

Guo et al. 2017, https://arxiv.org/abs/1706.04599. Letters: N images, C classes.
"""

from collections.abc import Callable

import numpy as np

from headstart.metrics.losses import CrossEntropy, Loss

HOTTEST = 4.0  # what logits are divided by at most
COOLEST = 100.0  # what the logits of a head that is far too sure are divided by at most
FEW = 20  # images below which nothing can be told
GAIN = 1e-4  # log loss that a temperature must take off
STEPS = 30  # of the golden section: within a millionth of the interval


def temperature(logits: np.ndarray, targets: np.ndarray, loss: Loss) -> float:
    """The number by which (N, C) logits are divided to minimise the mean log loss, within 1..4; 1
    where there is too little to tell.

    Never below 1: where hardly an image is wrong, the loss of these images falls the surer the
    logits are made, and that of new images rises.
    """
    if len(targets) < FEW:
        return 1.0

    def mean_loss(value: float) -> float:
        return float(loss.of_logits(logits / value, targets).mean(dtype=np.float64))

    return _worthwhile(mean_loss, 1.0)


def temperature_by_others(
    logits: np.ndarray, targets: np.ndarray, loss: Loss, fold_of: np.ndarray
) -> np.ndarray:
    """(N,) temperatures: for the images of each of the (N,) folds that of all others' logits, so
    that what is said of an image depends on its own label in nothing.
    """
    result = np.ones(len(targets))
    for fold in np.unique(fold_of):
        others = fold_of != fold
        result[~others] = temperature(logits[others], targets[others], loss)
    return result


def smoothing_temperature(logits: np.ndarray, targets: np.ndarray, smoothing: float) -> float:
    """What (N, C) logits are divided by to serve smoothed labels best; never below 1.

    targets: (N,) class numbers.
    """
    mean_loss = _smoothed_loss(logits, targets, smoothing)
    best = _minimise(mean_loss, 1.0, COOLEST)
    return best if mean_loss(best) < mean_loss(1.0) else 1.0


def calibrate(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, float]:
    """(N, C) probabilities at the temperature that serves them best, within 1/4..4, and that
    temperature. targets: (N,) class numbers.

    For a network that has learned smoothed labels: it says less than it knows, so it may be made
    surer, but no surer than N images can tell. If all are right, the N + 1st is with probability
    (N + 1) / (N + C) by Laplace's rule of succession: labels smoothed by C / (N + C).
    """
    images, classes = probabilities.shape
    mean_loss = _smoothed_loss(_logits(probabilities), targets, classes / (images + classes))
    value = _worthwhile(mean_loss, 1 / HOTTEST) if images >= FEW else 1.0
    return apply_temperature(probabilities, value), value


def _smoothed_loss(
    logits: np.ndarray, targets: np.ndarray, smoothing: float
) -> Callable[[float], float]:
    """The mean log loss at a temperature, of labels smoothed by that much."""
    z = logits.astype(np.float64)
    loss = CrossEntropy()

    def mean_loss(value: float) -> float:
        # Smoothed labels are smoothing / C, and 1 - smoothing more for the label's own class: the
        # loss against every class alike is log(sum(exp)) - mean(z).
        own = loss.of_logits(z / value, targets)
        alike = own + (z[np.arange(len(z)), targets] - z.mean(axis=1)) / value
        return float(((1 - smoothing) * own + smoothing * alike).mean())

    return mean_loss


def _worthwhile(mean_loss: Callable[[float], float], least: float) -> float:
    """The best temperature from `least` on; 1 where it gains next to nothing."""
    best = _minimise(mean_loss, least, HOTTEST)
    return best if mean_loss(best) < mean_loss(1.0) - GAIN else 1.0


def apply_temperature(probabilities: np.ndarray, value: float) -> np.ndarray:
    """(N, C) probabilities whose logits are divided by `value`."""
    exponents = np.exp(_logits(probabilities) / value)
    result: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
    return result


def _logits(probabilities: np.ndarray) -> np.ndarray:
    logits: np.ndarray = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1))
    return logits


def _minimise(function: Callable[[float], float], least: float, most: float) -> float:
    """Where a function of a positive number has its one minimum, by golden section of logarithms.

    The log loss is convex in 1 / temperature: it has one.
    """
    low, high = np.log(least), np.log(most)
    golden = (5**0.5 - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = function(np.exp(a)), function(np.exp(b))
    for _ in range(STEPS):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = function(np.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = function(np.exp(b))
    return float(np.exp((low + high) / 2))
