"""Spaces of the feature cache with vectors known everywhere, and processes that use them."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from headstart.features import cache
from headstart.features.cache import Space

WIDTH = 1250  # numbers of a vector
CANARY = np.arange(3, dtype=np.float32)
# What every child process begins with: vectors(...) are known to all of them.
PRELUDE = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from spaces import *
from headstart.errors import CacheError
folder = Path(sys.argv[1])
"""


def key(i: int) -> bytes:
    return b"%024d" % i


def vectors(*numbers: int) -> np.ndarray:
    """(N, WIDTH) float32, each unlike the others."""
    return np.array(numbers, np.float32)[:, None] + np.linspace(0, 0.5, WIDTH, dtype=np.float32)


def put(space: Space, *numbers: int) -> None:
    space.put([key(i) for i in numbers], vectors(*numbers))


def find(space: Space, numbers: Sequence[int]) -> list[int]:
    """Those of the numbers whose vectors are kept; all kept ones must be right."""
    rows = np.full((len(numbers), WIDTH), -1, np.float32)
    found = space.get_into([key(i) for i in numbers], rows)
    assert np.array_equal(rows[found], vectors(*numbers)[found])
    return [i for i, there in zip(numbers, found, strict=True) if there]


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PRELUDE + code, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def run(code: str, *arguments: object) -> str:
    process = start(code, *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (process.returncode, err)
    return out


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def refuse(text: str) -> None:
    raise AssertionError(text)


def open_space(
    folder: Path,
    name: str = "abc",
    canary: np.ndarray = CANARY,
    warn: Callable[[str], None] = refuse,
) -> Space:
    return cache.open_space(name, {"backbone": "lite0"}, canary, warn, folder)
