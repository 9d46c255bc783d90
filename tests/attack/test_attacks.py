"""A small share of each attack: what holds against many must hold against few."""

import json
import subprocess
import sys
from pathlib import Path

import images
import numpy as np
import pytest
import tables

ATTACKS = Path(images.__file__).parent


@pytest.mark.parametrize(
    ("name", "options"), [("images", ["--tried", "700"]), ("tables", ["--tried", "90"]),
                          ("changed", ["--tried", "2", "--seed", "7"]),
                          ("serving", ["--tried", "80"])]
)  # fmt: skip
def test_nothing_falls(name: str, options: list[str]) -> None:
    command = [sys.executable, str(ATTACKS / f"{name}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    answer = json.loads(done.stdout)
    assert answer["fallen"] == [], done.stderr
    assert answer["held"] == answer["tried"] > 1
    assert done.returncode == 0


def test_a_damaged_image_is_made_of_its_number_alone() -> None:
    originals = images.make_originals()
    assert len(originals) > 25
    name, data = images.make(17, 3, originals)
    assert images.make(17, 3, originals) == (name, data)
    assert data != originals[name]
    assert images.make(18, 3, originals)[1] != data


def test_tables_by_hand_are_many_and_unlike() -> None:
    made = tables.by_hand(["a/1.jpg", "b/2.jpg"])
    assert len(made) > 105
    assert len({content for _, content in made}) > 100


def test_damage_changes_an_image_nearly_always() -> None:
    data = bytes(range(256)) * 4
    harmed = [images.damage(data, [data], np.random.default_rng(n)) for n in range(100)]
    assert sum(each != data for each in harmed) > 90
