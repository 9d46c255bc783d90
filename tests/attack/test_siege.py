"""Small sieges: what bench/attack does at length, tried a few times."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ATTACKS = Path(__file__).parents[2] / "bench" / "attack"


def attack(name: str, *args: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, ATTACKS / f"{name}.py", *args], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.count("\n") == 1, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("kills", ["--tried", "2", "--only", "quick"]),
        ("company", ["--tried", "1", "--only", "cache"]),
        ("full_disk", ["--tried", "2", "--only", "linear"]),
    ],
)
def test_nothing_falls(name: str, args: list[str]) -> None:
    code, line = attack(name, *args)
    if "skipped" in line:
        pytest.skip(line["skipped"])
    assert line["fallen"] == []
    assert (code, line["attack"], line["tried"]) == (0, name, int(args[1]))
    assert line["held"] == line["tried"]


def test_what_falls_is_counted_and_ends_with_1() -> None:
    script = "from _common import report; report('a', 30, [str(n) for n in range(25)], 0)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ATTACKS, capture_output=True, text=True
    )
    line = json.loads(done.stdout)
    assert (done.returncode, line["held"], len(line["fallen"])) == (1, 5, 20)
