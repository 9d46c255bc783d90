"""Trainings killed at any moment end, typed again, with the bytes of one that was not.

Four kinds, each on a cold cache: quick, with a search for the cut, with a neural head, with
fine-tuning that pays. Half of them are killed at a time drawn between start and end, by SIGKILL,
SIGTERM or SIGINT, half before a drawn change of a file (see _dies.py). Then the same command is
typed again, or what its error says to type. The run must be equal but for run.json and its page,
the run and the cache without leftovers, the cache whole.
"""

import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from shlex import split
from subprocess import CompletedProcess

import numpy as np
from _common import (
    arguments,
    end,
    finish,
    headstart,
    last_words,
    photos,
    report,
    start,
    traceback_in,
    workplace,
)
from PIL import Image, ImageDraw

DIES = Path(__file__).with_name("_dies.py")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# How a killed one may end: done already, as a shell expects of Ctrl-C, by the signal. On Ctrl-C
# before it runs and after its end Python itself prints a traceback.
ENDS = (0, 130, *(-number for number in SIGNALS))
TWICE = 0.25  # share that is killed once more
DAY = 86400
# Seconds and cache counts; times in a zip; when it was trained and how long it took.
UNEQUAL = ("run.json", "model.keras", "report.html")
DRAWN = "charts"  # with the page, once the run is whole: `headstart report` makes both again
SECONDS = "history.csv"  # in whose last column
BESIDES = ("started.json", "checkpoint.safetensors", "best.safetensors", "stages", "folds")
# A cheap kind is tried more often.
ORDER = ("quick", "search", "neural", "quick", "search", "finetune")
NEURAL = """--recipe classic --backbone efficientnet_lite0 --cut block5b_add --size 64
--set normalisation=backbone --set epochs=6 --set patience=3 --set 'layers=["dense 32 relu"]'"""
TUNING = """--boundary block6a_project_bn --epochs 3 --set views=1 --set batch_size=8
--set tune_learning_rate=3e-3"""


@dataclass
class Kind:
    """One kind of training. args: without --out. steered: whether Ctrl-C ends only what it
    measures and it goes on with the best so far. seconds, changes, whole: of one not killed.
    """

    args: list[str]
    steered: bool = False
    seconds: float = 0.0
    changes: int = 0
    whole: dict[str, bytes] | None = None


def main() -> None:
    asked, begun = arguments(__doc__, tried=16, kinds=sorted(set(ORDER))), time.perf_counter()
    rng = np.random.default_rng(asked.seed)
    order = (asked.only,) if asked.only else ORDER
    fallen = []
    with workplace("kills") as place:
        images = asked.photos or photos(place / "photos", each=40)
        kinds = prepare(place, images, order[: asked.tried])
        for number in range(asked.tried):
            name = order[number % len(order)]
            if wrong := attack(kinds[name], place / f"{number}", rng, number % 4 < 2):
                fallen.append(f"--seed {asked.seed}, number {number}, {name}: {wrong}")
    report("kills", asked.tried, fallen, begun)


def prepare(place: Path, images: Path, names: tuple[str, ...]) -> dict[str, Kind]:
    """Every kind of training, done once without being killed."""
    kinds = {
        "quick": Kind(["train", str(images), *split("--cut last --size 64")]),
        "search": Kind(["train", str(images), *split("--size 64 --budget 10m")], steered=True),
        "neural": Kind(["train", str(images), *split(NEURAL)]),
        "finetune": Kind(["finetune", str(place / "linear"), *split(TUNING)], steered=True),
    }
    kinds = {name: kind for name, kind in kinds.items() if name in names}
    if "finetune" in kinds:
        linear = ["train", str(letters(place / "letters")), *split("--cut block6d_add --size 64")]
        headstart(*linear, "--out", place / "linear", env=cache_of(place / "linear"))
    for name, kind in kinds.items():
        out = place / f"whole-{name}"
        started = time.perf_counter()
        done = train(typed(kind, out), cache_of(out), dies=0)
        kind.seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(f"{name}: {last_words(done)}")
        kind.changes = int(done.stderr.splitlines()[-1])
        kind.whole = content(out)
    return kinds


def attack(kind: Kind, out: Path, rng: np.random.Generator, timed: bool) -> str:
    """Kill a training once or twice and end it; what was wrong, empty if nothing was."""
    env, how = cache_of(out), []
    for _ in range(1 + (rng.random() < TWICE)):
        begun = any((out / name).is_file() for name in ("started.json", "run.json"))
        words = ["train", "--resume", str(out)] if begun else typed(kind, out)
        if timed:
            number, after = SIGNALS[rng.integers(len(SIGNALS))], rng.uniform(0, kind.seconds)
            if number == signal.SIGINT and kind.steered:
                number = signal.SIGTERM
            how.append(f"{number.name} after {after:.2f} s")
            child = start(*words, env=env)
            time.sleep(after)
            end(child, number)
            done = finish(child, 60)
        else:
            change = int(rng.integers(1, kind.changes + 1))
            how.append(f"killed before change {change}")
            done = train(words, env, dies=change)
        if done.returncode not in ENDS or ("SIGINT" not in how[-1] and traceback_in(done.stderr)):
            return f"{' and '.join(how)}: {last_words(done)}"
    wrong = go_on(kind, out, env) or leftovers(out, env)
    return wrong and f"{' and '.join(how)}: {wrong}"


def go_on(kind: Kind, out: Path, env: dict[str, str]) -> str:
    """Type the same command, or what its error says, until it ends; compare the run."""
    if (out / "run.json").is_file():  # killed after its end, or nearly
        done = headstart("train", "--resume", out, env=env)
    else:
        done = headstart(*typed(kind, out), env=env)
    if done.returncode == 2 and (
        named := re.search(r"headstart (train --resume \S+)", done.stderr)
    ):
        done = headstart(*split(named[1].rstrip(".")), env=env)
    if done.returncode or traceback_in(done.stderr):
        return f"typed again: {last_words(done)}"
    ours, whole = content(out), kind.whole or {}
    other = sorted(name for name in ours.keys() | whole.keys() if ours.get(name) != whole.get(name))
    return f"other than unbroken: {', '.join(other)}" if other else ""


def leftovers(out: Path, env: dict[str, str]) -> str:
    """What is left that should not be, in the run and in the cache."""
    left = [
        str(p.relative_to(out)) for p in out.rglob("*") if p.name[0] == "." or p.name in BESIDES
    ]
    if left:
        return f"left in the run: {', '.join(left)}"
    cache = Path(env["HEADSTART_CACHE"])
    long_ago = time.time() - 3 * DAY
    for path in cache.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    for args in (["cache", "verify"], ["cache", "prune", "--older-than", "1000"]):
        if (done := headstart(*args, env=env)).returncode:
            return f"{' '.join(args)}: {last_words(done)}"
    left = [str(p.relative_to(cache)) for p in cache.rglob(".*")]
    return f"left in the cache by a later prune: {', '.join(left[:5])}" if left else ""


def train(words: list[str], env: dict[str, str], dies: int) -> CompletedProcess[str]:
    """The command in a process that dies before the numbered change of a file, 0: does not."""
    return finish(start(*words, env=env, program=[str(DIES), str(dies)]), 300)


def typed(kind: Kind, out: Path) -> list[str]:
    return [*kind.args, "--out", str(out), "--quiet"]


def cache_of(out: Path) -> dict[str, str]:
    return {"HEADSTART_CACHE": f"{out}-cache"}


def content(run: Path) -> dict[str, bytes]:
    """The bytes of every file of a run that two equal ones share."""
    files = sorted(
        path for path in run.rglob("*")
        if path.is_file() and path.name not in UNEQUAL and path.parent.name != DRAWN
    )  # fmt: skip
    found = {str(path.relative_to(run)): path.read_bytes() for path in files}
    if SECONDS in found:
        found[SECONDS] = re.sub(b",[^,\n]*\n", b"\n", found[SECONDS])
    return found


def letters(folder: Path) -> Path:
    """200 pictures, of an L or its mirror image in any colour, on which fine-tuning pays."""
    rng = np.random.default_rng(0)
    outline = np.array([(-14, -20), (-4, -20), (-4, 10), (14, 10), (14, 20), (-14, 20)], float)
    for index in range(200):
        side = index % 2
        target = folder / ("l", "mirrored")[side] / f"{index}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        angle = rng.uniform(-0.6, 0.6)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        corners = outline * ((-1, 1) if side else (1, 1)) @ turn + 32 + rng.uniform(-5, 5, 2)
        image = Image.new("RGB", (64, 64), (128, 128, 128))
        colour = tuple(rng.integers(0, 256, 3).tolist())
        ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners], fill=colour)
        noisy = np.asarray(image) + rng.normal(0, 30, (64, 64, 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(target)
    return folder


if __name__ == "__main__":
    main()
