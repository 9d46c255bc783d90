"""What images stand or fall with: those of one content, and those of groups that share one, are
never on both sides of a split or fold.

Letters: N images, M sets of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.data.item import HASH_BYTES, Item
from headstart.data.rows import list_column, list_contents


@dataclass(frozen=True)
class Ties:
    """numbers: (N,) of the set that each image is in, counted as the sets are met first. firsts:
    (M,) the first image of each. groups: of sets of groups the first name of these. contents: (N,).
    """

    numbers: np.ndarray
    firsts: np.ndarray
    groups: dict[int, str]
    contents: np.ndarray

    def __len__(self) -> int:
        return len(self.firsts)

    def list_keys(self) -> Iterator[bytes]:
        """What stands for each set, whatever other images there are: its content, or its group."""
        for number, first in enumerate(self.firsts.tolist()):
            group = self.groups.get(number)
            if group is None:
                yield bytes(self.contents[first]).ljust(HASH_BYTES, b"\0")
            else:
                yield b"group " + group.encode()


def tie(items: Sequence[Item]) -> Ties:
    """The images in sets. Groups that hold the same bytes are one set: else those bytes would be on
    both sides.
    """
    contents, group = list_contents(items), list_column(items, "group")
    if group.values == (None,):
        firsts, numbers = _number(contents)
        return Ties(numbers, firsts, {}, contents)
    by_name = sorted(name for name in group.values if name is not None)  # as their bytes would be
    rank = {name: place for place, name in enumerate(by_name)}
    alone = len(by_name)
    of_image = np.array([rank.get(name, alone) for name in group.values])[group.codes]
    firsts, content = _number(contents)
    of_content = np.full(len(firsts), alone)
    np.minimum.at(of_content, content, of_image)
    top = np.arange(alone + 1)
    other = of_content[content]
    pairs = np.stack([other, of_image])[:, (of_image < alone) & (other != of_image)]
    for pair in np.unique(pairs, axis=1).T.tolist():
        first, second = sorted(_find_top(top, number) for number in pair)
        top[second] = first
    tops = np.array([_find_top(top, number) for number in range(alone + 1)])
    sets = tops[np.minimum(of_image, other)]
    sets = np.where(sets == alone, alone + content, sets)
    firsts, numbers = _number(sets)
    named = enumerate(sets[firsts].tolist())
    return Ties(numbers, firsts, {n: by_name[s] for n, s in named if s < alone}, contents)


def group_numbers(items: Sequence[Item]) -> np.ndarray | None:
    """(N,) numbers, alike for images that are never on both sides of a fold: those of one content
    or of groups tied together. None where each stands for itself, or where all are copies of one
    image, so that there is nothing to hold apart.
    """
    ties = tie(items)
    copies = len(ties) == 1 and not ties.groups
    return None if copies or len(ties) == len(items) else ties.numbers


def _number(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) where each value stands first, in this order, and (N,) which of them each one is."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def _find_top(above: np.ndarray, number: int) -> int:
    while above[number] != number:
        above[number] = above[above[number]]
        number = int(above[number])
    return number
