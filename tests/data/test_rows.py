"""Images as columns are what a list of them is, in a tenth of the memory."""

import random
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.data.dataset import arrange
from headstart.data.item import Item, content_hash, with_content
from headstart.data.rows import (
    CONTENT,
    Column,
    Rows,
    Table,
    Texts,
    change,
    index_names,
    list_column,
    take,
)  # fmt: skip
from headstart.data.ties import group_numbers


def draw(seed: int, count: int = 60) -> list[Item]:
    """Images, some of them copies, some in groups or on a side already."""
    rng = random.Random(seed)
    items = []
    for number in range(count):
        key = content_hash(b"%d" % rng.randrange(rng.choice([count // 2, 10 * count])))
        name, labels = f"é/{number}.jpg", (rng.choice("abc"),)
        split = rng.choice([None, "test"]) if seed % 3 == 1 else None
        group = rng.choice([None, "x", "y", "z", str(number)]) if seed % 3 == 2 else None
        key = key[:15] + b"\0" if number % 9 == 0 else key
        items.append(with_content(Item(Path("photos") / name, name, labels, split, group), key))
    return items


def to_rows(items: list[Item]) -> Rows:
    names = [item.name.encode() for item in items]
    columns = {field: list_column(items, field) for field in ("labels", "split", "group")}
    table = Table(
        Texts(b"".join(names), np.cumsum([len(name) for name in names])),
        np.array([item.content_hash for item in items], CONTENT), columns,
        Column.of("" for _ in items), Path("photos"), Path("nowhere"),
    )  # fmt: skip
    return Rows(table, np.arange(len(items)))


def same(rows: object, items: object) -> bool:
    rows, items = list(rows), list(items)  # type: ignore[call-overload]
    return rows == items and all(
        a.content_hash == b.content_hash for a, b in zip(rows, items, strict=True)
    )


@pytest.mark.parametrize("seed", range(12))
def test_they_are_divided_as_a_list_is(seed: int) -> None:
    items = draw(seed)
    options = {"validation_fraction": 0.2, "seed": seed}
    groups = r"(\d)\.jpg" if seed == 5 else None
    (one, other) = (
        arrange(given, Path("photos"), groups=groups, **options)  # type: ignore[arg-type]
        for given in (items, to_rows(items))
    )
    assert same(other.items, one.items)
    assert (other.classes, other.warnings) == (one.classes, one.warnings)
    assert other.fingerprint() == one.fingerprint()
    assert other.counts() == one.counts()
    for split in ("train", "validation", "test"):
        assert same(other.split(split), one.split(split))
    numbers, again = group_numbers(one.items), group_numbers(other.items)
    assert (numbers is None) == (again is None)
    assert numbers is None or (numbers == again).all()


def test_some_of_some() -> None:
    items = draw(2)
    rows = to_rows(items)
    some = take(take(rows, np.arange(60) % 2 == 0), np.array([3, 1]))
    assert same(some, [items[6], items[2]])
    assert rows[-1] == items[-1]
    assert list_column(some, "labels").values[0] == items[6].labels
    moved = change(some, "split", Column.of(["test", "train"]))
    assert [item.split for item in moved] == ["test", "train"]


def test_they_are_found_by_name() -> None:
    items = draw(2)
    rows = to_rows(items)
    places = index_names([rows[:50], rows[55:]])
    assert len(places) == 55
    assert places[items[7].name] == items[7]
    assert items[52].name not in places
    assert dict(places) == index_names([items[:50], items[55:]])
    nowhere = Rows(replace(rows.table, folder=None), rows.numbers)
    assert index_names([nowhere]) == {}


def test_an_image_takes_some_tens_of_bytes() -> None:
    """Divided too: at its peak well below what the name and the hash alone take as objects."""
    rows = to_rows(draw(0, 20_000))
    tracemalloc.start()
    dataset = arrange(rows, Path("photos"), validation_fraction=0.2, seed=0)
    assert dataset.fingerprint()
    assert group_numbers(dataset.split("train")) is not None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 * len(rows)
