"""Files of runs and classifiers that hands have edited: read, or refused by a reason, never else.

python bench/attack/run_files.py [--tried 2000] [--seed 0]: so many seeded edits of run.json,
metrics.json, classifier.json, predictions.csv, training.csv and started.json of runs of every kind,
those that the tests keep of the first version, each read by all that reads such a file. Prints one
JSON line.
"""

import io
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from _common import arguments, report, workplace
from mutate import edits_of_json, edits_of_table

import headstart
from headstart.cli.output import print_metrics, run_to_dict
from headstart.errors import HeadstartError
from headstart.explain.maps import maps
from headstart.runs.folder import Run, started, training_images
from headstart.runs.listing import list_runs, read_entry
from headstart.system.json import dumps

OLD = Path(__file__).parents[2] / "tests" / "data_of_old_runs" / "0.1.0"
RUNS = ("linear", "several_classes", "neural")
IMAGE = np.zeros((20, 20, 3), np.uint8)


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
    "started": started,
    "resume": headstart.resume,
    "explain": lambda folder: list(maps(headstart.load(folder), [IMAGE])),
    "predict": lambda folder: headstart.load(folder).predict(IMAGE, views=2),
}


def list_edits(file: Path) -> list[tuple[str, bytes]]:
    """What was done, and the file's new bytes."""
    edits = edits_of_table if file.suffix == ".csv" else edits_of_json
    return list(edits(file.read_bytes()))


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
    "classifier/classifier.json": ("predict", "explain"),
    "predictions.csv": ("compare",),
    "training.csv": ("training images",),
    "started.json": ("started", "resume", "entry", "predict"),
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


def main() -> None:
    asked, begun = arguments(__doc__, 2000), time.perf_counter()
    fallen: list[str] = []
    with workplace("run-files") as folder:
        edits = []
        for name in (*RUNS, "stopped"):
            shutil.copytree(OLD / name, folder / name)
            for file in OF_FILE:
                if (folder / name / file).exists():
                    edits += [(name, file, *edit) for edit in list_edits(folder / name / file)]
        chosen = random.Random(asked.seed).sample(edits, min(asked.tried, len(edits)))
        for name, file, what, edited in chosen:
            place = folder / name / file
            whole = place.read_bytes()
            place.write_bytes(edited)
            fallen += held(OF_FILE[file], folder / name, f"{name}/{file}: {what}")
            place.write_bytes(whole)
    report("run_files", len(chosen), fallen, begun)


if __name__ == "__main__":
    main()
