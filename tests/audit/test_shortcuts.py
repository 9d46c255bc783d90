"""Shortcuts: a property that gives the class away is named, and no other."""

from pathlib import Path

import numpy as np
import pytest

from headstart.audit.pixels import NUMBERS, THUMB, Looks
from headstart.audit.shortcuts import find_shortcuts
from headstart.data.item import Item
from headstart.metrics.task import MultiLabel, SingleLabel, Task

COUNT = 300


def made_up(**columns: np.ndarray) -> tuple[list[Item], Looks]:
    """Images that differ at random, but for the columns given."""
    rng = np.random.default_rng(0)
    numbers = rng.uniform(0.2, 0.8, (COUNT, len(NUMBERS))).astype(np.float32)
    for name in ("format", "camera", "height", "width"):
        numbers[:, NUMBERS.index(name)] = 100
    for name, values in columns.items():
        numbers[:, NUMBERS.index(name)] = values
    items = [Item(Path(f"{i}.jpg"), f"{i}.jpg") for i in rng.permutation(COUNT).tolist()]
    return items, Looks(numbers, np.zeros((COUNT, THUMB, THUMB), np.uint8), np.ones(COUNT, bool))


TWO, TEN = SingleLabel(("ant", "bee")), SingleLabel(tuple("abcdefghij"))


@pytest.mark.parametrize(
    ("column", "name"),
    [("format", "format"), ("camera", "camera"), ("height", "size"), ("mean", "brightness"),
     ("border_red", "border"), ("sharpness", "blur"), ("top_blue", "ring")],
)  # fmt: skip
def test_what_gives_the_class_away_is_named(column: str, name: str) -> None:
    targets = np.arange(COUNT) % 2
    items, looks = made_up(**{column: 50.0 + targets})
    found = find_shortcuts(items, looks, TWO, targets)
    assert name in [finding.details["property"] for finding in found]
    details = found[0].details
    assert details["accuracy"] == pytest.approx(1, abs=0.02)
    assert details["majority"] == 0.5
    assert details["interval"][0] > 0.9


def test_the_file_names_can_tell() -> None:
    items = [Item(Path(f"IMG_{i}.jpg"), "") for i in range(COUNT)]
    targets = (np.arange(COUNT) >= COUNT // 2) * 1
    (found,) = find_shortcuts(items, made_up()[1], TWO, targets)
    assert found.details["property"] == "order"
    rows = [Item(Path(f"photos.parquet#{i}.jpg"), "") for i in range(COUNT)]
    assert not find_shortcuts(rows, made_up()[1], TWO, targets)  # numbers that we gave them


def test_one_class_of_ten_is_enough() -> None:
    targets = np.arange(COUNT) % 10
    items, looks = made_up(format=(targets == 3) * 1.0)
    (found,) = find_shortcuts(items, looks, TEN, targets)
    assert found.details["class"] == "d"
    assert found.details["majority"] == pytest.approx(0.9)
    assert "whether it is d" in found.evidence


def test_of_several_classes_each_may_be_given_away() -> None:
    targets = np.random.default_rng(1).integers(0, 2, (COUNT, 3)).astype(np.float32)
    items, looks = made_up(format=targets[:, 1])
    (found,) = find_shortcuts(items, looks, MultiLabel(("a", "b", "c")), targets)
    assert found.details["class"] == "b"


@pytest.mark.parametrize("task", [TWO, TEN])
def test_chance_is_no_shortcut(task: Task) -> None:
    items, looks = made_up()
    assert find_shortcuts(items, looks, task, np.arange(COUNT) % len(task.classes)) == []
