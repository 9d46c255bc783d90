"""Groups that the file names suggest are told if the images bear them out."""

from pathlib import Path

import numpy as np

from headstart.audit.groups import find_groups
from headstart.data.item import Item


def named(names: list[str]) -> list[Item]:
    """Images of two classes, every fourth one to validate on."""
    return [
        Item(Path(name), name, ("ab"[i // 4 % 2],), "validation" if i % 4 == 3 else "train")
        for i, name in enumerate(names)
    ]


BURSTS = [f"burst{i // 4}/{i}.jpg" for i in range(80)]
NEXT = np.array([[i ^ 1] for i in range(80)])  # the nearest is of the same four
CHANCE = np.random.default_rng(0).permutation(80)[:, None]


def test_bursts_on_both_sides_are_told_with_their_pattern() -> None:
    (found,) = find_groups(named(BURSTS), NEXT)
    assert found.details["groups"] == found.details["on_both_sides"] == 20
    assert "--groups" in found.advice
    (found,) = find_groups(named([f"walk-{i // 4}_{i}.jpg" for i in range(80)]), NEXT)
    assert "walk-0, walk-1, walk-2" in found.evidence


def test_names_alone_are_no_groups() -> None:
    assert find_groups(named(BURSTS), CHANCE) == []
    assert find_groups(named([f"{i}.jpg" for i in range(80)]), NEXT) == []
    whole = [Item(item.path, item.name, item.labels, "train") for item in named(BURSTS)]
    assert find_groups(whole, NEXT) == []


def test_given_groups_are_not_asked_for_again() -> None:
    items = [Item(i.path, i.name, i.labels, i.split, "given") for i in named(BURSTS)]
    assert find_groups(items, NEXT) == []
