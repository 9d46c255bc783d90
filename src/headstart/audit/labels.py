"""Labels that are perhaps wrong, the most suspicious first, and what share of the list is expected
to be right.

An image is suspicious if heads that have not seen it do not believe its label (confident learning,
Northcutt, Jiang and Chuang 2021, https://doi.org/10.1613/jair.1.12125) and if images of another
class are nearer to it than those of its own. The two are combined by rank. How far the list is
worth reading is measured, not fixed: some labels of the user's own images are flipped, and it is
seen where in the list they come.
Letters: N images, D features, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.audit.findings import Finding
from headstart.audit.neighbours import compare_classes
from headstart.data.item import Item
from headstart.metrics.task import Task

# The probabilities count four times: chosen on four sets with flipped labels, where any weight from
# 1 to 5 beats the probabilities alone on three of them, and this on all.
WEIGHT = 4
FLIPPED = 0.02  # of the labels, to measure the list
PLANTED, DRAWS = 200, 20  # flipped labels to see at least, in so many draws at most
TELLING = 0.25  # half of the planted ones come in such a share of the list, or it tells nothing
LEAST = 0.5  # share of the list that must be expected to be right
QUANTILES = np.linspace(0.05, 0.7, 14)  # of planted ones; beyond them few are left to count


@dataclass(frozen=True)
class Ranking:
    """order: numbers of the images, the most suspicious first; of them the first `listed` are worth
    a look, and `expected` of these are expected to be wrong. scores: (N,), in 0..1.
    planted, recovered: labels flipped for the purpose, and how many of them such a list holds.
    """

    order: np.ndarray
    scores: np.ndarray
    listed: int
    expected: float
    planted: int
    recovered: int

    @property
    def share(self) -> float | None:
        """Of the list, what is expected to be right; None where nothing is listed."""
        return min(1.0, self.expected / self.listed) if self.listed else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"listed": self.listed, "expected_right": self.share, "planted": self.planted,
                "recovered": self.recovered}  # fmt: skip


@dataclass(frozen=True)
class _Evidence:
    """Of images: belief (N,) that the label is right, distance (N,) as compare_classes has it."""

    belief: np.ndarray
    distance: np.ndarray


def believe(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) probabilities that the label is right, and (N,) the class that speaks most against it:
    the likeliest other one; where an image may be in several the one that is most surely wrongly
    there, or wrongly missing.
    """
    rows = np.arange(len(targets))
    if targets.ndim == 2:
        own = np.where(targets == 1, probabilities, 1 - probabilities)
        against = own.argmin(axis=1)
        return own[rows, against], against
    others = probabilities.copy()
    others[rows, targets] = -1
    return probabilities[rows, targets], others.argmax(axis=1)


def rank_labels(
    vectors: np.ndarray,
    targets: np.ndarray,
    probabilities: np.ndarray,
    task: Task,
    seed: int = 0,
    settled: np.ndarray | None = None,
) -> Ranking:
    """vectors: (N, D) of length one. probabilities: (N, C) by heads that have not seen the image.
    settled: (N,) of which labels a person has said that they are right: they are not listed.

    A flipped label is held against the probabilities as they are: the head that judges an image has
    not seen its label, and 2% of the others move it little (measured: the same shares come out).
    """
    actual = _gather(vectors, targets, probabilities)
    planted = []
    draws = int(np.clip(-(-PLANTED // max(1, round(FLIPPED * len(targets)))), 1, DRAWS))
    for draw in range(draws):
        rows, flipped = flip(targets, task, FLIPPED, seed + draw)
        planted.append(_gather(vectors, flipped, probabilities, rows))
    everybody = _join([actual, *planted])
    scores, of_planted = _score(actual, everybody), _score(_join(planted), everybody)
    order = np.argsort(-scores, kind="stable")
    if settled is not None:
        order = order[~settled[order]]
    listed, expected = _estimate(scores[order], of_planted)
    recovered = int((of_planted >= scores[order][listed - 1]).sum()) if listed else 0
    return Ranking(order, scores, listed, expected, len(of_planted), recovered)


def flip(targets: np.ndarray, task: Task, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of a share of the images, at random, and the targets with theirs made wrong."""
    rng = np.random.default_rng(seed)
    classes = len(task.classes)
    rows = rng.choice(len(targets), max(1, round(share * len(targets))), replace=False)
    flipped = targets.copy()
    if targets.ndim == 2:
        columns = rng.integers(0, classes, len(rows))
        flipped[rows, columns] = 1 - flipped[rows, columns]
    else:
        flipped[rows] = (flipped[rows] + rng.integers(1, classes, len(rows))) % classes
    return rows, flipped


def _gather(
    vectors: np.ndarray, targets: np.ndarray, probabilities: np.ndarray,
    rows: np.ndarray | None = None,
) -> _Evidence:  # fmt: skip
    """Of all images, or of some. Neighbours have no say where an image may be in several classes:
    those who share all of them are few.
    """
    belief, _ = believe(probabilities, targets)
    belief = belief if rows is None else belief[rows]
    if targets.ndim == 2:
        return _Evidence(belief, np.zeros(len(belief)))
    return _Evidence(belief, compare_classes(vectors, targets, rows))


def _join(parts: Sequence[_Evidence]) -> _Evidence:
    return _Evidence(
        np.concatenate([part.belief for part in parts]),
        np.concatenate([part.distance for part in parts]),
    )


def _score(evidence: _Evidence, among: _Evidence) -> np.ndarray:
    """0..1 by the ranks among the images as they are and those whose labels were flipped: so the
    one and the other can be compared. What nothing is known of is not suspicious.
    """

    def rank(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
        known = np.sort(reference[~np.isnan(reference)])
        places = (np.searchsorted(known, values) + np.searchsorted(known, values, "right")) / 2
        share: np.ndarray = np.where(np.isnan(values), 0, places / max(len(known), 1))
        return share

    doubt = rank(-evidence.belief, -among.belief)
    score = (WEIGHT * doubt + rank(evidence.distance, among.distance)) / (WEIGHT + 1)
    return np.where(np.isnan(evidence.belief), 0, score)  # no head has said anything of it


def _estimate(scores: np.ndarray, planted: np.ndarray) -> tuple[int, float]:
    """How many of the (N,) scores, the highest first, are worth a look, and how many of these are
    expected to be wrong labels.

    There are at most so many wrong ones that those among them that score above any limit, in the
    share in which planted ones do, are not more than all that score so (the tightest of several
    limits is taken). Where planted ones do not stand out, as where the classes cannot be told
    apart, nothing is worth a look. Of a list then that many are expected as that share of them
    would reach it.
    """
    if (scores >= np.median(planted)).mean() > TELLING:
        return 0, 0.0
    limits = np.quantile(planted, QUANTILES)
    above = np.searchsorted(-scores, -limits, side="right")
    wrong = float((above / (1 - QUANTILES)).min())
    reached = 1 - np.searchsorted(np.sort(planted), scores) / len(planted)
    expected = np.minimum(wrong * reached, np.arange(1, len(scores) + 1))
    worthy = np.flatnonzero(expected >= LEAST * np.arange(1, len(scores) + 1))
    if not len(worthy):
        return 0, 0.0
    listed = int(worthy[-1]) + 1
    return listed, float(expected[listed - 1])


def find_wrong_labels(
    items: Sequence[Item], targets: np.ndarray, probabilities: np.ndarray, task: Task,
    ranking: Ranking,
) -> list[Finding]:  # fmt: skip
    """What the ranking lists, as findings."""
    belief, against = believe(probabilities, targets)
    told = (
        f"of this list of {ranking.listed:,} about {ranking.share or 0:.0%} are expected to be "
        f"wrong: of {ranking.planted:,} labels flipped to measure it {ranking.recovered:,} would "
        "be in it"
    )
    findings = []
    for number in ranking.order[: ranking.listed].tolist():
        item, name = items[number], task.classes[against[number]]
        labels = set(item.labels)
        suggested = ";".join(sorted(labels ^ {name})) if task.multilabel else name
        findings.append(
            Finding(
                "label", "warning", (item,), float(ranking.scores[number]),
                f"labelled {item.label or 'nothing'}, which heads that have not seen it believe at "
                f"{belief[number]:.1%}; {name} speaks most against it",
                "look at it: relabel, drop or keep it in headstart-decisions.csv",
                {"label": item.label, "suggested": suggested,
                 "expected_right": None if ranking.share is None else round(ranking.share, 3)},
            )
        )  # fmt: skip
    if findings:
        findings[0] = replace(findings[0], evidence=f"{findings[0].evidence}; {told}")
    return findings
