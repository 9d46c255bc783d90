"""Which side of the split an image is on, and what would make the figures lie.

Where no validation images are given, an image's side depends on its own bytes (and the seed)
alone.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from headstart.data.item import Item, change_item, list_first, tie
from headstart.errors import DatasetError

MOST_TOLD = 6  # images in no group
_PATTERN = r"Type: --groups COLUMN, or a pattern such as --groups 'patient(\d+)'"


def assign_groups(items: Sequence[Item], pattern: str) -> tuple[list[Item], list[str]]:
    """Each image in its group: that of the table, or what the pattern finds in its name."""
    warnings: list[str] = []
    told = any(item.group is not None for item in items)  # by the table
    return list(stream_groups(items, None if told else pattern, warnings.append)), warnings


def stream_groups(
    items: Iterable[Item], pattern: str | None, warn: Callable[[str], None]
) -> Iterator[Item]:
    """The same for images without end, of which those that are in no group yet are put in one.

    pattern: None for none. Raises DatasetError after the last of them, if none is in a group, or
    all are in one.
    """
    compiled: re.Pattern[str] | None = None
    first, few = "", 0
    alone: list[str] = []
    groups: set[str | None] = set()  # the first two
    for item in items:
        if item.group is None and pattern is not None:
            compiled = compiled or _compile(pattern)
            match = compiled.search(item.name)
            if match:
                item = change_item(item, group=match.group(1 if compiled.groups else 0))
            else:
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


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DatasetError(
            f"expected --groups to be a column of a table or a regular expression, "
            f"found {pattern!r}: {error}. {_PATTERN}"
        ) from None


def default_to_training(item: Item) -> Item:
    """The same item, in training if it was in no split."""
    return item if item.split else change_item(item, split="train")


def assign_sides(items: Sequence[Item], fraction: float, seed: int) -> list[Item]:
    """Put each image that has no split on the side that its own content says.

    An image's place is a number in 0..1 made of its bytes and the seed, and it is a validation
    image below `fraction`: no other image matters, so adding or moving files moves nobody else,
    and identical bytes stay together. Each class is divided by the same rule, so the shares are
    those asked for within chance (n images: fraction +- sqrt(f (1 - f) / n)). Only a class left
    with one side empty lends its nearest image to it, and gives it back once it has another.
    """
    keys = tie(items)
    places = {key: _place(key, seed) for key in keys}
    sides = {key: "validation" if place < fraction else "train" for key, place in places.items()}
    by_class: dict[str, set[bytes]] = defaultdict(set)
    for item, key in zip(items, keys, strict=True):
        if item.split is None:
            by_class[item.label].add(key)
    if any(len(item.labels) != 1 for item in items):  # combinations of classes are no classes
        by_class = {}
    for members in by_class.values():
        distinct = sorted(members, key=lambda key: places[key])
        if len(distinct) < 2:
            sides[distinct[0]] = "train"
        elif all(sides[key] == "train" for key in distinct):
            sides[distinct[0]] = "validation"
        elif all(sides[key] == "validation" for key in distinct):
            sides[distinct[-1]] = "train"
    for members in by_class.values():  # a group may have been lent by several classes at once
        if all(sides[key] == "validation" for key in members):
            sides[max(members, key=lambda key: places[key])] = "train"
    return [
        item if item.split else change_item(item, split=sides[key])
        for item, key in zip(items, keys, strict=True)
    ]


def _place(key: bytes, seed: int) -> float:
    digest = hashlib.blake2b(key + seed.to_bytes(8, "little"), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def check_testable(items: Sequence[Item]) -> None:
    """Raises DatasetError where no class has two images (of different groups, where there are
    any): nothing could be both learned and tested.
    """
    members: dict[str, set[str | bytes]] = defaultdict(set)
    for item in items:
        for name in item.labels:
            members[name].add(item.content_hash if item.group is None else item.group)
    if any(len(keys) > 1 for keys in members.values()):
        return
    if any(item.group is not None for item in items):
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
    held = [item for item in items if item.split != "train"]
    counts = Counter(name for item in held for name in item.labels)
    lacking = [name for name in classes if not counts[name]]
    if not lacking or any(item.split == "test" for item in items):
        return []
    groups = any(item.group is not None for item in items)
    few, why = ("groups", ": all are in one group") if groups else ("images", "")
    return [f"too few {few} to validate: {', '.join(lacking)} (no validation image{why})"]


def find_leaks(items: Sequence[Item]) -> list[str]:
    """Warnings of images and groups that are on both sides of a given split."""
    training = {item.content_hash for item in items if item.split == "train"}
    leaked = [i.name for i in items if i.split != "train" and i.content_hash in training]
    warnings = []
    if leaked:
        warnings.append(
            f"{len(leaked)} validation or test images are also training images, which flatters "
            f"the figures: {list_first(leaked)}"
        )
    known = {item.group for item in items if item.split == "train" and item.group is not None}
    shared = sorted({i.group or "" for i in items if i.split != "train" and i.group in known})
    if shared:
        warnings.append(
            f"{len(shared)} groups are on both sides of the given split, which flatters the "
            f"figures: {list_first(shared)}"
        )
    return warnings


SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
