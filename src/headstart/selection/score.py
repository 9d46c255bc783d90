"""How good a candidate is, by cross-validation inside the training images.

Each image is predicted by linear heads that have not seen it.
Letters: N images, V views, D features, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headstart.backbones.cut import Cut
from headstart.heads import linear
from headstart.heads.examples import Examples, Labels
from headstart.metrics.comparison import standard_errors
from headstart.metrics.intervals import CROSSED, Interval, interval

# Three folds tell candidates apart little better than chance: the draw of the folds moves their
# difference as much as the draw of the images does; of five it moves it by a third of that.
FOLDS = 5
ALIKE = 1.1  # times the cost of another that still counts as the same
RARE = 6  # images that even the rarest class has in a sample
APART = 0.05  # of the depth, between cuts that are joined
PARTNERS = 4  # cuts tried beside the best one
PARTS = 3  # cuts joined at most


@dataclass(frozen=True)
class CutScore:
    """A candidate and what cross-validation says of it.

    changes: other choices of the recipe that it makes. losses, right: (N,) log loss of each image,
    and whether it was right: of images in several classes, in all of them. logits: (N, C), nan of
    an image whose fold had no time. cost: multiplications up to its deepest layer, 0..1 of the
    backbone's. strengths: of its heads. averaged: whether each cut has a head of its own.
    """

    cuts: tuple[Cut, ...]
    changes: dict[str, Any]
    cost: float
    dimensions: int
    accuracy: float
    accuracy_interval: Interval
    losses: np.ndarray = field(repr=False)
    right: np.ndarray = field(repr=False)
    logits: np.ndarray = field(repr=False)
    strengths: tuple[float, ...] = ()
    averaged: bool = False

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
        changes = "".join(f", {key} {value}" for key, value in self.changes.items())
        if self.averaged:
            return f"{self.cuts[0]} and {len(self.cuts) - 1} more, averaged{changes}"
        return " + ".join(map(str, self.cuts)) + changes

    def loses_to(self, other: "CutScore") -> float:
        """By how many standard errors the other's log loss is lower, image by image."""
        return standard_errors(self.losses, other.losses)

    def take(self, rows: np.ndarray) -> "CutScore":
        """As it would be if these had been the images, some of them perhaps twice."""
        return replace(
            self, losses=self.losses[rows], right=self.right[rows], logits=self.logits[rows]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "name": self.name, "dimensions": self.dimensions, "images": self.images,
            "accuracy": self.accuracy, "interval": list(self.accuracy_interval),
            "log_loss": self.log_loss,
        }  # fmt: skip


def score_cut(
    examples: Examples,
    cuts: tuple[Cut, ...],
    changes: dict[str, Any],
    cost: float,
    seed: int,
    near: Sequence[float] = (),
) -> CutScore:
    """The candidate whose features these are; all views of an image on one side.

    near: a strength for each of its heads that served another, beside which its own is sought.
    """
    crossed = linear.cross_validate(examples, folds=FOLDS, seed=seed, near=near)
    return score_logits(
        crossed.logits, examples, cuts, changes, cost, examples.dimensions, crossed.strengths
    )  # fmt: skip


def score_logits(
    logits: np.ndarray,
    labels: Labels,
    cuts: tuple[Cut, ...],
    changes: dict[str, Any],
    cost: float,
    dimensions: int,
    strengths: tuple[float, ...],
) -> CutScore:
    """The candidate that says this, (N, C) out-of-fold logits, of the N labelled images; of several
    cuts averaged if it has several heads.
    """
    task, targets = labels.task, labels.targets
    known = ~np.isnan(logits[:, 0])  # there was time for its fold
    # In the head's own numbers: a temperature would be fitted to what it is judged by.
    exact = logits[known].astype(np.float64)
    losses, right = np.empty(len(labels)), np.empty(len(labels))
    losses[known] = task.loss.of_logits(exact, targets[known])
    right[known] = task.are_right(task.loss.probabilities(exact), targets[known])
    hits, n = int(right[known].sum()), int(known.sum())
    losses[~known] = losses[known].mean()  # as the others, for the paired difference
    right[~known] = hits / n
    return CutScore(
        cuts, changes, cost, dimensions, hits / n, interval(hits, n, worth=CROSSED) or (0.0, 1.0),
        losses, right, logits, strengths, averaged=len(strengths) > 1,
    )  # fmt: skip


def are_enough(labels: Labels, least: int) -> bool:
    """Whether there are `least` images, two groups, and of each class enough for every fold."""
    counts = labels.task.class_counts(labels.targets)
    if labels.group_count < 2 or len(labels) < least or int(counts.min()) < FOLDS:
        return False
    return bool(labels.learnable(labels.folds(FOLDS, 0)).any())


def sample(kinds: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Indices of about `most` of the (N,) images, each kind in its share but RARE at least, in an
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


def choose_joined(joined: Sequence[CutScore], anchor: CutScore) -> CutScore | None:
    """The best of those that gain more than a standard error over the anchor, if there is one."""
    better = [score for score in joined if anchor.loses_to(score) > 1]
    return min(better, key=lambda score: score.log_loss, default=None)


def choose_cheapest(scores: Sequence[CutScore]) -> CutScore:
    """Of those within one standard error of the best the earliest, which is the cheapest; of those
    that cost the same the one with the lowest log loss.
    """
    best = min(scores, key=lambda score: score.log_loss)
    near = [score for score in scores if score.loses_to(best) <= 1]
    least = min(score.cost for score in near)
    alike = [score for score in near if score.cost <= ALIKE * least]
    return min(alike, key=lambda score: score.log_loss)


def choose_partners(
    singles: Sequence[CutScore], anchor: CutScore, depths: Mapping[Cut, float]
) -> list[CutScore]:
    """The first of `singles`, given with the best first, that see something else: the maximum
    beside the average of the anchor's own layer, or layers that are not next to the anchor's, for
    those say what it says.
    """
    taken = [depths[cut] for cut in anchor.cuts]
    chosen: list[CutScore] = []
    for score in singles:
        (cut,) = score.cuts
        beside = Cut(cut.layer, "max" if cut.pooling == "avg" else "avg")
        if anchor.cuts == (beside,) and "max" in (cut.pooling, beside.pooling):
            chosen.append(score)
        elif all(abs(depths[cut] - depth) >= APART for depth in taken):
            taken.append(depths[cut])
            chosen.append(score)
    return chosen[:PARTNERS]
