"""What the attacks share: photos, headstart as a child process, the line of results.

An attack is run as `python bench/attack/NAME.py [--tried N] [--seed S] [--photos DIR]`. It draws
everything from its seed, works in a folder of its own, and prints one JSON line.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image, ImageDraw

MOST_TOLD = 20
SOURCE = Path(__file__).resolve().parents[2] / "src"
CORNERS = (3, 4, 5, 6, 8)  # of a class's shape


def arguments(description: str | None, tried: int, kinds: Sequence[str] = ()) -> argparse.Namespace:
    """The command line of an attack: `tried`, `seed` and `photos`, a folder or None; where there
    are several kinds of tries, `only`: one of them, or None.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--tried", type=int, default=tried, help=f"how many (default {tried})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=Path, help="a folder of labelled images; default: drawn")
    if kinds:
        parser.add_argument("--only", choices=kinds, help="of all kinds this one alone")
    return parser.parse_args()


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """A folder of the attack's own, removed at the end."""
    with tempfile.TemporaryDirectory(prefix=f"attack-{name}-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def photos(folder: Path, classes: int = 3, each: int = 16, seed: int = 0) -> Path:
    """Draw a labelled set into `folder`, which is given back: a folder a class, JPEGs of 64-96 px.

    A class is a polygon of 3, 4, 5, 6 or 8 corners in any colour, size and place under noise, so
    that a classifier learns something and not everything.
    """
    rng = np.random.default_rng(seed)
    for number in range(classes):
        corners = CORNERS[number]
        target = folder / f"shape{corners}"
        target.mkdir(parents=True, exist_ok=True)
        for index in range(each):
            width, height = (int(side) for side in rng.integers(64, 97, 2))
            image = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3).tolist()))
            middle = (width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6))
            circle = (*middle, rng.uniform(0.2, 0.35) * min(width, height))
            colour = tuple(rng.integers(0, 256, 3).tolist())
            ImageDraw.Draw(image).regular_polygon(circle, corners, rng.uniform(0, 360), fill=colour)
            noisy = np.asarray(image) + rng.normal(0, 25, (height, width, 3))
            pixels = np.clip(noisy, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(target / f"{index:03}.jpg", quality=90)
    return folder


HEADSTART = ("-m", "headstart")


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's environment: ours, this checkout's source first, and `env`."""
    paths = [str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(env or {})}


def start(
    *args: object, env: Mapping[str, str] | None = None, program: Sequence[str] = HEADSTART
) -> subprocess.Popen[str]:
    """`headstart ARGS` in a session of its own, so that `end` reaches its children.

    program: what Python runs in its place.
    """
    return subprocess.Popen(
        [sys.executable, *program, *map(str, args)], env=environment(env),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip


def end(child: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    """Send a signal to the child and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def finish(child: subprocess.Popen[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Wait for a started child; one that runs out of time is killed, `returncode` "hangs"."""
    try:
        out, err = child.communicate(timeout=timeout)
        code: int | str = child.returncode
    except subprocess.TimeoutExpired:
        end(child)
        out, err = child.communicate()
        code = "hangs"
    return subprocess.CompletedProcess(child.args, code, out, err)  # type: ignore[arg-type]


def headstart(
    *args: object, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run `headstart ARGS`; `returncode` is "hangs" where it did not end in time."""
    return finish(start(*args, env=env), timeout)


def traceback_in(text: str) -> bool:
    """Whether a Python traceback, or a crash told by its fault handler, stands in the text."""
    return "Traceback (most recent call last)" in text or "Fatal Python error" in text


def last_words(done: subprocess.CompletedProcess[str], length: int = 160) -> str:
    """The exit code and the end of what was printed, for a line of `fallen`."""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return f"exit {done.returncode}: {lines[-1][-length:] if lines else '(silent)'}"


def report(name: str, tried: int, fallen: Sequence[str], begun: float) -> NoReturn:
    """Print the line of results and exit: 1 if anything fell. begun: of `time.perf_counter`."""
    line = {
        "attack": name, "tried": tried, "held": tried - len(fallen),
        "fallen": list(fallen[:MOST_TOLD]), "seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip
    print(json.dumps(line))
    sys.exit(bool(fallen))
