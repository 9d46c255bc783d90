"""Spaces of the feature cache with values known everywhere, and processes that use them."""

import subprocess
import sys
from pathlib import Path

from headstart.features.cache import FeatureCache, Space

WIDTH = 5000
# What every child process begins with: value(i) is known to all of them.
PRELUDE = """
import sys, time, zlib
from pathlib import Path
from headstart.features.cache import FeatureCache
from headstart.errors import CacheError
folder = Path(sys.argv[1])
key = lambda i: b"%024d" % i
value = lambda i: (b"%08d" % i) * 625
"""


def key(i: int) -> bytes:
    return b"%024d" % i


def value(i: int) -> bytes:
    return (b"%08d" % i) * (WIDTH // 8)


def some(*numbers: int) -> dict[bytes, bytes]:
    return {key(i): value(i) for i in numbers}


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


def open_space(folder: Path, name: str = "abc") -> Space:
    return FeatureCache(folder).space(name, {"backbone": "lite0"})
