"""The images that a run's classifier is judged by, each with its probabilities, as the run keeps
them: of the split that tells most of new images.

Letters: N images, C classes.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from headstart.data.rows import Coder
from headstart.errors import ClassifierError, cannot_read
from headstart.metrics.task import MultiLabel, SingleLabel, Task
from headstart.runs.folder import PREDICTIONS, Run, bad_table, stream_table, stream_training
from headstart.system.atomic import write_atomically

OUT_OF_FOLD = "out_of_fold.safetensors"


@dataclass(frozen=True)
class Judged:
    """split: "test", "validation" or "cross_validation". names, contents (hexadecimal hashes),
    labels: of N images. targets: as the task has them. probabilities: (N, C). given: (N, C) whether
    an image is given a class. thresholds: (C,) or (N, C), where an image may be in several.
    """

    split: str
    task: Task
    names: list[str]
    contents: list[str]
    labels: list[str]
    targets: np.ndarray
    probabilities: np.ndarray
    given: np.ndarray

    @property
    def classes(self) -> tuple[str, ...]:
        """The C names."""
        return self.task.classes

    @property
    def has(self) -> np.ndarray:
        """(N, C) whether an image is in a class."""
        if self.task.multilabel:
            return self.targets == 1
        has: np.ndarray = self.targets[:, None] == np.arange(len(self.classes))
        return has

    @property
    def right(self) -> np.ndarray:
        """(N,) whether all that is said of an image is true."""
        right: np.ndarray = (self.has == self.given).all(axis=1)
        return right

    @property
    def wrongness(self) -> np.ndarray:
        """(N,) the probability that was stated of what is not so: of a class that an image is not
        in, or against one that it is in.
        """
        against = np.where(self.has, 1 - self.probabilities, self.probabilities)
        wrongness: np.ndarray = against.max(axis=1)
        return wrongness

    def find_worst(self, most: int) -> list["Mistake"]:
        """The wrong images, the most surely wrong first."""
        wrong = np.flatnonzero(~self.right)
        order = wrong[np.argsort(-self.wrongness[wrong], kind="stable")]
        return [
            Mistake(
                self.names[row],
                self.labels[row],
                ";".join(np.array(self.classes)[self.given[row]].tolist()),
                float(self.wrongness[row]),
            )
            for row in order[:most].tolist()
        ]


@dataclass(frozen=True)
class Mistake:
    """An image of which something wrong is said. given: what it is taken for ("a;b", "" for no
    class). sure: the probability that was stated of what is not so.
    """

    name: str
    label: str
    given: str
    sure: float


def read_judged(run: Run) -> Judged | None:
    """None where the run kept no image that it was not trained on, nor what cross-validation said.
    Images without probabilities are left out: a head that diverged has none.

    Raises ClassifierError for a table that cannot be read.
    """
    classes, multi = tuple(run.record["classes"]), bool(run.record["multi"])
    task: Task = MultiLabel(classes) if multi else SingleLabel(classes)
    file = run.folder / "predictions.csv"
    every: dict[str, _Columns] = {}  # by split
    try:
        for name, content, split, label, said, *shares in stream_table(
            file, [*PREDICTIONS, *classes]
        ):
            every.setdefault(split, _Columns()).add(name, content, label, said, shares)
        for held in ("test", "validation"):
            if held in every:
                return every[held].judge(held, task)
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise bad_table(file, error) from error
    return _read_crossed(run, task)


class _Columns:
    """What a table says of the images of a split, by column: rows as lists take far more."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.contents: list[str] = []
        self.labels, self.said = Coder(), Coder()
        self.shares = array("d")

    def add(self, name: str, content: str, label: str, said: str, shares: list[str]) -> None:
        self.names.append(name)
        self.contents.append(content)
        self.labels.add([label])
        self.said.add([said])
        self.shares.extend(map(float, shares))

    def judge(self, split: str, task: Task) -> Judged | None:
        """None where no image has probabilities. Raises ValueError for unknown classes."""
        probabilities = np.frombuffer(self.shares).reshape(len(self.names), -1)
        known = np.asarray(np.isfinite(probabilities).all(axis=1))
        if not known.any():
            return None
        labels, said = self.labels.column().take(known), self.said.column().take(known)
        texts: list[str] = [labels.values[code] for code in labels.codes.tolist()]
        return Judged(
            split, task, list(compress(self.names, known)), list(compress(self.contents, known)),
            texts, _targets(labels.values, task)[labels.codes], probabilities[known],
            _indicate(said.values, task)[said.codes],
        )  # fmt: skip


def _read_crossed(run: Run, task: Task) -> Judged | None:
    """The training images as heads see them that have not learned them."""
    from safetensors import SafetensorError, safe_open

    path = run.folder / OUT_OF_FOLD
    if not path.is_file():
        return None
    names, contents, label = [], [], Coder()
    for row in stream_training(run.folder):
        names.append(row[0])
        contents.append(row[1])
        label.add([row[2]])
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        probabilities = arrays["probabilities"].astype(np.float64)
        if probabilities.shape != (len(names), len(task.classes)):
            raise ValueError(f"an array of {probabilities.shape}")
        known = ~np.isnan(probabilities[:, 0])
        if not known.any():
            return None
        labels = label.column().take(known)
        if task.multilabel:
            given = probabilities >= arrays.get("thresholds", 0.5)
        else:
            given = probabilities.argmax(axis=1)[:, None] == np.arange(len(task.classes))
        return Judged(
            "cross_validation", task, list(compress(names, known)), list(compress(contents, known)),
            [labels.values[code] for code in labels.codes.tolist()],
            _targets(labels.values, task)[labels.codes], probabilities[known], given[known],
        )  # fmt: skip
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        advice = "Remove the file to go on without it, or train again"
        raise ClassifierError(
            cannot_read(path, error, "what cross-validation said of the training images", advice)
        ) from error


def write_out_of_fold(
    folder: Path, probabilities: np.ndarray, thresholds: np.ndarray | None
) -> None:
    """(N, C) of the training images in their order, nan where there is none; thresholds (N, C)."""
    from safetensors.numpy import save

    arrays = {"probabilities": probabilities.astype(np.float32)}
    if thresholds is not None:
        arrays["thresholds"] = thresholds.astype(np.float32)
    write_atomically(folder / OUT_OF_FOLD, save(arrays))


def split_labels(text: str, task: Task) -> tuple[str, ...]:
    """The classes that a table's cell names. Raises ValueError for one that is not known."""
    if not task.multilabel:  # a class itself may be called "a;b"
        if text not in task.classes:
            raise ValueError(f"the class {text!r}")
        return (text,)
    names = tuple(filter(None, text.split(";")))
    unknown = [name for name in names if name not in task.classes]
    if unknown:
        raise ValueError(f"the class {unknown[0]!r}")
    return names


def _targets(labels: Sequence[str], task: Task) -> np.ndarray:
    return task.targets([split_labels(text, task) for text in labels])


def _indicate(labels: Sequence[str], task: Task) -> np.ndarray:
    """(N, C) whether an image is given a class."""
    number = {name: index for index, name in enumerate(task.classes)}
    given = np.zeros((len(labels), len(task.classes)), bool)
    for row, text in enumerate(labels):
        given[row, [number[name] for name in split_labels(text, task)]] = True
    return given
