"""What the best of many candidates is worth: what its choice flatters is taken off.

Whoever takes the best of what was measured also takes the luckiest. So the whole choice is made
again on images drawn with replacement, and what it takes is judged by the images that were not
drawn (BBC-CV: Tsamardinos, Greasidou and Borboudakis 2018,
https://doi.org/10.1007/s10994-018-5714-4). Nothing is trained for it: what each candidate said of
each image, unseen, is at hand.
Letters: N images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.metrics.intervals import CROSSED, Interval, interval

DRAWS = 200

# Whether images were right, by what a choice on some of them (their numbers, perhaps twice) takes:
# always as many arrays, whose means add up, of all N images or of the first so many.
RightByChoice = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Worth:
    """The accuracy of what was chosen on images that did not choose it, with its 95% interval.

    default: the accuracy of what would serve without a choice; None where it was not measured.
    """

    accuracy: float
    interval: Interval
    default: float | None = None


def judge_choice(
    right_by_choice: RightByChoice,
    count: int,
    groups: np.ndarray | None,
    default: np.ndarray | None = None,
) -> Worth:
    """What is chosen by N = `count` images is worth on images that did not choose it.

    groups: (N,) numbers; whole groups are drawn. default: (N,) whether images were right without a
    choice. Where it is not known of an image, nan stands for it.
    """
    rng = np.random.default_rng(0)
    group_of = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    sums: list[np.ndarray] = []
    times: list[np.ndarray] = []
    for _ in range(DRAWS):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[group] for group in drawn])
        left = np.ones(count, bool)
        left[rows] = False
        parts = right_by_choice(rows)
        if not sums:
            sums, times = ([np.zeros(len(part)) for part in parts] for _ in range(2))
        for part, total, number in zip(parts, sums, times, strict=True):
            judged = left[: len(part)] & ~np.isnan(part)
            total[judged] += part[judged]
            number += judged
    # Image by image first, so that without a choice the mean is that of all images.
    means = [
        total[number > 0] / number[number > 0] for total, number in zip(sums, times, strict=True)
    ]
    accuracy = float(np.clip(sum(float(mean.mean()) for mean in means), 0, 1))
    n = len(means[0])
    return Worth(
        accuracy, interval(accuracy * n, n, worth=CROSSED) or (0.0, 1.0),
        None if default is None else float(np.nanmean(default)),
    )  # fmt: skip
