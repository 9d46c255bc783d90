"""The first hour of three people, on real photos: what each step takes, prints and says to type.

python bench/first_hour.py PHOTOS [--lesson PHOTOS --weights FILE] [--source src]

A student of the lesson, somebody with folders of photos and little Python, an engineer coming from
other libraries: each types what such people type, in a terminal of 80 columns, in an empty folder
with an empty cache. One JSON line a step: seconds (cpu: of all cores, which others on the machine
do not lengthen as much), lines printed (as they stay on the screen; bars do not), the widest of
them, how many a terminal would break, whether something to type next was named. --source: the
sources of another version, to compare with (`git worktree add /tmp/old REF`). The student's steps
need --weights, the file that the lesson downloads.
"""

import argparse
import fcntl
import json
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS, ROWS = 80, 24
LESSON = "runs/lesson"
FOUND = re.compile(r"headstart (\w[\w-]*) ?\S*|Type: ")


@dataclass(frozen=True)
class Step:
    """What somebody types: words after headstart, or a Python program. stop: what is on the screen
    when the process is killed, as by a closed lid.
    """

    user: str
    name: str
    words: tuple[str, ...] = ()
    program: str = ""
    stop: str | None = None


def student(weights: Path) -> Iterator[Step]:
    """Does the lesson: classic network, its weights, curves, what helps against overfitting."""
    me = "student"
    lesson = ("lesson", "--recipe", "classic", "--weights", str(weights))
    yield Step(me, "what is this", ("--help",))
    yield Step(me, "train as in the lesson", ("train", *lesson, "--out", LESSON,
                                              "--set", "epochs=6"))  # fmt: skip
    yield Step(me, "which learning rate", ("lr", *lesson))
    yield Step(me, "what helps", ("remedies", LESSON, "--budget", "20s"))
    yield Step(me, "the model, layer by layer", ("summary", LESSON))
    yield Step(me, "what the photos become", ("augment", "lesson"))


def biologist() -> Iterator[Step]:
    """Has folders of photos and no Python."""
    me, run = "biologist", "runs/photos-1"
    yield Step(me, "train", ("train", "photos", "--out", run))
    yield Step(me, "how good again", ("info", run))
    yield Step(me, "new photos", ("predict", run, "photos"))
    yield Step(me, "one photo", ("predict", run, "one"))
    yield Step(me, "labelled photos", ("evaluate", run, "photos"))
    yield Step(me, "why", ("explain", run, "one"))
    yield Step(me, "what is wrong with my photos", ("audit", "photos"))
    yield Step(me, "would more photos help", ("learning-curve", "photos"))
    yield Step(me, "a folder that is not there", ("train", "photoz"))
    yield Step(me, "closes the lid", ("train", "photos", "--out", "runs/closed", "--set",
                                      "head=neural", "--set", "epochs=10000"),
               stop="--resume")  # fmt: skip
    yield Step(me, "goes on with something else", ("predict", "runs/closed", "one"))
    yield Step(me, "which runs are there", ("runs",))


def engineer() -> Iterator[Step]:
    """Comes from fastai, Keras, scikit-learn."""
    me, run = "engineer", "runs/py"
    yield Step(me, "python: train", program=(
        f"import headstart\nrun = headstart.train('photos', out='{run}', seed=1)\nprint(run)\n"
        "print(run.summary())"))  # fmt: skip
    yield Step(me, "python: predict", program=(
        f"import headstart\nprint(headstart.load('{run}').predict('one')[0])"))  # fmt: skip
    yield Step(me, "the same again, other features", ("train", "photos", "--out", "runs/py-2",
                                                      "--cut", "last"))  # fmt: skip
    yield Step(me, "which layer", ("layers", "efficientnet_lite0", "--data", "photos"))
    yield Step(me, "which head", ("heads", "photos", "--budget", "20s"))
    yield Step(me, "two runs", ("compare", "runs/py-2", run))
    yield Step(me, "keep an accuracy", ("check", run, "photos", "--min-accuracy", "0.5"))
    yield Step(me, "export", ("export", run, "--to", "openvino"))
    yield Step(me, "a wrong option", ("train", "photos", "--lr", "0.1"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--lesson", type=Path, help="the lesson's photos; default: the same")
    parser.add_argument(
        "--weights", type=Path, help="the lesson's weights (InceptionV3 without top)"
    )
    parser.add_argument(
        "--user", choices=["student", "biologist", "engineer"], help="only this one"
    )
    parser.add_argument("--without", action="append", default=[], help="leave out this step")
    parser.add_argument("--source", type=Path, help="src of another version")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        place = Path(home) / "home"
        prepare(place, asked.photos, asked.lesson or asked.photos)
        env = {**os.environ, "HEADSTART_CACHE": str(Path(home) / "cache"), "COLUMNS": str(COLUMNS),
               "LINES": str(ROWS), "TERM": "xterm-256color"}  # fmt: skip
        if asked.source is not None:
            env["PYTHONPATH"] = str(asked.source.resolve())
        students = student(asked.weights.resolve()) if asked.weights else ()
        for step in (*students, *biologist(), *engineer()):
            if asked.user not in (None, step.user) or step.name in asked.without:
                continue
            print(json.dumps(measure(step, place, env)), flush=True)


def prepare(place: Path, photos: Path, lesson: Path) -> None:
    """A folder in which what is typed is short: photos, lesson, one (a folder with one photo)."""
    place.mkdir()
    (place / "photos").symlink_to(photos.resolve())
    (place / "lesson").symlink_to(lesson.resolve())
    (place / "one").mkdir()
    first = min(
        path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    shutil.copy(first, place / "one" / first.name)


def measure(step: Step, place: Path, env: dict[str, str]) -> dict[str, object]:
    """The step, typed."""
    words = ["-c", step.program] if step.program else ["-m", "headstart", *step.words]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    code, written = type_in_terminal([sys.executable, *words], place, env, step.stop)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = render(written)
    return {
        "user": step.user,
        "step": step.name,
        "seconds": round(seconds, 1),
        "cpu": round(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 1),
        "lines": len([line for line in lines if line]),
        "widest": max(map(len, lines), default=0),
        "broken": sum(len(line) > COLUMNS for line in lines),
        "next": any(FOUND.search(line) for line in lines),
        "exit": code,
    }


def type_in_terminal(
    words: list[str], place: Path, env: dict[str, str], stop: str | None
) -> tuple[int, str]:
    """The exit code, and all that a terminal was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    child = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=place, env=env)
    os.close(theirs)
    written = bytearray()
    while True:
        if stop is not None and stop.encode() in written:
            child.send_signal(signal.SIGKILL)
            stop = None
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        written += block
    os.close(ours)
    return child.wait(), written.decode("utf-8", "replace")


def render(written: str) -> list[str]:
    """The lines that stay on the screen, as long as they were sent: what moves back and erases is
    obeyed, colours are passed over.
    """
    lines, row, column = [""], 0, 0
    for text, motion in re.findall(
        r"([^\x1b\r\n\x07\x08]+)|(\r|\n|\x08|\x1b\[[?0-9;]*[A-Za-z]|\x1b[^\[]|.)",
        written,
        re.DOTALL,
    ):
        if text:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + text + line[column + len(text) :]
            column += len(text)
        elif motion == "\r":
            column = 0
        elif motion == "\n":
            row, column = row + 1, 0
            lines += [""] * (row >= len(lines))
        elif motion.endswith("A"):
            row = max(0, row - int(motion[2:-1] or 1))
        elif motion.endswith("K"):
            lines[row] = "" if motion.startswith("\x1b[2") else lines[row][:column]
    return [line.rstrip() for line in lines]


if __name__ == "__main__":
    main()
