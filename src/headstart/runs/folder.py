"""The folder of one training: classifier, recipe, metrics, predictions, what was left out.

run.json          what was trained on what, versions, seconds
recipe.toml       every choice; headstart train --recipe RUN/recipe.toml does it again
metrics.json      by split, every accuracy with its interval
predictions.csv   each validation and test image with its probabilities
training.csv      each training image, with what heads that had not seen it say of it
out_of_fold.safetensors   what cross-validation said of them
neighbours.safetensors    their features in short, for headstart explain
report.html       all of it as a page; charts/ its charts
unreadable.csv    images left out, each with its reason
audit.json        what else is wrong with the images, as headstart audit tells it
classifier/       what headstart predict uses
"""

import csv
import io
import math
import os
import reprlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from headstart.backbones.cut import Cut
from headstart.classifier import (
    STARTED,
    Classifier,
    check_finished,
    is_unfinished,
    load,
    resume_command,
)
from headstart.data.given import Source, name_place
from headstart.errors import ClassifierError, RecipeError, StorageError, cannot_read
from headstart.heads.checkpoint import BEST, CHECKPOINT
from headstart.metrics.classification import Metrics
from headstart.metrics.multilabel import MultiMetrics
from headstart.recipe import Recipe, load_recipe
from headstart.runs import fields
from headstart.system.atomic import cannot_write, is_temporary, write_atomically
from headstart.system.json import dumps
from headstart.system.lock import held_alone
from headstart.system.reading import Written, read_object

AT_ONCE = 64  # rows of a table that are in memory as it is written
RECIPE = "recipe.toml"
CLAIM = f".{STARTED}.tmp"  # there while a training begins


@dataclass(frozen=True, init=False)
class Run:
    """A finished training in its folder, given as a path or as a Run. It is a path itself:
    whatever takes the folder of a run takes a Run.

    >>> run = headstart.Run("runs/photos-1")
    >>> sum(run.record["images"].values())
    48
    >>> run.metrics["validation"].accuracy, run.recipe.pooling
    (1.0, 'avg')
    >>> run.classifier.classes
    ('blue', 'red')
    """

    folder: Path

    def __init__(self, folder: "str | os.PathLike[str]") -> None:
        object.__setattr__(self, "folder", Path(folder))

    def __fspath__(self) -> str:
        return str(self.folder)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What run.json holds. Raises ClassifierError if it is missing, damaged or too new."""
        return self._read("run.json", fields.Record)

    @property
    def source(self) -> Source:
        """Where the images of the training were."""
        return Source.from_dict(self.record)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """By split (train, cross_validation, validation, test) Metrics, or MultiMetrics."""
        multi = self.record["multi"]
        shape = fields.MetricsOfSeveral if multi else fields.MetricsOfOne
        kind = MultiMetrics if multi else Metrics
        return {
            split: kind.from_dict(row) for split, row in self._read("metrics.json", shape).items()
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
        columns = self.record["history"]
        return {
            name: [math.nan if value is None else value for value in values]
            for name, values in columns.items()
        }

    @property
    def verdict(self) -> str | None:
        """Whether a training in epochs underfits, fits or overfits, and what to try; without the
        placeholder for the run's name that an earlier version wrote.
        """
        said: str | None = self.record["verdict"]
        return said and said.replace("; headstart remedies RUN tries them", "")

    def keras_model(self) -> Any:
        """The classifier as a plain Keras model, from the backbone's input to the probabilities.

        Its input is normalised pixels, as `headstart.tuning.keras_model.normalised` makes them.
        """
        from headstart.heads.neural import prepare_keras
        from headstart.tuning.keras_model import keras_model

        about = self.classifier.description
        prepare_keras()
        recipe, tuned = self.recipe, self.folder / "backbone.weights.h5"
        if tuned.is_file():
            recipe = recipe.changed(weights=str(tuned))
        return keras_model(recipe, self.classifier.head, tuple(map(Cut.parse, about["cuts"])))

    @cached_property
    def recipe(self) -> Recipe:
        """Every choice of the training. Raises ClassifierError where none began in this folder."""
        file = self.folder / RECIPE
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

    def _read(self, name: str, shape: type[Written]) -> dict[str, Any]:
        check_finished(self.folder)
        return _read(self.folder / name, shape)

    def __repr__(self) -> str:
        measured = next(
            (self.metrics[s] for s in ("test", "validation", "train") if s in self.metrics), None
        )
        accuracy = f", accuracy {measured.accuracy:.1%}" if measured and measured.accuracy else ""
        return f"Run({str(self.folder)!r}{accuracy})"


def _read(file: Path, shape: type[Written]) -> dict[str, Any]:
    """A JSON file of a run. Raises ClassifierError if it is missing or its fields do not fit."""
    advice = "Restore the file, or train again: headstart train PHOTOS"
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise ClassifierError(
            f"expected a finished run, found no {file.name} in {file.parent}. "
            "Give the folder that headstart train printed"
        ) from None
    except OSError as error:
        raise ClassifierError(cannot_read(file, error, "a whole file", advice)) from error
    return read_object(file, content, shape, advice)


def as_run(run: "Run | str | os.PathLike[str]") -> Run:
    """The run that is meant, by itself or by its folder."""
    return run if isinstance(run, Run) else Run(run)


def read_table(file: Path, header: Sequence[str], *, more: bool = False) -> list[list[str]]:
    """The rows of a table that `write_table` wrote, each as long as the header; more: columns that
    come after these are left out.

    Raises FileNotFoundError if it is missing, ClassifierError if it is damaged or another table.
    """
    return list(stream_table(file, header, more=more))


def stream_table(file: Path, header: Sequence[str], *, more: bool = False) -> Iterator[list[str]]:
    """The same row by row. Raises as `read_table` does, where it comes to what is damaged."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = csv.reader(lines)
            titles = next(rows, [])
            if titles[: len(header)] != list(header) or (len(titles) > len(header) and not more):
                raise bad_table(file, f"the columns {reprlib.repr(titles)}")
            for number, row in enumerate(rows, 2):
                if len(row) != len(titles):
                    raise bad_table(file, f"{len(row)} columns in line {number}")
                yield row[: len(header)]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise bad_table(file, error) from error


def read_training(folder: Path) -> list[list[str]]:
    """Name, content and label of each training image of a run. Raises as `read_table` does."""
    return list(stream_training(folder))


def stream_training(folder: Path) -> Iterator[list[str]]:
    """The same row by row."""
    return stream_table(folder / "training.csv", TRAINING, more=True)


def bad_table(file: Path, found: object) -> ClassifierError:
    """The error for a table in which something else was found."""
    advice = "Restore the file, or train again"
    return ClassifierError(cannot_read(file, found, "a table as headstart train wrote it", advice))


TRAINING = ("image", "content", "label")
CROSSED = "cross_validated"  # what the heads say that had not seen it; then one column a class
PREDICTIONS = ("image", "content", "split", "label", "predicted")  # then one column a class


def training_images(folder: Path) -> frozenset[str]:
    """Content hashes of what a run was trained on; none for a classifier alone.

    Raises ClassifierError for a table that cannot be read.
    """
    try:
        return frozenset(content for _, content, _ in stream_training(folder))
    except FileNotFoundError:
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
    if folder.exists() and (not folder.is_dir() or not _is_vacant(folder)):
        raise RecipeError(_not_new(folder))


def start(
    source: Source,
    recipe: Recipe,
    strict: bool,
    out: str | Path | None,
    dataset: str,
    choices: dict[str, Any],
) -> Path:
    """A new folder for a run, with what it takes to go on with it if it is stopped.

    dataset: fingerprint of the images. choices: what the recipe had left open, for run.json.
    """
    folder = _new_folder(source.resolve(), out)
    begun = {**source.to_dict(), "strict": strict, "dataset": dataset}
    with _claimed(folder):
        write_atomically(folder / RECIPE, recipe.to_toml().encode())
        write_json(folder / STARTED, {**begun, "choices": choices})
    return folder


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """While a training begins in `folder`, no other one does.

    Raises RecipeError if one does or has begun there. One that is killed within the block leaves
    its claim, by which `_is_vacant` knows that what lies beside it is nobody's.
    """
    claim = folder / CLAIM
    try:
        claim.touch()
    except OSError as error:
        raise cannot_write(folder, 0, error) from error
    with held_alone(claim) as alone:
        if not alone:
            raise RecipeError(_not_new(folder))
        try:
            if not _is_vacant(folder):
                raise RecipeError(_not_new(folder))
            for path in set(folder.iterdir()) - {claim}:
                path.unlink()
            try:
                yield
            except BaseException:
                (folder / RECIPE).unlink(missing_ok=True)
                raise
        finally:
            claim.unlink(missing_ok=True)


def _is_vacant(folder: Path) -> bool:
    """Whether nothing is in the folder but what a training left that was killed as it began."""
    paths = list(folder.iterdir())
    ours = all(path.name == RECIPE or is_temporary(path) for path in paths)
    return not paths or (ours and (folder / CLAIM) in paths)


def _not_new(folder: Path) -> str:
    if is_unfinished(folder):
        return (
            f"expected a new folder for the run, found {folder} with a training that was stopped "
            f"or is still running. To go on with it, type: {resume_command(folder)}. For a new "
            "one, type: --out with another name"
        )
    return (
        f"expected a new folder for the run, found {folder} with something in it. "
        "Type: --out with another name"
    )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """While a training goes on in `folder`, which `start` has made, no other one does.

    Raises ClassifierError if one does already. The system knows when a process ends, however it
    ends (Windows does not: there nobody is kept away). A StorageError is raised on with what goes
    on with this training.
    """
    with held_alone(folder / STARTED) as alone:
        if not alone:
            raise ClassifierError(
                f"expected a training that was stopped, found one that another process goes on "
                f"with in {folder}. Wait until it has ended; if it was stopped by then, type: "
                f"{resume_command(folder)}"
            )
        try:
            yield
        except StorageError as error:
            text = str(error).removesuffix(" and type the same command again")
            told = StorageError(f"{text}. Then type: {resume_command(folder)}")
            told.errno = error.errno
            raise told from error


def clear(folder: Path) -> None:
    """Remove what a killed process had not finished writing."""
    for path in list(folder.rglob(".*")):
        if is_temporary(path) or path.name in (".model.keras", f".{CHECKPOINT}", f".{BEST}"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


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
    if not (folder / STARTED).is_file():
        raise ClassifierError(
            f"expected the folder of a training that was stopped, found no {STARTED} in "
            f"{folder}. Give the folder that headstart train printed"
        )
    return _read(folder / STARTED, fields.Started)


def finish(folder: Path) -> None:
    """Nothing is left to go on with. The last to go is STARTED: till then this may be repeated."""
    if not (folder / STARTED).exists():
        return
    for name in ("stages", "folds"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (CHECKPOINT, BEST, STARTED):
        (folder / name).unlink(missing_ok=True)


def _new_folder(source: "str | os.PathLike[str]", out: str | Path | None) -> Path:
    """`out`, or the first free runs/NAME-N."""
    if out is not None:
        check_new(out)
        Path(out).mkdir(parents=True, exist_ok=True)
        return Path(out)
    name = name_place(source).split(".")[0] or "run"
    number = 1
    while True:
        folder = Path("runs") / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:  # another run took it
            number += 1


def place_beside(run: str | Path | None) -> Path:
    """The folder in which a run lies, or will lie: runs, by default."""
    return Path("runs") if run is None else Path(run).parent


def write_table(path: Path, header: list[str], rows: Iterable[Iterable[Any]]) -> None:
    """A CSV file, whole or not at all; never more than some rows of it are in memory."""
    write_atomically(path, _to_csv(chain([header], rows)))


def _to_csv(rows: Iterable[Iterable[Any]]) -> Iterator[bytes]:
    rest = iter(rows)
    while some := list(islice(rest, AT_ONCE)):
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(some)
        yield buffer.getvalue().encode()


def write_json(path: Path, content: Any) -> None:
    """A JSON file, whole or not at all; JSON has no nan, so null stands for it."""
    write_atomically(path, (dumps(content, indent=2) + "\n").encode())
