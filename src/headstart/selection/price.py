"""What the best of many candidates is worth: what its choice flatters is taken off.

Whoever takes the best of what was measured also takes the luckiest. So the whole choice is made
again on images drawn with replacement, and what it takes is judged by the images that were not
drawn (BBC-CV: Tsamardinos, Greasidou and Borboudakis 2018,
https://doi.org/10.1007/s10994-018-5714-4). Nothing is trained for it: what each candidate said of
each image, unseen, is at hand.
Letters: N images.
"""

from collections.abc import Callable, Sequence

import numpy as np

DRAWS = 200

# Whether images were right, by what a choice on some of them (their numbers, perhaps twice) takes:
# always as many arrays, whose means add up, of all N images or of the first so many.
RightByChoice = Callable[[np.ndarray], Sequence[np.ndarray]]


def judge_choice(
    right_by_choice: RightByChoice, count: int, groups: np.ndarray | None, seed: int = 0
) -> float:
    """The accuracy of what is chosen by N = `count` images, on images that did not choose it.

    groups: (N,) numbers; whole groups are drawn.
    """
    rng = np.random.default_rng(seed)
    group_of = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    sums: list[np.ndarray] = []
    times = np.zeros(count)
    for _ in range(DRAWS):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[group] for group in drawn])
        left = np.ones(count, bool)
        left[rows] = False
        times += left
        parts = [np.where(left[: len(part)], part, 0) for part in right_by_choice(rows)]
        sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
    # Image by image first, so that without a choice the mean is that of all images.
    judged = times > 0
    means = [(total / np.maximum(times, 1)[: len(total)])[judged[: len(total)]] for total in sums]
    return float(np.clip(sum(float(mean.mean()) for mean in means), 0, 1))
