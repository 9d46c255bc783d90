"""A sample of a source: of every class, whatever the order, and never of what is for validation."""

from pathlib import Path
from random import Random

import pytest

from headstart.data.item import Held, Item
from headstart.data.sample import draw_sample

RARE, COMMON = 3, 200


def images(split: str | None = None) -> list[Item]:
    names = [("rare", n) for n in range(RARE)] + [("common", n) for n in range(COMMON)]
    return [Item(Path(f"{n}.jpg"), f"{label}/{n}.jpg", (label,), split) for label, n in names]


def names(items: list[Item], most: int, folder: Path) -> list[str]:
    return [item.name for item in draw_sample(items, most, folder).items]


def test_the_order_does_not_matter_and_every_class_has_some(tmp_path: Path) -> None:
    drawn = names(images(), 20, tmp_path)
    assert sum(name.startswith("rare") for name in drawn) == RARE
    assert len(drawn) == RARE + 10
    for seed in range(3):
        mixed = images()
        Random(seed).shuffle(mixed)
        assert names(mixed, 20, tmp_path) == drawn
    fewer = [item for item in images() if item.name in drawn or item.name.endswith("0.jpg")]
    assert names(fewer, 20, tmp_path) == drawn  # others do not matter


def test_a_small_source_is_its_own_sample(tmp_path: Path) -> None:
    assert sorted(names(images(), 1000, tmp_path)) == sorted(item.name for item in images())


def test_of_more_classes_than_images_some(tmp_path: Path) -> None:
    many = [Item(Path("x"), str(n), (f"class {n}",)) for n in range(50)]
    assert len(names(many, 20, tmp_path)) == 20


@pytest.mark.parametrize("side", ["validation", "test"])
def test_validation_and_test_images_choose_nothing(side: str, tmp_path: Path) -> None:
    held_out = [Item(Path("v"), f"v/{n}.jpg", ("rare",), side) for n in range(9)]
    sample = draw_sample([*images(), *held_out], 20, tmp_path)
    assert not any(item.name.startswith("v/") for item in sample.items)
    assert sample.divided is (side == "validation")
    assert {item.split for item in sample.items} == {"train" if sample.divided else None}


def test_bytes_without_a_place_get_one(tmp_path: Path) -> None:
    held = [
        Held(Path("elsewhere"), item.name, item.labels, data=item.name.encode())
        for item in images()
    ]
    held.append(Held(Path("elsewhere"), "gone.jpg", ("gone",), data=None))
    sample = draw_sample(iter(held), 30, tmp_path)
    there = [item for item in sample.items if item.name != "gone.jpg"]
    assert len(there) == len(sample.items) - 1 == RARE + 10
    assert all(item.read() == item.name.encode() for item in there)
    assert len(list(tmp_path.iterdir())) == len(there)  # what was drawn and lost its place is gone
