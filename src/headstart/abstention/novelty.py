"""Whether an image is like nothing that was trained on: how far it is from the nearest of the
training images, in the direction of its features (Sun et al. 2022,
https://arxiv.org/abs/2204.06507), each feature by its spread, so that of several cuts joined the
one with the largest numbers does not decide alone.

On the principal axes of the directions, so that it is small and quick; what lies outside of these
axes adds to the distance. Letters: N images, D features, k axes, n images kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.errors import ClassifierError
from headstart.metrics.intervals import CROSSED, Interval, interval
from headstart.system.memory import take_rows

IMAGES = 2048  # kept at most
LEAST = 256  # kept of features that are very many
NUMBERS = 2**24  # in memory, 64 MB
LEARNED_FROM = 256  # images that tell the axes
AXES = 128
FLOOR = 0.1  # of the mean spread, added to each: features that hardly vary are not made loud


@dataclass(frozen=True)
class Novelty:
    """columns (2,): of the features, from where to where they are looked at, D in all. spread (D,):
    by which these are divided. mean (D,), axes (D, k) float16: from directions to places. places:
    (n, k) float16 of training images. scores: (n,) squared distances of these from the nearest of
    those of other folds, on their axes; the farthest first.
    """

    columns: np.ndarray
    spread: np.ndarray
    mean: np.ndarray
    axes: np.ndarray
    places: np.ndarray
    scores: np.ndarray

    def distances(self, features: np.ndarray) -> np.ndarray:
        """(N,) squared distances of the features of N images from the nearest training image's: 0
        to 4.
        """
        start, stop = self.columns
        centred = directions(features[:, start:stop], self.spread) - self.mean
        places = centred @ self.axes.astype(np.float32)
        outside = np.maximum((centred**2).sum(axis=1) - (places**2).sum(axis=1), 0)
        result: np.ndarray = outside + _nearest(places, self.places.astype(np.float32))
        return result

    def typicality(self, distances: np.ndarray) -> np.ndarray:
        """(N,) shares of training images that are as far as the (N,) distances from all others: the
        conformal p-value of an image being like them (Bates et al. 2023,
        https://doi.org/10.1214/22-AOS2244).
        """
        ascending = self.scores[::-1]
        farther = len(ascending) - np.searchsorted(ascending, distances, side="left")
        result: np.ndarray = (farther + 1) / (len(ascending) + 1)
        return result

    def false_alarms(self, rate: float) -> Interval:
        """The 95% interval of the share that is refused of new images like those trained on."""
        count = int(rate * (len(self.scores) + 1))
        return interval(count, len(self.scores), worth=CROSSED) or (0.0, 1.0)

    def check_rate(self, rate: float) -> None:
        """Raises ClassifierError for a share of false alarms that the training images cannot
        tell.
        """
        least = 1 / (len(self.scores) + 1)
        if not least <= rate <= 0.5:
            raise ClassifierError(
                f"expected a share of false alarms from {least:.2g}, which "
                f"{len(self.scores):,} training images can tell, to 0.5, found {rate:g}. "
                f"Type: --reject {max(0.05, -(-least * 100 // 1) / 100):g}"
            )


def directions(features: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """(N, D) of length 1, of (N, D) features divided by their (D,) spread."""
    features = np.where(np.isfinite(features), features, 0).astype(np.float32) / spread
    length = np.linalg.norm(features, axis=1, keepdims=True)
    result: np.ndarray = features / np.maximum(length, np.finfo(np.float32).tiny)
    return result


class Sample:
    """Some of N training images and the angles between them, from which everything is learned.

    columns: of the features, to look at. rows: (n,) their numbers. Learning from fewer of them
    takes no look at their features.
    """

    def __init__(self, features: np.ndarray, seed: int, columns: slice | None = None) -> None:
        start, stop, _ = (columns or slice(None)).indices(features.shape[1])
        self.columns = np.array([start, stop])
        count, dimensions = len(features), stop - start
        most = int(np.clip(NUMBERS // dimensions, LEAST, IMAGES))
        self.rows = np.sort(np.random.default_rng(seed).permutation(count)[:most])
        values = take_rows(features[:, start:stop], self.rows)
        spread = values.std(axis=0, dtype=np.float32)
        self.spread = (spread + FLOOR * spread.mean()) if spread.any() else spread + 1
        self.directions = directions(values, self.spread)
        self.products = (self.directions @ self.directions.T).astype(np.float64)

    def __len__(self) -> int:
        return len(self.rows)

    def score(self, asked: np.ndarray, learned: np.ndarray) -> np.ndarray:
        """Squared distances of the images numbered `asked` from the nearest of those `learned`."""
        told, weights = self._axes(learned)
        mean = self.products[np.ix_(told, told)].mean()
        across = self.products[np.ix_(asked, told)].mean(axis=1)
        lengths = self.products[asked, asked] - 2 * across + mean
        places, others = (self._centred(rows, told) @ weights for rows in (asked, learned))
        outside = np.maximum(lengths - (places**2).sum(axis=1), 0)
        result: np.ndarray = outside + _nearest(places, others)
        return result

    def score_by_others(self, fold_of: np.ndarray) -> np.ndarray:
        """(n,) scores of each image by those of other folds. fold_of: (n,) numbers."""
        scores = np.full(len(self), np.nan)
        for fold in np.unique(fold_of):
            learned = np.flatnonzero(fold_of != fold)
            if len(learned) > 1:
                asked = np.flatnonzero(fold_of == fold)
                scores[asked] = self.score(asked, learned)
        return scores

    def learn(self, fold_of: np.ndarray) -> Novelty | None:
        """From all images of the sample; None where they are too few to tell. fold_of: (n,)."""
        scores = self.score_by_others(fold_of)
        if len(self) < 3 or np.isnan(scores).any():
            return None
        every = np.arange(len(self))
        told, weights = self._axes(every)
        mean = self.directions[told].mean(axis=0)
        axes = (self.directions[told] - mean).T @ weights.astype(np.float32)
        axes = axes.astype(np.float16)
        places = ((self.directions - mean) @ axes.astype(np.float32)).astype(np.float16)
        return Novelty(
            self.columns, self.spread, mean, axes, places, -np.sort(-scores).astype(np.float32)
        )

    def _axes(self, learned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the images tell the axes, and (m, k) what of each makes one."""
        told = learned[np.unique(np.linspace(0, len(learned) - 1, LEARNED_FROM).astype(int))]
        values, vectors = np.linalg.eigh(self._centred(told, told))
        kept = values > max(values[-1], 0) * 1e-6
        values, vectors = values[kept][-AXES:], vectors[:, kept][:, -AXES:]
        return told, vectors / np.sqrt(values)

    def _centred(self, rows: np.ndarray, told: np.ndarray) -> np.ndarray:
        """Products of (directions - mean) of some images and of those that tell the axes, whose
        mean it is.
        """
        within = self.products[np.ix_(told, told)]
        across = self.products[np.ix_(rows, told)]
        centred: np.ndarray = (
            across - across.mean(axis=1, keepdims=True) - within.mean(axis=0) + within.mean()
        )
        return centred


@dataclass(frozen=True)
class LeftOut:
    """Of a class that was left out of the training, how many of its images were refused."""

    name: str
    refused: int
    images: int

    @property
    def interval(self) -> Interval:
        """The 95% interval of the share."""
        return interval(self.refused, self.images, worth=CROSSED) or (0.0, 1.0)


def leave_out(
    sample: Sample, targets: np.ndarray, fold_of: np.ndarray, classes: Sequence[str], rate: float
) -> list[LeftOut]:
    """What is refused of each class by what is learned from all others, at a share of false alarms.

    targets, fold_of: (n,) class and fold numbers of the sample's images. Distances are those of
    the directions themselves, without axes, which hardly change them: it takes no time.
    """
    distances = 2 - 2 * sample.products.astype(np.float32)
    foreign = np.where(fold_of[:, None] != fold_of, distances, np.float32(np.inf))
    found = []
    for number, name in enumerate(classes):
        own, others = targets == number, targets != number
        place = int(rate * (int(others.sum()) + 1))
        if not own.any() or not place or len(np.unique(fold_of[others])) < 2:
            continue
        within = foreign[np.ix_(others, others)]
        limit = -np.sort(-within.min(axis=1))[place - 1]
        refused = int((distances[np.ix_(own, others)].min(axis=1) > limit).sum())
        found.append(LeftOut(name, refused, int(own.sum())))
    return found


def _nearest(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) squared distances of (N, k) places from the nearest of the (n, k) others."""
    products = places @ others.T
    squares = (places**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * products
    nearest: np.ndarray = np.maximum(squares.min(axis=1), 0)
    return nearest
