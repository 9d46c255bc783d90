"""Several at once: on one cold cache beside pruning, on one run's folder, with one name.

A round is four trainings and two predictions at once on a cache that is emptied, pruned by age and
verified beside them without pause; then one stopped run resumed twice at once; then two trainings
with one --out. Whatever ends well has the bytes of one that ran alone; of two on one folder one may
be refused, clearly.
"""

import time
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
from kills import NEURAL, content, leftovers

TRAININGS = 4
# Not the same cut for all, so that some share their extractor and some do not.
CUTS = ("last", "block6d_add", "last", "block5b_add")
BESIDE = ("cache prune --max-mb 0", "cache prune --older-than 0", "cache verify", "cache info")
LIMIT = 300  # seconds


def main() -> None:
    asked, begun = (
        arguments(__doc__, tried=2, kinds=["cache", "resume", "name"]),
        time.perf_counter(),
    )
    rng = np.random.default_rng(asked.seed)
    fallen = []
    with workplace("company") as place:
        images = asked.photos or photos(place / "photos", each=24)
        alone = {"HEADSTART_CACHE": str(place / "alone-cache")}
        for cut in set(CUTS):
            headstart(*train(images, cut, place / f"alone-{cut}"), env=alone)
        if asked.only in (None, "resume"):
            headstart("train", images, *split(NEURAL), "--out", place / "neural", env=alone)
        rows = headstart("predict", place / "alone-last", images, "--format", "csv", env=alone)
        for number in range(asked.tried):
            env = {"HEADSTART_CACHE": str(place / f"cache-{number}")}
            here = place / str(number)
            here.mkdir()
            wrong = []
            if asked.only in (None, "cache"):
                wrong += share_cache(images, place, here, env, rows.stdout)
            if asked.only in (None, "resume"):
                wrong += resume_twice(images, place, here, env, rng)
            if asked.only in (None, "name"):
                wrong += take_one_name(images, place, here, env)
            if wrong:
                fallen.append(f"--seed {asked.seed}, round {number}: {'; '.join(wrong)}")
    report("company", asked.tried, fallen, begun)


def share_cache(images: Path, place: Path, here: Path, env: dict[str, str], rows: str) -> list[str]:
    """Four trainings and two predictions beside all that removes and reads."""
    runs = [here / f"run-{number}" for number in range(TRAININGS)]
    trainings = [
        start(*train(images, cut, run), env=env) for cut, run in zip(CUTS, runs, strict=True)
    ]
    words = ("predict", place / "alone-last", images, "--format", "csv")
    predictions = [start(*words, env=env) for _ in range(2)]
    wrong = []
    while any(child.poll() is None for child in trainings):
        besides = [start(*split(line), env=env) for line in BESIDE]
        for line, child in zip(BESIDE, besides, strict=True):
            done = finish(child, LIMIT)
            if done.returncode or traceback_in(done.stderr):
                wrong.append(f"{line}: {last_words(done)}")
    for number, child in enumerate(trainings):
        if fault := differs(finish(child, LIMIT), runs[number], place / f"alone-{CUTS[number]}"):
            wrong.append(f"training {number}: {fault}")
        elif left := leftovers(runs[number], env):
            wrong.append(left)
    for child in predictions:
        done = finish(child, LIMIT)
        if done.returncode or done.stdout != rows:
            wrong.append(f"predict: {last_words(done)}")
    return wrong


def resume_twice(
    images: Path, place: Path, here: Path, env: dict[str, str], rng: np.random.Generator
) -> list[str]:
    """A neural head, killed once the run is named, and resumed by two at once."""
    run = here / "neural"
    child = start("train", images, *split(NEURAL), "--out", run, env=env)
    patience = time.monotonic() + LIMIT
    while not (run / "started.json").exists() and time.monotonic() < patience:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 1))
    end(child)
    finish(child, LIMIT)
    return judge("resume", "train --resume", run, place / "neural", env, (), rng.uniform(0, 0.3))


def take_one_name(images: Path, place: Path, here: Path, env: dict[str, str]) -> list[str]:
    """Two trainings of one name, begun at once."""
    words = train(images, "last", here / "one")
    return judge("one --out", "", here / "one", place / "alone-last", env, words, 0)


def judge(
    what: str, words: str, run: Path, alone: Path, env: dict[str, str], args: object, pause: float
) -> list[str]:
    """Start a command twice: one ends with the run, the other too or with one clear error."""
    typed = [*split(words), run] if words else list(args)  # type: ignore[call-overload]
    children = [start(*typed, env=env)]
    time.sleep(pause)
    children.append(start(*typed, env=env))
    both = [finish(child, LIMIT) for child in children]
    if all(done.returncode for done in both):
        return [f"{what}: both refused: {last_words(both[0])}; {last_words(both[1])}"]
    wrong = [f"{what}: {last_words(done)}" for done in both if done.returncode and not clear(done)]
    winner = next(done for done in both if not done.returncode)
    fault = differs(winner, run, alone) or leftovers(run, env)
    return [*wrong, *([f"{what}: {fault}"] if fault else [])]


def clear(done: CompletedProcess[str]) -> bool:
    """Whether a command was refused with one error that says what to type."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return done.returncode == 2 and len(errors) == 1 and not traceback_in(done.stderr)


def differs(done: CompletedProcess[str], run: Path, alone: Path) -> str:
    """What a training that should have ended well left otherwise than the one alone did."""
    if done.returncode or traceback_in(done.stderr):
        return last_words(done)
    ours, theirs = content(run), content(alone)
    other = sorted(
        name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
    )
    return f"other than alone: {', '.join(other)}" if other else ""


def train(images: Path, cut: str, run: Path) -> list[str]:
    return ["train", str(images), "--cut", cut, "--size", "64", "--out", str(run), "--quiet"]


if __name__ == "__main__":
    main()
