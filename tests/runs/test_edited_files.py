"""Files of runs that hands have edited: read, or refused by the product's own error. Never else."""

import io
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutate import edits_of_json, edits_of_table

import headstart
from headstart.cli.output import print_metrics, run_to_dict
from headstart.errors import HeadstartError
from headstart.runs.folder import Run, started, training_images
from headstart.runs.listing import list_runs, read_entry
from headstart.system.json import dumps

OLD = Path(__file__).parents[1] / "data_of_old_runs" / "0.1.0"
RUNS = ("linear", "several_classes", "neural")
IMAGE = np.zeros((20, 20, 3), np.uint8)
MOST = 400  # edits of one file of one run: every one is tried by bench/attack


def say_all(folder: Path) -> None:
    """What `info`, `--json` and the end of a training tell of a run."""
    run = Run(folder)
    repr(run)
    with redirect_stdout(io.StringIO()):
        print_metrics(run)
    dumps(run_to_dict(run))


READERS: dict[str, Callable[[Path], Any]] = {
    "record": lambda folder: Run(folder).record,
    "metrics": lambda folder: Run(folder).metrics,
    "history": lambda folder: Run(folder).history,
    "summary": lambda folder: Run(folder).summary(),
    "all of it": say_all,
    "entry": read_entry,
    "list": lambda folder: list_runs(folder.parent),
    "training images": training_images,
    "compare": lambda folder: headstart.compare(folder, OLD / folder.name),
    "predict": lambda folder: headstart.load(folder).predict(IMAGE, views=2),
}
OF_FILE = {
    "run.json": (
        "record",
        "metrics",
        "history",
        "summary",
        "all of it",
        "entry",
        "list",
        "compare",
    ),
    "metrics.json": ("metrics", "summary", "all of it", "entry", "list"),
    "classifier/classifier.json": ("predict",),
    "predictions.csv": ("compare",),
    "training.csv": ("training images",),
}


def held(readers: tuple[str, ...], folder: Path, what: str) -> Iterator[str]:
    """Which of the readers fell."""
    for reader in readers:
        try:
            READERS[reader](folder)
        except HeadstartError as error:
            text = str(error)
            if not text.strip() or "Traceback" in text:
                yield f"{what}: {reader}: says {text!r}"
        except Exception as error:
            yield f"{what}: {reader}: {type(error).__name__}: {error}"


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("file", OF_FILE)
def test_an_edited_file_is_read_or_refused(name: str, file: str, tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / name, tmp_path / name)
    content = (folder / file).read_bytes()
    edits = list((edits_of_table if file.endswith("csv") else edits_of_json)(content))
    if len(edits) > MOST:
        edits = random.Random(0).sample(edits, MOST)
    assert len(edits) > 30
    fallen: list[str] = []
    for what, edited in edits:
        (folder / file).write_bytes(edited)
        fallen += held(OF_FILE[file], folder, what)
    assert not fallen, f"{len(fallen)} of {len(edits)}:\n" + "\n".join(fallen[:40])


def test_an_edited_beginning_is_read_or_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / "stopped", tmp_path / "stopped")
    content = (folder / "started.json").read_bytes()
    fallen = []
    for what, edited in edits_of_json(content):
        (folder / "started.json").write_bytes(edited)
        for read in (started, headstart.resume, read_entry, headstart.load):
            try:
                read(folder)
            except HeadstartError:
                pass
            except Exception as error:
                fallen.append(f"{what}: {read.__name__}: {type(error).__name__}: {error}")
    assert not fallen, "\n".join(fallen[:40])


LATER = {
    "run.json": {"", "cache", "seconds"},
    "metrics.json": {"validation", "validation.classes.0"},
    "classifier/classifier.json": {"", "geometry", "head.layers.0"},
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("file", LATER)
def test_what_a_later_version_adds_is_passed_over(name: str, file: str, tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / name, tmp_path / name)
    seen = set()
    for what, edited in edits_of_json((folder / file).read_bytes()):
        place = what.removesuffix("one more").removesuffix(": ")
        if what.endswith("one more") and place in LATER[file]:
            (folder / file).write_bytes(edited)
            seen.add(place)
            say_all(folder)
            headstart.load(folder)
    assert seen == LATER[file]
