"""Which side of the split an image is on, and what would make the figures lie.

Where no validation images are given, an image's side depends on its own bytes (and the seed)
alone.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from headstart.data.item import Item, change_item, list_first
from headstart.data.rows import Column, Some, change, list_column, list_contents, take
from headstart.data.ties import tie
from headstart.errors import DatasetError

MOST_TOLD = 6  # images in no group
_PATTERN = r"Type: --groups COLUMN, or a pattern such as --groups 'patient(\d+)'"


def assign_groups(items: Some, pattern: str) -> tuple[Some, list[str]]:
    """Each image in its group: that of the table, or what the pattern finds in its name."""
    warnings: list[str] = []
    told = list_column(items, "group").values != (None,)  # by the table
    grouped = stream_groups(items, None if told else pattern, warnings.append)
    return change(items, "group", Column.of(item.group for item in grouped)), warnings


def stream_groups(
    items: Iterable[Item], pattern: str | None, warn: Callable[[str], None]
) -> Iterator[Item]:
    """The same for images without end, of which those that are in no group yet are put in one.

    pattern: None for none. Raises DatasetError after the last of them, if none is in a group, or
    all are in one.
    """
    first, few = "", 0
    alone: list[str] = []
    groups: set[str | None] = set()  # the first two
    for item in items:
        if item.group is None and pattern is not None:
            item = find_group(item, pattern)
            if item.group is None:
                few += 1
                alone += [item.name][: MOST_TOLD - len(alone)]
        first = first or item.name
        if len(groups) < 2:
            groups.add(item.group)
        yield item
    if few and groups == {None}:
        raise DatasetError(
            f"expected --groups {pattern!r} to be a column of the table or to match names such "
            f"as {first}: it matches none. {_PATTERN}"
        )
    if len(groups) == 1:
        raise DatasetError(f"expected two groups or more, found one: {groups.pop()!r}. {_PATTERN}")
    if few:
        warn(f"{few} images are in no group, each by itself: {list_first(alone)}")


def find_group(item: Item, pattern: str) -> Item:
    """The image in the group that the pattern finds in its name, if it finds one.

    Raises DatasetError for what is no pattern.
    """
    compiled = _compile(pattern)
    match = compiled.search(item.name)
    return change_item(item, group=match.group(1 if compiled.groups else 0)) if match else item


@lru_cache(maxsize=8)
def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DatasetError(
            f"expected --groups to be a column of a table or a regular expression, "
            f"found {pattern!r}: {error}. {_PATTERN}"
        ) from None


def default_to_training(items: Some) -> Some:
    """The same images, in training those that were in no split."""
    split = list_column(items, "split")
    values = tuple(value or "train" for value in split.values)
    return change(items, "split", Column(values, split.codes))


def assign_sides(items: Some, fraction: float, seed: int) -> Some:
    """Put each image that has no split on the side that its own content says.

    An image's place is a number in 0..1 made of its bytes and the seed, and it is a validation
    image below `fraction`: no other image matters, so adding or moving files moves nobody else,
    and identical bytes stay together. Each class is divided by the same rule, so the shares are
    those asked for within chance (n images: fraction +- sqrt(f (1 - f) / n)). Only a class left
    with one side empty lends its nearest image to it, and gives it back once it has another.
    """
    ties, split = tie(items), list_column(items, "split")
    places = np.fromiter((_place(key, seed) for key in ties.list_keys()), np.float64, len(ties))
    held = places < fraction  # sets of images that stand or fall together
    free = np.array([value is None for value in split.values])[split.codes]
    labels = list_column(take(items, free), "labels")
    if all(len(value) == 1 for value in list_column(items, "labels").values):  # combinations are no
        _lend(held, places, _list_members(labels.codes, ties.numbers[free], held))  # classes
    elif free.any():  # of several classes an image only all together lend
        _lend(held, places, [np.unique(ties.numbers[free])])
    sides = tuple(dict.fromkeys(["train", "validation", *filter(None, split.values)]))
    given = np.array([sides.index(value or "train") for value in split.values])[split.codes]
    codes = np.where(free, held[ties.numbers], given)
    return change(items, "split", Column(sides, codes.astype(np.int32)))


def _list_members(codes: np.ndarray, numbers: np.ndarray, held: np.ndarray) -> list[np.ndarray]:
    """The numbers of the sets that each class has images in, of classes which may have to lend: all
    on one side, or with a set that such a class has too.
    """
    pairs = np.unique(codes.astype(np.int64) * len(held) + numbers)
    class_of, set_of = pairs // len(held), pairs % len(held)
    sides = np.zeros((int(codes.max(initial=-1)) + 1, 2), bool)
    sides[class_of, held[set_of].astype(int)] = True
    lending = np.logical_not(sides.all(axis=1))
    before = 0
    while lending.sum() > before:
        before = int(lending.sum())
        lending[class_of[np.isin(set_of, set_of[lending[class_of]])]] = True
    return [set_of[class_of == code] for code in np.flatnonzero(lending).tolist()]


def _lend(held: np.ndarray, places: np.ndarray, classes: Sequence[np.ndarray]) -> None:
    for members in classes:
        distinct = members[np.argsort(places[members])]
        if len(distinct) < 2:
            held[distinct[0]] = False
        elif not held[distinct].any():
            held[distinct[0]] = True
        elif held[distinct].all():
            held[distinct[-1]] = False
    for members in classes:  # a group may have been lent by several classes at once
        if held[members].all():
            held[members[places[members].argmax()]] = False


def _place(key: bytes, seed: int) -> float:
    digest = hashlib.blake2b(key + seed.to_bytes(8, "little"), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def check_testable(items: Sequence[Item]) -> None:
    """Raises DatasetError where no class has two images (of different groups, where there are
    any): nothing could be both learned and tested.
    """
    first: dict[str, str | bytes] = {}
    for item in items:
        own = item.content_hash if item.group is None else item.group
        if any(first.setdefault(name, own) != own for name in item.labels):
            return
    if list_column(items, "group").values != (None,):
        raise DatasetError(
            "expected images of two groups or more in a class, to learn from one and be tested on "
            "another, found one group a class. Type: --groups with a column or pattern that tells "
            "patients or cameras apart, not classes"
        )
    raise DatasetError(
        "expected two images or more of a class, to learn from one and be tested on another, found "
        "one of each. Add images"
    )


def find_unvalidated_classes(items: Sequence[Item], classes: tuple[str, ...]) -> list[str]:
    """Classes that cannot be measured, without a test split either."""
    training = _are_training(items)
    there = {
        name for labels in list_column(take(items, ~training), "labels").values for name in labels
    }
    lacking = [name for name in classes if name not in there]
    if not lacking or "test" in list_column(items, "split").values:
        return []
    labels, groups = list_column(items, "labels"), list_column(items, "group")
    of = [np.array([name in value for value in labels.values])[labels.codes] for name in lacking]
    alone = all(len(np.unique(groups.codes[mask])) == 1 for mask in of)
    why = ": all are in one group" if alone and groups.values != (None,) else ""
    few = "images" if groups.values == (None,) else "groups"
    return [f"too few {few} to validate: {', '.join(lacking)} (no validation image{why})"]


def find_leaks(items: Sequence[Item]) -> list[str]:
    """Warnings of images and groups that are on both sides of a given split."""
    training, contents = _are_training(items), list_contents(items)
    both = np.flatnonzero(~training)[np.isin(contents[~training], contents[training])]
    leaked = [item.name for item in take(items, both)]
    warnings = []
    if leaked:
        warnings.append(
            f"{len(leaked)} validation or test images are also training images, which flatters "
            f"the figures: {list_first(leaked)}"
        )
    known, held = (
        set(list_column(take(items, side), "group").values) for side in (training, ~training)
    )
    shared = sorted((known & held) - {None})
    if shared:
        warnings.append(
            f"{len(shared)} groups are on both sides of the given split, which flatters the "
            f"figures: {list_first(shared)}"
        )
    return warnings


def _are_training(items: Sequence[Item]) -> np.ndarray:
    """(N,) which of the images are trained on."""
    split = list_column(items, "split")
    training: np.ndarray = np.array([value == "train" for value in split.values])[split.codes]
    return training


SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
