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

IMAGES = 2048  # kept at most
LEAST = 256  # kept of features that are very many
NUMBERS = 2**24  # in memory, 64 MB
LEARNED_FROM = 512  # images that tell the axes
AXES = 128
FLOOR = 0.1  # of the mean spread, added to each: features that hardly vary are not made loud


@dataclass(frozen=True)
class Novelty:
    """spread (D,): by which features are divided. mean (D,), axes (D, k) float16: from directions to
    places. places: (n, k) float16 of training
    images. scores: (n,) squared distances of these from the nearest other one, axes and
    neighbours being those of other folds; the farthest first.
    """

    spread: np.ndarray
    mean: np.ndarray
    axes: np.ndarray
    places: np.ndarray
    scores: np.ndarray

    def distances(self, features: np.ndarray) -> np.ndarray:
        """(N,) squared distances of (N, D) features from the nearest training image: 0 to 4."""
        centred = directions(features, self.spread) - self.mean
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

    rows: (n,) their numbers. Learning from fewer of them takes no look at their features.
    """

    def __init__(self, features: np.ndarray, seed: int) -> None:
        count, dimensions = features.shape
        most = int(np.clip(NUMBERS // dimensions, LEAST, IMAGES))
        self.rows = np.sort(np.random.default_rng(seed).permutation(count)[:most])
        values = features[self.rows]
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

    def score_by_others(self, fold_of: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
        """(n,) scores of each image by those of other folds; nan of who is not `among` them.

        fold_of: (n,) numbers. among: (n,) mask; by default all.
        """
        among = np.ones(len(self), bool) if among is None else among
        scores = np.full(len(self), np.nan)
        for fold in np.unique(fold_of[among]):
            asked = np.flatnonzero(among & (fold_of == fold))
            learned = np.flatnonzero(among & (fold_of != fold))
            if len(learned) > 1:
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
        return Novelty(self.spread, mean, axes, places, -np.sort(-scores).astype(np.float32))

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

    def __str__(self) -> str:
        low, high = self.interval
        share = self.refused / self.images
        return f"trained without {self.name}, {share:.0%} of {self.name} were refused " + (
            f"({low:.0%} to {high:.0%})")  # fmt: skip


def describe_left_out(rows: Sequence[LeftOut]) -> str:
    """The classes that are told best and worst from all others."""
    ranked = sorted(rows, key=lambda row: -row.refused / row.images)
    return "; ".join(map(str, dict.fromkeys((ranked[0], ranked[-1]))))


def leave_out(
    sample: Sample, targets: np.ndarray, fold_of: np.ndarray, classes: Sequence[str], rate: float
) -> list[LeftOut]:
    """What is refused of each class by what is learned from all others, at a share of false alarms.

    targets, fold_of: (n,) class and fold numbers of the sample's images.
    """
    found = []
    for number, name in enumerate(classes):
        own, learned = np.flatnonzero(targets == number), np.flatnonzero(targets != number)
        scores = sample.score_by_others(fold_of, targets != number)[learned]
        place = int(rate * (len(scores) + 1))
        if not len(own) or not place or np.isnan(scores).any():
            continue
        limit = -np.sort(-scores)[place - 1]
        refused = int((sample.score(own, learned) > limit).sum())
        found.append(LeftOut(name, refused, len(own)))
    return found


def _nearest(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) squared distances of (N, k) places from the nearest of the (n, k) others."""
    products = places @ others.T
    squares = (places**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * products
    nearest: np.ndarray = np.maximum(squares.min(axis=1), 0)
    return nearest
