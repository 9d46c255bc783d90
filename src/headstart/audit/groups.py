"""Groups that the file names suggest: bursts, patients, cameras.

What stands before the last number of a name is perhaps a group. It is one if images that share it
are more often each other's nearest than images of one class are by chance.
Letters: N images.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from headstart.audit.findings import Finding
from headstart.data.item import Item, list_first

# How names tell groups, as --groups takes it; the group is the first bracket.
PATTERNS = (
    r"((?:patient|subject|person|case|cam|camera|burst|clip|video|scene|series)[-_ ]?[0-9a-z]+)",
    r"([^/]+)[-_ .][0-9]+\.[^./]+$",
    r"([^/]+)[-_ .][a-zA-Z]\.[^./]+$",
)
LEAST = 5  # groups, and images in more than one split
OFTEN = 5  # times as often as by chance


def find_groups(items: Sequence[Item], near: np.ndarray) -> list[Finding]:
    """The first pattern that tells groups which are on both sides of the split. near: (N, K)
    numbers of each image's nearest. None where groups were given.
    """
    if any(item.group is not None for item in items):
        return []
    for pattern in PATTERNS:
        found = _judge(items, near[:, 0], pattern)
        if found is not None:
            return [found]
    return []


def _judge(items: Sequence[Item], nearest: np.ndarray, pattern: str) -> Finding | None:
    compiled = re.compile(pattern, re.IGNORECASE)
    matches = [compiled.search(item.name) for item in items]
    names = [match.group(1) if match else f"/{i}" for i, match in enumerate(matches)]
    sizes = Counter(names)
    shared = [name for name in sizes if sizes[name] > 1]
    if len(shared) < LEAST or sum(sizes[name] for name in shared) < len(items) / 2:
        return None
    sides: dict[str, set[str | None]] = {}
    for item, name in zip(items, names, strict=True):
        sides.setdefault(name, set()).add(item.split)
    split = [name for name in shared if "train" in sides[name] and len(sides[name]) > 1]
    if len(split) < LEAST:
        return None
    numbers = np.unique(names, return_inverse=True)[1]
    labels = np.unique([item.label for item in items], return_inverse=True)[1]
    together = float((numbers[nearest] == numbers).mean())
    chance = _expect(numbers, labels)
    if together < OFTEN * chance or together < 2 / np.sqrt(len(items)) + chance:
        return None
    return Finding(
        "groups", "warning", (), together / max(chance, 1e-9),
        f"{len(shared):,} names such as {list_first(shared, 3)} are shared by several images, "
        f"{len(split):,} of them on both sides of the split; the nearest image has the same name "
        f"in {together:.0%}, by chance in {chance:.0%}",
        f"if these belong together (a burst, a patient), type --groups '(?i){pattern}'",
        {"pattern": f"(?i){pattern}", "groups": len(shared), "on_both_sides": len(split)},
    )  # fmt: skip


def _expect(numbers: np.ndarray, labels: np.ndarray) -> float:
    """How often another image of the class is in the same group."""
    pairs, same = 0, 0
    for label in np.unique(labels):
        counts = np.bincount(numbers[labels == label])
        count = int(counts.sum())
        pairs += count * (count - 1)
        same += int((counts * (counts - 1)).sum())
    return same / max(pairs, 1)
