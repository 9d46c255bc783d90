"""What may lie among photos and is none: left out with its reason, never waited for or swallowed.

python bench/attack/odd_files.py: each odd thing among whole photos, then all at once: `train` and
`predict` end in time, within 2 GB, use the photos and name the reason. Prints one JSON line.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from _common import arguments, environment, photos, report, traceback_in, workplace

SECONDS = 60
MEMORY_KB = 2 * 2**20
PHOTOS = 3 * 6


def sparse(path: Path, size: int, start: bytes) -> None:
    """A file of so many bytes that takes no room."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)


def bind(path: Path) -> None:
    """A socket in the file system."""
    here = os.getcwd()
    os.chdir(path.parent)  # the whole path may be too long for one
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


def nest(path: Path) -> None:
    """Folders in each other until the system takes no longer path, a text in each."""
    here = path
    while len(str(here)) < 3800:
        here = here / ("deep" * 20)
        here.mkdir(parents=True)
        (here / "text.jpg").write_text("no image")


def many(path: Path) -> None:
    """A thousand empty files."""
    path.mkdir()
    for number in range(1000):
        (path / f"{number}.jpg").touch()


JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")
ODD: dict[str, Callable[[Path], object]] = {
    "pipe.jpg": os.mkfifo,
    "socket.jpg": bind,
    "zero.jpg": lambda path: path.symlink_to("/dev/zero"),
    "random.jpg": lambda path: path.symlink_to("/dev/random"),
    "kmsg.jpg": lambda path: path.symlink_to("/proc/kmsg"),
    "memory.jpg": lambda path: path.symlink_to("/proc/self/mem"),
    "pagemap.jpg": lambda path: path.symlink_to("/proc/self/pagemap"),
    "terminal.jpg": lambda path: path.symlink_to("/dev/tty"),
    "itself.jpg": lambda path: path.symlink_to(path.name),
    "nowhere.jpg": lambda path: path.symlink_to("nowhere"),
    "round": lambda path: path.symlink_to(".."),
    "three-gb.jpg": lambda path: sparse(path, 3 * 2**30, JPEG),
    "three-hundred-mb.jpg": lambda path: sparse(path, 300 * 2**20, JPEG),
    "three-hundred-mb.png": lambda path: sparse(path, 300 * 2**20, b"\x89PNG\r\n\x1a\n"),
    "terabyte.jpg": lambda path: sparse(path, 2**40, b""),
    "empty.jpg": lambda path: path.touch(),
    "folder.jpg": lambda path: path.mkdir(),
    "text.jpg": lambda path: path.write_text("no image"),
    "page.jpg": lambda path: path.write_text("<!DOCTYPE html><html></html>"),
    "\x1b]0;name\x07\x1b[2J.jpg": lambda path: path.touch(),
    "line\nend.jpg": lambda path: path.touch(),
    "right\u202egpj.jpg": lambda path: path.touch(),
    os.fsdecode(b"latin\xe9.jpg"): lambda path: path.touch(),
    "x" * 251 + ".jpg": lambda path: path.touch(),
    "locked.jpg": lambda path: (path.touch(), path.chmod(0)),
    "deep": nest,
    "thousand": many,
}
# Runs its arguments with so much memory, and tells how much it took.
LIMITED = f"""
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
sys.exit(99 if most > {MEMORY_KB} else done.returncode if done.returncode >= 0 else 98)
"""


def held(arguments: list[object], codes: tuple[int, ...], env: dict[str, str]) -> str:
    """Why a command did not hold; nothing if it did."""
    command = [sys.executable, "-c", LIMITED, sys.executable, "-m", "headstart"]
    try:
        done = subprocess.run(
            [*command, *map(str, arguments)], env=environment(env), capture_output=True,
            timeout=SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"more than {SECONDS} s"
    told = done.stderr.decode(errors="surrogateescape")
    if done.returncode not in codes:
        return f"exit {done.returncode}: {told[-150:]!r}"
    if traceback_in(told):
        return f"a traceback: {told[-150:]!r}"
    raw = [letter for letter in told + done.stdout.decode("utf-8", "surrogateescape")
           if letter in "\x1b\x07\u202e" or "\udc80" <= letter <= "\udcff"]  # fmt: skip
    return f"raw letters {raw[:3]}" if raw else ""


def main() -> None:
    asked, begun = arguments(__doc__, len(ODD) + 1), time.perf_counter()
    fallen, tried = [], 0
    with workplace("odd") as folder:
        env = {"HEADSTART_CACHE": str(folder / "cache")}
        cases = [*([name] for name in ODD), list(ODD)][-asked.tried :]
        run = folder / "run"
        whole = photos(folder / "whole", 3, 6)
        tried += 1
        if why := held(["train", whole, "--out", run, "-q"], (0,), env):
            fallen.append(f"whole photos: {why}")
        for number, names in enumerate(cases):
            source = photos(folder / str(number), 3, 6)
            place = next(path for path in sorted(source.iterdir()) if path.is_dir())
            for name in names:
                ODD[name](place / name)
            label = names[0] if len(names) == 1 else "all at once"
            out = folder / f"run-{number}"
            tried += 2
            if why := held(["train", source, "--cut", "last", "--out", out], (0,), env):
                fallen.append(f"train with {label!r}: {why}")
            else:
                images = json.loads((out / "run.json").read_text())["images"]
                if images["train"] + images["validation"] < PHOTOS:
                    fallen.append(f"train with {label!r}: photos lost: {images}")
            if why := held(["predict", run, source, "--format", "jsonl"], (0, 1), env):
                fallen.append(f"predict with {label!r}: {why}")
    report("odd_files", tried, fallen, begun)


if __name__ == "__main__":
    main()
