"""A disk that is full too early: every size from 0.3 MB to what a training needs.

A tmpfs of that size holds the cache, the runs or both. `train` (with a linear, in every fourth try
a neural head) and `predict` end well or with one error that names the place and what to type; no
traceback, no signal, nothing half. With room made, the same command (or what its error says) ends
with the same bytes. The tmpfs is mounted in a namespace of the attack's own; where there is none
(not Linux, or not allowed) the attack is skipped.
"""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from shlex import split

import numpy as np
from _common import arguments, headstart, last_words, photos, report, traceback_in, workplace
from kills import NEURAL, content, leftovers

INSIDE = "HEADSTART_ATTACK_INSIDE"  # set once we are in the namespace
LEAST = 0.3  # MB
ROOM = 500  # MB, more than a training needs
HELD = ("cache", "runs", "both")
HEADS = {"linear": "--cut last --size 64", "neural": NEURAL}


@dataclass(frozen=True)
class Disk:
    """A tmpfs that may fill up, at `place`."""

    place: Path

    def mount(self, megabytes: float) -> None:
        self.place.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={_bytes(megabytes)}", "tmpfs", self.place)

    def resize(self, megabytes: float) -> None:
        _run("mount", "-o", f"remount,size={_bytes(megabytes)}", self.place)

    def unmount(self) -> None:
        _run("umount", self.place)


def main() -> None:
    asked, begun = arguments(__doc__, tried=20, kinds=list(HEADS)), time.perf_counter()
    if not os.environ.get(INSIDE):
        enter_namespace()
    rng = np.random.default_rng(asked.seed)
    fallen = []
    with workplace("full-disk") as place:
        images = asked.photos or photos(place / "photos", each=24)
        needed = {}
        for head in [asked.only] if asked.only else HEADS:
            whole = place / head
            env = {"HEADSTART_CACHE": f"{whole}-cache"}
            headstart("train", images, *split(HEADS[head]), "--out", whole, "--quiet", env=env)
            needed[head] = 1.3 * (_size(whole) + _size(Path(f"{whole}-cache")))
        for number in range(asked.tried):
            head = asked.only or ("neural" if number % 4 == 3 else "linear")
            share = (number + rng.random()) / asked.tried
            size = round(LEAST * (needed[head] / LEAST) ** share, 2)
            held = HELD[number % len(HELD)]
            disk = Disk(place / f"disk-{number}")
            disk.mount(size)
            try:
                here = place / str(number)
                wrong = attack(images, split(HEADS[head]), here, disk, held, place / head)
            finally:
                disk.unmount()
            if wrong:
                fallen.append(f"--seed {asked.seed}, {head} head, {size} MB for {held}: {wrong}")
    report("full_disk", asked.tried, fallen, begun)


def enter_namespace() -> None:
    """Go on as root of a namespace with mounts of its own, or report that there is none."""
    probe = "mount -t tmpfs -o size=1m tmpfs /mnt"
    try:
        subprocess.run(["unshare", "-rm", "sh", "-c", probe], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(json.dumps({"attack": "full_disk", "skipped": f"no mounts of its own: {error}"}))
        sys.exit()
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "-rm", sys.executable, *sys.argv])


def attack(images: Path, options: list[str], here: Path, disk: Disk, held: str, whole: Path) -> str:
    """Train and predict on a disk that is too small, then with room; what was wrong."""
    elsewhere = here / "elsewhere"
    elsewhere.mkdir(parents=True)
    cache = (elsewhere if held == "runs" else disk.place) / "cache"
    run = (elsewhere if held == "cache" else disk.place) / "run"
    env = {"HEADSTART_CACHE": str(cache)}
    typed = ["train", str(images), *options, "--out", str(run), "--quiet"]
    done = headstart(*typed, env=env)
    if fault := _judge(done, disk.place):
        return f"train: {fault}"
    if left := [p for folder in (run, cache) for p in folder.rglob("*") if p.name.endswith(".tmp")]:
        return f"left: {', '.join(str(path) for path in left[:5])}"
    if done.returncode == 0:
        predicted = headstart("predict", run, images, env=env)
        if fault := _judge(predicted, disk.place):
            return f"predict: {fault}"
    disk.resize(ROOM)
    if done.returncode:
        done = headstart(*typed, env=env)
        if named := re.search(r"headstart (train --resume \S+)", done.stderr):
            done = headstart(*split(named[1].rstrip(".")), env=env)
        if done.returncode:
            return f"with room: {last_words(done)}"
    ours, theirs = content(run), content(whole)
    other = sorted(
        name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
    )
    return f"other than with room: {', '.join(other)}" if other else leftovers(run, env)


def _judge(done: subprocess.CompletedProcess[str], place: Path) -> str:
    """What is wrong with how a command ended: well, or with one error that says where and what."""
    if done.returncode == 0 and not traceback_in(done.stderr):
        return ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode != 2 or len(errors) != 1 or traceback_in(done.stderr):
        return last_words(done, 400)
    if str(place) not in errors[0] or "ype" not in errors[0] or "No space left" not in errors[0]:
        return f"an error without place or advice: {errors[0]}"
    return ""


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)


def _bytes(megabytes: float) -> int:
    return int(megabytes * 1e6)


def _size(folder: Path) -> float:
    """Megabytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
