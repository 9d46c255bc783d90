"""The folder of one training: classifier, recipe, metrics, predictions, what was left out.

run.json          what was trained on what, versions, seconds
recipe.toml       every choice; headstart train --recipe RUN/recipe.toml does it again
metrics.json      by split, every accuracy with its interval
predictions.csv   each validation and test image with its probabilities
training.csv      each training image
unreadable.csv    images left out, each with its reason
classifier/       what headstart predict uses
"""

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from headstart.backbones.cut import Cut
from headstart.classifier import Classifier, load
from headstart.errors import ClassifierError, RecipeError, cannot_read
from headstart.metrics.classification import Metrics
from headstart.metrics.multilabel import MultiMetrics
from headstart.recipe import Recipe, load_recipe
from headstart.system.atomic import write_atomically
from headstart.system.json import dumps

FORMAT = 1


@dataclass(frozen=True, init=False)
class Run:
    """A finished training in its folder, given as a path or as a Run. It is a path itself:
    whatever takes the folder of a run takes a Run.
    """

    folder: Path

    def __init__(self, folder: "str | os.PathLike[str]") -> None:
        object.__setattr__(self, "folder", Path(folder))

    def __fspath__(self) -> str:
        return str(self.folder)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What run.json holds. Raises ClassifierError if it is missing, damaged or too new."""
        record = self._json("run.json")
        if record.get("format", 0) > FORMAT:
            raise ClassifierError(
                f"{self.folder} was written by a newer headstart. "
                "Type: pip install --upgrade headstart"
            )
        return record

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """By split (train, cross_validation, validation, test) Metrics, or MultiMetrics."""
        rows = self._json("metrics.json")
        return {
            name: (MultiMetrics if "micro_f1" in row else Metrics).from_dict(row)
            for name, row in rows.items()
        }

    @cached_property
    def classifier(self) -> Classifier:
        """Ready to predict."""
        return load(self.folder)

    @property
    def history(self) -> dict[str, list[float]]:
        """By epoch: loss, accuracy, val_loss, val_accuracy; empty for a linear head. nan where
        the training diverged.
        """
        columns = self.record.get("history", {})
        return {
            name: [math.nan if value is None else value for value in values]
            for name, values in columns.items()
        }

    def keras_model(self) -> Any:
        """The classifier as a plain Keras model, from the backbone's input to the probabilities.

        Its input is normalised pixels, as `headstart.tuning.keras_model.normalised` makes them.
        """
        from headstart.heads.neural import prepare_keras
        from headstart.tuning.keras_model import keras_model

        prepare_keras()
        about = self.classifier.description
        recipe, tuned = self.recipe, self.folder / "backbone.weights.h5"
        if tuned.is_file():
            recipe = recipe.changed(weights=str(tuned))
        return keras_model(recipe, self.classifier.head, tuple(map(Cut.parse, about["cuts"])))

    @cached_property
    def recipe(self) -> Recipe:
        """Every choice of the training. Raises ClassifierError where none began in this folder."""
        file = self.folder / "recipe.toml"
        if not file.is_file():
            raise ClassifierError(
                f"expected the folder of a run, found no recipe.toml in {self.folder}. "
                "Type: headstart runs"
            )
        return load_recipe(file)

    def summary(self) -> str:
        """What training prints: accuracies with their intervals, the most confused classes."""
        from headstart.report.words import summary

        return summary(self.metrics)

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ClassifierError(
                f"expected a finished run, found no {name} in {self.folder}. "
                "Give the folder that headstart train printed"
            ) from None
        except (OSError, ValueError) as error:
            raise ClassifierError(_damaged(self.folder / name, error)) from error
        if not isinstance(content, dict):
            raise ClassifierError(_damaged(self.folder / name, type(content).__name__))
        return content

    def __repr__(self) -> str:
        measured = next(
            (self.metrics[s] for s in ("test", "validation", "train") if s in self.metrics), None
        )
        accuracy = f", accuracy {measured.accuracy:.1%}" if measured and measured.accuracy else ""
        return f"Run({str(self.folder)!r}{accuracy})"


def _damaged(file: Path, error: object) -> str:
    advice = "Restore the file, or train again: headstart train PHOTOS"
    return cannot_read(file, error, "a whole object in JSON", advice)


def as_run(run: "Run | str | os.PathLike[str]") -> Run:
    """The run that is meant, by itself or by its folder."""
    return run if isinstance(run, Run) else Run(run)


def training_images(folder: Path) -> frozenset[str]:
    """Content hashes of what a run was trained on; none for a classifier alone."""
    try:
        with (folder / "training.csv").open(encoding="utf-8", newline="") as file:
            return frozenset(row["content"] for row in csv.DictReader(file))
    except (OSError, KeyError):
        return frozenset()


def check_new(out: str | Path | None) -> None:
    """Raises RecipeError if `out` exists and is not empty, for a run never overwrites another, or
    could not be made, before anything slow is done.
    """
    folder = Path("runs" if out is None else out)
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise RecipeError(
            f"expected to write the run to {folder}, but {above} is no folder that can be written "
            "to. Type: --out with another place"
        )
    if out is None:
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(
            f"expected a new folder for the run, found {folder} with something in it. "
            "Type: --out with another name"
        )


def start(
    source: Path,
    recipe: Recipe,
    strict: bool,
    out: str | Path | None,
    dataset: str,
    choices: dict[str, Any],
) -> Path:
    """A new folder for a run, with what it takes to go on with it if it is stopped.

    dataset: fingerprint of the images. choices: what the recipe had left open, for run.json.
    """
    folder = _new_folder(source, out)
    write_atomically(folder / "recipe.toml", recipe.to_toml().encode())
    begun = {"source": str(source.resolve()), "strict": strict, "dataset": dataset}
    write_json(folder / "started.json", {**begun, "choices": choices})
    return folder


def check_unchanged(folder: Path, dataset: str) -> None:
    """Raises ClassifierError if the training there began with other images: what it kept was
    learned from some that would now be among those that judge.
    """
    begun = started(folder)
    if begun["dataset"] != dataset:
        raise ClassifierError(
            f"expected the images with which the training in {folder} began, found others in "
            f"{begun['source']}. Type: headstart train {begun['source']}"
        )


def started(folder: Path) -> dict[str, Any]:
    """What `start` wrote. Raises ClassifierError if no training began there."""
    try:
        content: dict[str, Any] = json.loads((folder / "started.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ClassifierError(
            f"expected the folder of a training that was stopped, found no started.json in "
            f"{folder}. Give the folder that headstart train printed"
        ) from error
    except ValueError as error:
        raise ClassifierError(_damaged(folder / "started.json", error)) from error
    return content


def finish(folder: Path) -> None:
    """There is nothing to go on with any more."""
    for name in ("started.json", "checkpoint.safetensors", "best.safetensors"):
        (folder / name).unlink(missing_ok=True)
    for name in ("stages", "folds"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _new_folder(source: str | Path, out: str | Path | None) -> Path:
    """`out`, or the first free runs/NAME-N."""
    if out is not None:
        check_new(out)
        Path(out).mkdir(parents=True, exist_ok=True)
        return Path(out)
    name = Path(source).resolve().name.split(".")[0] or "run"
    number = 1
    while True:
        folder = Path("runs") / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:  # another run took it
            number += 1


def write_table(path: Path, header: list[str], rows: Iterable[Iterable[Any]]) -> None:
    """A CSV file, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue().encode())


def write_json(path: Path, content: Any) -> None:
    """A JSON file, whole or not at all; JSON has no nan, so null stands for it."""
    write_atomically(path, (dumps(content, indent=2) + "\n").encode())
