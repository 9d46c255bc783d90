"""Training on more features than memory holds: seconds, and the memory of the process at its peak.

python bench/large_head.py PHOTOS [--images 200000] [--dtype f32] [--folder DIR] [--optimum]
                           [--classes 10000] [--cut LAYER --size PIXELS]

Makes so many rows of 1,280 numbers from the features of real photos, each with noise of half the
features' standard deviation and one in twenty under another label, in files as headstart features
writes them, and trains on them in a child process as a user does: headstart train DIR. One JSON
line; peak_gb is the child's largest resident memory. Accuracy only tells that the head has learned.
--classes: of so many that are made up, each a photo's features and noise of its own, with the
images' noise about it. --optimum: and by how much its log loss and what it minimises lie above the
optimum that scikit-learn finds in double precision, which takes 8 bytes a number.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import load
from headstart.data.given import settle
from headstart.data.item import Item, with_content
from headstart.metrics.task import SingleLabel
from headstart.recipe import Recipe
from headstart.runs.folder import Run, read_training
from headstart.store.file import encode
from headstart.store.job import write_features
from headstart.store.pieces import ROWS
from headstart.store.store import find_store
from headstart.system.atomic import write_atomically
from headstart.system.progress import Silent

WRONG = 0.1  # of two classes half of these keep theirs


def make(
    photos: Path, folder: Path, images: int, dtype: str, classes: int = 0, **choices: Any
) -> None:
    """The files; those that are there already stay."""
    write_features(photos, folder / "real", progress=False, **choices)
    store = find_store(settle(folder / "real"))
    assert store is not None
    items = store.read_dataset(Recipe()).items
    kinds = sorted({item.labels for item in items})
    values = store.read({"all": items}, Silent())["all"].values[:, 0]
    spread = values.std(axis=0)
    header = replace(store.header, dtype=dtype, base="")
    for number, start in enumerate(range(0, images, ROWS), 1):
        path = folder / "many" / f"1-of-1-{number:05}.parquet"
        if path.exists():
            continue
        rng = np.random.default_rng(number)
        rows = rng.integers(len(items), size=min(ROWS, images - start))
        if classes:
            rows = np.arange(start, start + len(rows)) % classes
        noise = rng.standard_normal((len(rows), len(spread)), np.float32) * spread / 2
        drawn = []
        for place, row in enumerate(rows.tolist(), start):
            wrong = rng.random() < WRONG
            labels = kinds[rng.integers(len(kinds))] if wrong else items[row % len(items)].labels
            if classes:
                own = np.random.default_rng([row, 0]).standard_normal(len(spread), np.float32)
                labels = (f"class {rng.integers(classes) if wrong else row:05}",)
                noise[place - start] += own * spread / 2
            drawn.append(with_content(Item(path, f"{place}.jpg", labels), rng.bytes(16)))
        write_atomically(path, encode(header, drawn, values[rows % len(items)] + noise))


def train(folder: Path, out: Path) -> dict[str, object]:
    """Trained as a user does it, in a process of its own."""
    command = ["headstart", "train", str(folder / "many"), "--json", "--out", str(out / "run")]
    began = time.perf_counter()
    with (out / "told.json").open("w") as told:
        child = subprocess.Popen([sys.executable, "-m", *command], stdout=told)
        _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    result = json.loads((out / "told.json").read_text())
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss / 1e6, 2),
        "stages": result["seconds"],
        "accuracy": result["metrics"]["validation"]["accuracy"],
    }


def compare_with_optimum(folder: Path, run: Path) -> dict[str, object]:
    """The head of a run beside scikit-learn's, on what any tool reads in the files."""
    import pyarrow.parquet as parquet

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from optimum import Optimum

    trained, classifier = Run(run), load(run / "classifier")
    names = {name for name, _, _ in read_training(run)}
    table = parquet.read_table(folder / "many", columns=["name", "labels", "features"])
    values = table["features"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    task = SingleLabel(classifier.classes)
    targets = task.targets(table["labels"].to_pylist())
    learned = np.array([name in names for name in table["name"].to_pylist()])
    linear = trained.record["linear"]
    began = time.perf_counter()
    best = Optimum(values[learned], targets[learned], task, linear["strength"])
    loss, objective = best.compare(classifier.head, linear["temperature"])
    return {
        "log_loss_above_optimum": loss, "objective_above_optimum": objective,
        "optimum_seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--optimum", action="store_true")
    parser.add_argument("--classes", type=int, default=0)
    parser.add_argument("--cut")
    parser.add_argument("--size", type=int)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    asked = {name: getattr(given, name) for name in ("cut", "size") if getattr(given, name)}
    make(given.photos, folder, given.images, given.dtype, given.classes, **asked)
    out = Path(tempfile.mkdtemp(dir=folder))
    told = {"images": given.images, "dtype": given.dtype, **train(folder, out)}
    if given.optimum:
        told |= compare_with_optimum(folder, out / "run")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
