"""Whether a classifier still does what is asked of it, for continuous integration."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import Classifier, load
from headstart.data import dataset
from headstart.data.item import Item
from headstart.errors import ClassifierError, DatasetError
from headstart.metrics.comparison import Comparison, compare
from headstart.metrics.intervals import Interval, interval
from headstart.runs.folder import training_images
from headstart.system.progress import Progress, Recorder


@dataclass(frozen=True)
class Verdict:
    """Whether a figure is at least what was asked for, and whether the images can tell: then all
    of its 95% interval is on that side.
    """

    figure: float
    interval: Interval
    least: float

    @property
    def kept(self) -> bool:
        """By the figure as it was measured."""
        return self.figure >= self.least - 1e-9  # a hundredth is no exact number

    @property
    def told(self) -> bool:
        """Whether the images can tell."""
        low, high = self.interval
        return low >= self.least if self.kept else high < self.least

    def __str__(self) -> str:
        doubt = "" if self.told else ", though so few images cannot tell"
        return ("kept" if self.kept else "missed") + doubt


@dataclass(frozen=True)
class Checked:
    """accuracy: on N images that no run was trained on; drop: against an older run on the same
    images, as the difference to it. left_out: images trained on, and those that cannot be used.
    """

    n: int
    accuracy: Verdict | None
    drop: Verdict | None
    comparison: Comparison | None
    left_out: int
    unusable: int

    @property
    def kept(self) -> bool:
        """All that was asked for."""
        return all(verdict.kept for verdict in (self.accuracy, self.drop) if verdict is not None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        parts = {"accuracy": self.accuracy, "drop": self.drop}
        return {
            "kept": self.kept,
            "images": self.n,
            "left_out": self.left_out,
            "unusable": self.unusable,
            **{
                name: part and {**asdict(part), "kept": part.kept, "told": part.told}
                for name, part in parts.items()
            },
        }


def check(
    run: "str | os.PathLike[str]",
    source: str | Path,
    *,
    least: float | None = None,
    against: "str | os.PathLike[str] | None" = None,
    most_drop: float = 0.0,
    progress: Progress | None = None,
) -> Checked:
    """Whether a classifier's accuracy on labelled images is at least `least`, and at most
    `most_drop` below that of the run `against` on the same images.

    Images that one of the runs was trained on are left out. Of a set with splits the test images
    count, else the validation images. Raises DatasetError where none are left or where they have
    other classes, ClassifierError where the classifiers have.
    """
    progress = Recorder(progress)
    runs = [Path(run)] + ([] if against is None else [Path(against)])
    classifiers = [load(one) for one in runs]
    first = classifiers[0]
    if any(set(other.classes) != set(first.classes) for other in classifiers):
        raise ClassifierError("expected runs with the same classes, found others in each")
    if any(classifier.task.multilabel for classifier in classifiers):
        raise ClassifierError(
            "expected a classifier of one class an image, found several. Type: headstart evaluate"
        )
    items, seen = _unseen(source, runs)
    unknown = {item.label for item in items} - set(first.classes)
    if unknown:
        raise DatasetError(
            f"expected images of the classes {', '.join(first.classes)}, found also "
            f"{', '.join(sorted(unknown))}. Remove these images, or learn them: headstart train"
        )
    rows = [_probabilities(one, items, first.classes, progress) for one in classifiers]
    usable = ~np.isnan(np.stack(rows)).any(axis=(0, 2))
    if not usable.any():
        raise DatasetError(
            f"expected labelled images that the run was not trained on in {source}, found "
            f"{seen:,} it was trained on and {len(items):,} that cannot be used. Give others"
        )
    rows = [row[usable] for row in rows]
    targets = first.task.targets([item.labels for item in items])[usable]
    n, right = len(targets), int((rows[0].argmax(axis=1) == targets).sum())
    accuracy = drop = paired = None
    if least is not None:
        accuracy = Verdict(right / n, interval(right, n) or (0.0, 1.0), least)
    if against is not None:
        paired = compare(rows[0], rows[1], targets)
        drop = Verdict(paired.difference, paired.difference_interval, 0 - most_drop)
    return Checked(n, accuracy, drop, paired, seen, len(items) - n)


def _unseen(source: str | Path, runs: Sequence[Path]) -> tuple[list[Item], int]:
    """The images to judge by, and how many were left out since they were trained on."""
    items = dataset.load(source, split=False).items
    splits = {item.split for item in items}
    judged = next((name for name in ("test", "validation") if name in splits), None)
    if judged is not None:
        items = tuple(item for item in items if item.split == judged)
    known = frozenset().union(*(training_images(run) for run in runs))
    unseen = [item for item in items if item.content_hash.hex() not in known]
    return unseen, len(items) - len(unseen)


def _probabilities(
    classifier: Classifier, items: Sequence[Item], classes: Sequence[str], progress: Progress
) -> np.ndarray:
    """(N, C) in the order of the classes; nan for an image that cannot be used."""
    rows = np.full((len(items), len(classes)), np.nan, np.float32)
    with progress.stage("predict", len(items), "images"):
        for row, prediction in zip(rows, classifier.stream(items), strict=True):
            progress.advance()
            if prediction.error is None:
                row[:] = [prediction.probabilities[name] for name in classes]
    return rows
