"""What more photos would bring: accuracy over the number of training images, with a forecast.

Only training images take part. Each is predicted by heads trained on nested parts of the folds that
it is not in; features are computed once. The forecast fits error(n) = a + b n^-c (a, b >= 0,
0 < c <= 1: a power law that levels off, as in Hestness et al. 2017,
https://arxiv.org/abs/1712.00409). Its interval comes from a bootstrap over images and repeats, and
is widened by how far the same law, without the last size, misses the last size: what it missed by
then it may miss by again.
Letters: N images, C classes, S sizes, R repeats, B bootstrap samples.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import DatasetError
from headstart.heads import linear
from headstart.heads.examples import Examples
from headstart.heads.fusion import average
from headstart.heads.solver import Preconditioner, solve, standardise
from headstart.metrics.intervals import Interval, interval
from headstart.system.threads import algebra_for, cores

FOLDS, REPEATS, SIZES = 5, 3, 6
SAMPLES = 400  # of the bootstrap
EXPONENTS = np.linspace(0.05, 1, 20)
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Forecast:
    """Accuracy now and with twice the images, and the gain with its 95% interval.

    is_clear: whether the interval of the gain lies above zero.
    """

    name: str
    images: int
    accuracy: float
    forecast: float
    gain: float
    gain_interval: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the data can tell that more images help."""
        return self.gain_interval[0] > 0


@dataclass(frozen=True)
class LearningCurve:
    """sizes: S numbers of training images; accuracies and intervals at each. classes: by class
    the S recalls. forecasts: of each class, the largest gain first. overall: of all images.
    """

    sizes: tuple[int, ...]
    accuracies: tuple[float, ...]
    intervals: tuple[Interval, ...]
    classes: dict[str, tuple[float, ...]]
    overall: Forecast
    forecasts: tuple[Forecast, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "sizes": list(self.sizes),
            "accuracies": list(self.accuracies),
            "intervals": [list(pair) for pair in self.intervals],
            "classes": {name: list(values) for name, values in self.classes.items()},
            "overall": _plain(self.overall),
            "forecasts": [_plain(forecast) for forecast in self.forecasts],
        }


def _plain(forecast: Forecast) -> dict[str, Any]:
    return {**forecast.__dict__, "gain_interval": list(forecast.gain_interval),
            "told": forecast.is_clear}  # fmt: skip


def learning_curve(examples: Examples, *, seed: int = 0) -> LearningCurve:
    """The curve of linear heads on N images in one class each, by their view 0.

    Raises DatasetError for fewer than 8 images a class or fewer groups than folds.
    """
    targets, classes = examples.targets, examples.task.classes
    if examples.group_count < FOLDS:
        raise DatasetError(
            f"expected training images of {FOLDS} groups or more for a learning curve, found "
            f"{examples.group_count}"
        )
    counts = examples.task.class_counts(targets)
    if counts.min() < 8:
        raise DatasetError(
            f"expected 8 training images or more of every class, found {counts.min()} of "
            f"{classes[int(counts.argmin())]}. Add images first"
        )
    crossed = linear.cross_validate(examples, seed=seed)
    drawn = [examples.folds(FOLDS, seed + repeat) for repeat in range(REPEATS)]
    # What every fold leaves to train on: less than four fifths where groups are uneven.
    most = min(len(targets) - int(np.bincount(fold_of).max()) for fold_of in drawn)
    least = max(2 * len(classes), most // 2 ** (SIZES - 1))
    sizes = np.unique(np.geomspace(min(least, most), most, SIZES).astype(int))
    parts = [standardise(part.values[:, 0]) for part in examples.split_parts()]
    # A head without a share has no say.
    used = np.flatnonzero(crossed.shares).tolist()
    heads = [(parts[k], Preconditioner(parts[k]), crossed.strengths[k]) for k in used]
    loss = examples.task.loss
    columns = loss.columns(len(classes))

    def measure(repeat: int) -> np.ndarray:
        """(N, S) whether each image is right where heads learn from so many others."""
        fold_of, order = drawn[repeat], _nest(targets, seed + repeat)
        right = np.zeros((len(targets), len(sizes)), bool)
        for place, size in enumerate(sizes):
            masks = _masks(fold_of, order, targets, int(size))
            # Fewer images want a stronger hand: three candidates, the best by held-out loss.
            best = np.inf
            for factor in sorted({1.0, (most / size) ** 0.5, most / size}):
                scores = []
                for data, preconditioner, chosen in heads:
                    weights, _ = solve(
                        data, targets, masks, np.full(len(masks), chosen * factor), columns,
                        preconditioner, loss=loss, tolerance=TOLERANCE,
                    )  # fmt: skip
                    scores.append(linear.predict_out_of_fold(data, fold_of, weights, len(weights)))
                logits = loss.expand(average(scores, crossed.shares[used]))
                mean_loss = float(loss.of_logits(logits, targets).mean())
                if mean_loss < best:
                    best, right[:, place] = mean_loss, logits.argmax(axis=1) == targets
        return right

    # Draws beside each other where each has a thread of its own.
    with (
        algebra_for(examples.values[:, 0].size) as alone,
        ThreadPoolExecutor(cores() if alone else 1, "draw") as pool,
    ):
        right = np.stack(list(pool.map(measure, range(REPEATS))))
    return fit_curve(right, targets, classes, sizes * FOLDS / (FOLDS - 1), seed=seed)


def fit_curve(
    right: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    sizes: np.ndarray,
    *,
    seed: int = 0,
) -> LearningCurve:
    """The curve of (R, N, S) whether images were right, held out, after training on `sizes` images.

    The last size is where one stands; the forecast is for twice as many.
    """
    rng = np.random.default_rng(seed)
    means = right.mean(axis=(0, 1))
    overall = _forecast("all classes", right, rng, sizes)
    by_class = {
        name: right[:, labels == number].mean(axis=(0, 1)) for number, name in enumerate(classes)
    }
    forecasts = [
        _forecast(name, right[:, labels == number], rng, sizes)
        for number, name in enumerate(classes)
    ]
    forecasts.sort(key=lambda forecast: -forecast.gain)
    n = len(labels)
    return LearningCurve(
        tuple(round(size) for size in sizes),
        tuple(float(value) for value in means),
        tuple(interval(round(float(value) * n), n) or (0.0, 1.0) for value in means),
        {name: tuple(map(float, values)) for name, values in by_class.items()},
        overall,
        tuple(forecasts),
    )


def extrapolate(sizes: np.ndarray, errors: np.ndarray, at: float) -> np.ndarray:
    """(B,) errors at size `at` of the best a + b n^-c through (B, S) errors, a and b >= 0."""
    best, errors_then = np.full(len(errors), np.inf), errors[:, -1].copy()
    # Large sizes are nearer to what is asked for.
    share = sizes / sizes.sum()
    for exponent in EXPONENTS:
        x = sizes**-exponent
        x_mean, y_mean = share @ x, errors @ share
        slope = (errors - y_mean[:, None]) @ (share * (x - x_mean)) / (share @ (x - x_mean) ** 2)
        slope = np.maximum(slope, 0)
        level = y_mean - slope * x_mean
        through_zero = (errors @ (share * x)) / (share @ x**2)
        slope = np.where(level < 0, through_zero, slope)
        level = np.maximum(level, 0)
        residual = ((errors - level[:, None] - slope[:, None] * x) ** 2) @ share
        better = residual < best
        best = np.where(better, residual, best)
        errors_then = np.where(better, level + slope * at**-exponent, errors_then)
    return errors_then


def _forecast(
    name: str, right: np.ndarray, rng: np.random.Generator, sizes: np.ndarray
) -> Forecast:
    """From (R, N, S) of one class or all."""
    repeats, count, number = right.shape
    mean = right.mean(axis=(0, 1))
    samples = [mean]
    for _ in range(SAMPLES):
        images, chosen = rng.integers(0, count, count), rng.integers(0, repeats, number)
        samples.append(right[chosen, :, np.arange(number)][:, images].mean(axis=1))
    errors = 1 - np.stack(samples)
    now, then = extrapolate(sizes, errors, sizes[-1]), extrapolate(sizes, errors, 2 * sizes[-1])
    gains = now - then
    low, high = np.percentile(gains[1:], [2.5, 97.5])
    missed = extrapolate(sizes[:-1], errors[:1, :-1], sizes[-1])[0] - errors[0, -1]
    accuracy, gain = float(mean[-1]), float(gains[0])
    return Forecast(
        name, count, accuracy, min(1.0, accuracy + gain), gain,
        (float(low) - abs(float(missed)), float(high) + abs(float(missed))),
    )  # fmt: skip


def _nest(labels: np.ndarray, seed: int) -> np.ndarray:
    """(N,) places in an order that takes from the classes in turn, each in its share."""
    rng = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return place


def _masks(fold_of: np.ndarray, order: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """(folds, N) row weights: `size` images outside each fold, two of each class at least."""
    masks = np.zeros((int(fold_of.max()) + 1, len(labels)))
    for fold in range(len(masks)):
        outside = np.flatnonzero(fold_of != fold)
        ranked = outside[np.argsort(order[outside], kind="stable")]
        masks[fold, ranked[:size]] = 1
        for label in np.unique(labels[outside]):
            masks[fold, ranked[labels[ranked] == label][:2]] = 1
        masks[fold] /= masks[fold].sum()
    return masks
