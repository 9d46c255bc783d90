"""Wrong command lines: each ends with exit code 0, 1 or 2; with 2, one line says what to type.

    python bench/attack/lines.py --tried 1000 --seed 0

Each line is a command with its arguments and one thing wrong: a value of the wrong kind, an option
that there is not, none where one is needed. The commands and options are asked of the command line
itself, so that a new one is attacked at once. All run in this process, on a few tiny images.
"""

import contextlib
import io
import os
import random
import re
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a line is told of: places made by `prepare`, in whose folder all lines run.
PHOTOS, RUN, FILE, FOLDER, NOWHERE = "photos", "run", "file.txt", "empty", "no/where"
BROKEN = ["broken.toml", "broken.csv", "broken.jsonl", "broken.zip", "broken.h5", "latin.toml"]
PLACES = [PHOTOS, RUN, FILE, FOLDER, NOWHERE, f"{FILE}/inside", "~nosuchuser/x", "/proc/nothing"]
VALUES = [
    "", " ", "0", "-1", "1.5", "nan", "inf", "-inf", "1e99", "999999999999", "text", "a=b", "true",
    "5000 times a", "--", "-", "\x1b[31m", "\udce9", "\ud800", "\u202e", "\u732b", "[[", "{a=", "'",
    "a\nb", "http://[", "file:///etc/passwd", "://", *PLACES, *BROKEN,
]  # fmt: skip
# What may stand behind --set.
CHOICES = [
    "layers=['dense 999999999']", "layers=['dense 0']", "layers=[1, [2]]", "layers=5", "epochs=1e9",
    "epochs=nan", "batch_size=0", "folds=99999", "folds=1", "views=0", "views=1000000000", "size=0",
    "size=100000", "cut=last+last", "cut=", "cut=+", "cut=a:b", "cut=[[]]", "pooling=[]", "seed=-1",
    "seed=1e400", "learning_rate=0.1", "learning_rate=-1", "augmentation={rotation=nan}", "=", "a",
    "augmentation={crop=[1,2,3]}", "augmentation=twirl", "augmentation={}", "head=deep", "views=[]",
    "budget=-1", "budget=nan", "weights=no/where.h5", "weights=broken.h5", "backbone=resnet",
    "backbone=", "normalisation=5", "groups=(", "groups=[", "optimizer=", "views='fresh'", "name=",
    "finetune=true", "tune_epochs=0", "validation_fraction=1", "validation_fraction=nan",
]  # fmt: skip
DEMO = "demo"  # it takes no images of ours: only lines that cannot begin
LONG = {"finetune", "remedies", "summary", "heads"}  # what they do takes a while on any images
ADVICE = re.compile(
    r"\b([Tt]ype:?|[Gg]ive|Add|Correct|Save|Restore|Name|Arrange|Allow|Set|Remove|Bring) \S"
)


@dataclass(frozen=True)
class Command:
    """A command as the command line describes itself."""

    words: tuple[str, ...]
    arguments: tuple[str, ...]  # metavars
    options: tuple[tuple[str, bool], ...]  # the longest spelling, and whether it takes a value


def list_commands() -> list[Command]:
    """Every command with its arguments and options."""
    import typer

    from headstart.cli.app import load_commands

    def walk(group: Any, words: tuple[str, ...]) -> Iterator[Command]:
        for name, command in sorted(group.commands.items()):
            if hasattr(command, "commands"):
                yield from walk(command, (*words, name))
                continue
            arguments = [p for p in command.params if p.param_type_name == "argument"]
            options = [p for p in command.params if p.param_type_name == "option"]
            yield Command(
                (*words, name),
                tuple(p.metavar or p.name.upper() for p in arguments),
                tuple((max(p.opts, key=len), not p.is_flag) for p in options if p.name != "help"),
            )

    return list(walk(typer.main.get_command(load_commands()), ()))


def generate(count: int, seed: int, commands: Sequence[Command]) -> Iterator[list[str]]:
    """`count` wrong command lines, the same for a seed."""
    draw = random.Random(seed)
    while count:
        command = draw.choice(commands)
        arguments = [_fitting(command, metavar, draw) for metavar in command.arguments]
        kind = draw.choice(["unknown", "lacking", "more"] if command.words[0] == DEMO else KINDS)
        option, takes = draw.choice(command.options) if command.options else ("--none", True)
        value = draw.choice(CHOICES if option == "--set" and draw.random() < 0.8 else VALUES)
        line = [*command.words, *arguments]
        if kind == "value" and takes:
            line += [option, value]
        elif kind == "value":
            line.append(f"{option}={value}")
        elif kind == "twice":
            line += 2 * ([option, value] if takes else [option])
        elif kind == "argument" and arguments:
            if command.words[0] in LONG and value in (PHOTOS, RUN):
                value = FOLDER
            line[draw.randrange(len(command.words), len(line))] = value
        elif kind == "unknown":
            line.append(draw.choice([f"--{value}", f"-{value}", option[:-1], f"{option}x", "-z"]))
        elif kind == "lacking":
            line = [*command.words, *arguments[:-1], *([option] if takes else ["--sed"])]
        elif kind == "more":
            line += [draw.choice(VALUES), draw.choice(VALUES), "--sed"]
        elif kind == "command":
            line[draw.randrange(len(command.words))] = draw.choice([*VALUES, "trian", "chace"])
        else:
            continue
        count -= 1
        yield [5000 * "a" if word == "5000 times a" else word for word in line]


KINDS = [*4 * ["value"], "twice", *2 * ["argument"], "unknown", "lacking", "more", "command"]


def _fitting(command: Command, metavar: str, draw: random.Random) -> str:
    """An argument that is well; what is trained on mostly missing, for that takes a while."""
    if command.words[0] in LONG:
        return NOWHERE
    if metavar == "PHOTOS":
        return draw.choice([PHOTOS, *5 * [NOWHERE]])
    return {"RUN": RUN, "BACKBONE": "efficientnet_lite0", "RECIPE": "quick"}.get(metavar, "text")


def prepare(folder: Path) -> None:
    """What the lines name, in `folder`: images, a run, and files of the wrong kinds."""
    import numpy as np
    from PIL import Image

    import headstart

    for index in range(12):
        colour = [(200, 60, 60), (60, 60, 200)][index % 2]
        target = folder / PHOTOS / "ab"[index % 2] / f"{index}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).normal(0, 40, (32, 32, 3))
        pixels = np.clip(np.array(colour) + noise, 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(target)
    headstart.train(folder / PHOTOS, out=folder / RUN, cut="block1a_project_bn", size=32)
    (folder / FOLDER).mkdir()
    for name in (FILE, *BROKEN):
        (folder / name).write_bytes(b"[1, \xe9" if name.startswith("latin") else b"[[broken")


def try_line(words: Sequence[str]) -> str | None:
    """Run one line in this process; why it fell, None where it held."""
    import webbrowser

    from headstart.cli.app import main

    webbrowser.open = lambda *_, **__: False  # no window is to be opened
    with contextlib.suppress(ImportError):  # and nothing served until somebody comes
        import headstart.serve.server

        headstart.serve.server.run = lambda *_: None
    said, told = io.StringIO(), io.StringIO()
    sys.argv = ["headstart", *words]
    code: Any = 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})"
    lines = told.getvalue().splitlines()
    text = said.getvalue() + told.getvalue()
    if "Traceback" in text:
        return "a traceback is printed"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if any(ord(letter) < 32 and letter not in "\n\t" for letter in text):
        return "a control character is printed"
    if code == 2:
        errors = [line for line in lines if line.startswith("error: ")]
        if len(errors) != 1 or lines[-1] != errors[0]:
            return f"no one line of error: {told.getvalue()[:300]}"
        if not ADVICE.search(errors[0]):
            return f"nothing to type: {errors[0][:300]}"
    return None


def main() -> None:
    """Try lines in a folder and a cache of their own, and print what became of them."""
    from _common import arguments, report, workplace

    options, begun = arguments(__doc__, 1000), time.perf_counter()
    fallen = []
    with workplace("lines") as folder:
        os.environ["HEADSTART_CACHE"] = str(folder / "cache")
        os.environ["NO_COLOR"] = "1"
        work = folder / "work"
        work.mkdir()
        prepare(work)
        with contextlib.chdir(work):
            for words in generate(options.tried, options.seed, list_commands()):
                reason = try_line(words)
                if reason is not None:
                    fallen.append(f"{shlex.join(words)[:200]}: {reason}")
    report("lines", options.tried, fallen, begun)


if __name__ == "__main__":
    main()
