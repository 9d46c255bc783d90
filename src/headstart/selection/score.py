"""How good a candidate is, by cross-validation inside the training images, and which one to take.

Each image is predicted by linear heads that have not seen it. The rule: within one standard error
of the best (of the paired difference in log loss, image by image), the earliest and cheapest; of
those that cost the same the best.
Letters: N images, V views, D features, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headstart.heads import linear, multilabel
from headstart.metrics.comparison import standard_errors
from headstart.metrics.intervals import Interval, interval

# Three folds tell candidates apart little better than chance: the draw of the folds moves their
# difference as much as the draw of the images does; of five it moves it by a third of that.
FOLDS = 5
ALIKE = 1.1  # times the cost of another that still counts as the same
RARE = 6  # images that even the rarest class has in a sample
APART = 0.05  # of the depth, between cuts that are joined
PARTNERS = 4  # cuts tried beside the best one


@dataclass(frozen=True)
class Scored:
    """A candidate and what cross-validation says of it.

    cuts: names as the recipe takes them. changes: other choices of the recipe that it makes.
    losses: (N,) log loss of each image. cost: multiplications up to its deepest layer, 0..1 of
    the backbone's. accuracy: of images in several classes the share with all of them right.
    """

    cuts: tuple[str, ...]
    changes: dict[str, Any]
    cost: float
    dimensions: int
    accuracy: float
    accuracy_interval: Interval
    losses: np.ndarray = field(repr=False)
    strength: float = 0.0

    @property
    def images(self) -> int:
        """N, how many it was measured on."""
        return len(self.losses)

    @property
    def log_loss(self) -> float:
        """Mean over the images."""
        return float(self.losses.mean())

    @property
    def name(self) -> str:
        """As on the command line."""
        told = "".join(f", {key} {value}" for key, value in self.changes.items())
        return " + ".join(self.cuts) + told

    def loses_to(self, other: "Scored") -> float:
        """By how many standard errors the other's log loss is lower, image by image."""
        return standard_errors(self.losses, other.losses)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "name": self.name, "dimensions": self.dimensions, "images": self.images,
            "accuracy": self.accuracy, "interval": list(self.accuracy_interval),
            "log_loss": self.log_loss,
        }  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """What the training images are, and how heads for them are judged.

    labels: (N,) class numbers, or (N, C) of 0 and 1 where an image may be in several classes.
    groups (N,): never on both sides of a fold.
    """

    labels: np.ndarray
    classes: int
    groups: np.ndarray | None = None
    balanced: bool = False
    seed: int = 0

    @property
    def kinds(self) -> np.ndarray:
        """(N,) class numbers; of images in several classes that of the rarest, C where in none."""
        if self.labels.ndim == 1:
            return self.labels
        rarity = np.where(self.labels == 1, self.labels.sum(axis=0), np.inf)
        found: np.ndarray = np.where(
            self.labels.any(axis=1), rarity.argmin(axis=1), self.labels.shape[1]
        )
        return found

    def of(self, rows: np.ndarray) -> "Truth":
        """Of some of the images."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, labels=self.labels[rows], groups=groups)

    def told_apart(self, least: int) -> bool:
        """Whether there are `least` images, two groups, and of each class enough for every fold."""
        of_class = (
            np.bincount(self.labels, minlength=self.classes)
            if self.labels.ndim == 1
            else self.labels.sum(axis=0)
        )
        apart = self.groups is None or len(np.unique(self.groups)) > 1
        return apart and len(self.labels) >= least and int(of_class.min()) >= FOLDS

    def judge(
        self, values: np.ndarray, near: float | None = None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Losses (N,) and whether right (N,; nan where there was no time for its fold) of images
        by heads on (N, V, D) features that had not seen them, and the strength that served best,
        sought `near` another's.
        """
        count, views, dimensions = values.shape
        strengths = linear.STRENGTHS
        if near is not None:
            strengths = tuple(s for s in strengths if near / 11 < s < near * 4)
        of_image = np.arange(count) if self.groups is None else self.groups
        rows = values.reshape(count * views, dimensions)
        groups = np.repeat(of_image, views)
        if self.labels.ndim == 2:
            strength, found = multilabel.cross_validate(
                rows, np.repeat(self.labels, views, axis=0), groups=groups,
                balanced=self.balanced, folds=FOLDS, seed=self.seed, strengths=strengths,
            )  # fmt: skip
            clipped = np.clip(found[::views].astype(np.float64), 1e-7, 1 - 1e-7)
            own = np.where(self.labels == 1, clipped, 1 - clipped)
            return -np.log(own).mean(axis=1), (own.min(axis=1) > 0.5) * 1.0, strength
        crossed = linear.cross_validate(
            rows, np.repeat(self.labels, views), self.classes, groups=groups,
            class_weight="balanced" if self.balanced else None, folds=FOLDS, seed=self.seed,
            strengths=strengths,
        )  # fmt: skip
        probabilities = crossed.out_of_fold[::views].astype(np.float64)
        known = ~np.isnan(probabilities[:, 0])
        own = np.clip(probabilities[np.arange(count), self.labels], 1e-7, 1)
        losses = np.where(known, -np.log(own), np.nan)
        losses[~known] = losses[known].mean()  # as the others, for the paired difference
        right = np.where(known, probabilities.argmax(axis=1) == self.labels, np.nan)
        return losses, right, crossed.strength

    def score(
        self,
        values: np.ndarray,
        cuts: tuple[str, ...],
        changes: dict[str, Any],
        cost: float,
        near: float | None = None,
    ) -> Scored:
        """The candidate whose (N, V, D) features these are; all views of an image on one side."""
        losses, right, strength = self.judge(values, near)
        hits, judged = int(np.nansum(right)), int((~np.isnan(right)).sum())
        return Scored(
            cuts, changes, cost, values.shape[2], hits / judged,
            interval(hits, judged) or (0.0, 1.0), losses, strength,
        )  # fmt: skip


def sample(kinds: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Indices of about `most` of the (N,) images, each class in its share but RARE at least, in an
    order of which every beginning is such a sample itself.
    """
    place = np.full(len(kinds), np.inf)
    rng = np.random.default_rng(seed)
    for kind, count in zip(*np.unique(kinds, return_counts=True), strict=True):
        share = int(count) if len(kinds) <= most else most * int(count) // len(kinds)
        quota = min(int(count), max(RARE, share))
        members = np.flatnonzero(kinds == kind)[np.linspace(0, count - 1, quota).astype(int)]
        place[rng.permutation(members)] = (np.arange(quota) + rng.random()) / quota
    order: np.ndarray = np.argsort(place, kind="stable")[: int(np.isfinite(place).sum())]
    return order


def cheapest(tried: Sequence[Scored]) -> Scored:
    """Of those within one standard error of the best the earliest, which is the cheapest; of those
    that cost the same the one with the lowest log loss.
    """
    best = min(tried, key=lambda scored: scored.log_loss)
    near = [scored for scored in tried if scored.loses_to(best) <= 1]
    least = min(scored.cost for scored in near)
    alike = [scored for scored in near if scored.cost <= ALIKE * least]
    return min(alike, key=lambda scored: scored.log_loss)


def partners(
    singles: Sequence[Scored], anchor: Scored, depths: Mapping[str, float]
) -> list[Scored]:
    """The first of `singles`, given with the best first, that see something else: the maximum
    beside the average of the anchor's own layer, or layers that are not next to the anchor's, for
    those say what it says.
    """
    taken = [depths[cut] for cut in anchor.cuts]
    found: list[Scored] = []
    for scored in singles:
        (cut,) = scored.cuts
        layer, _, pooling = cut.partition(":")
        beside = f"{layer}:{'max' if pooling == 'avg' else 'avg'}"
        if anchor.cuts == (beside,) and "max" in (pooling, beside.partition(":")[2]):
            found.append(scored)
        elif all(abs(depths[cut] - depth) >= APART for depth in taken):
            taken.append(depths[cut])
            found.append(scored)
    return found[:PARTNERS]
