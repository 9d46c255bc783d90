"""A classifier measured on labelled images."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import NONE_OF_THESE, NOT_SURE, Prediction
from headstart.classifier import load as load_classifier
from headstart.data.dataset import Dataset, arrange, load
from headstart.data.given import settle
from headstart.data.item import Item
from headstart.data.listing import stream_labelled
from headstart.errors import DatasetError
from headstart.metrics.classification import Metrics
from headstart.metrics.comparison import Comparison, compare
from headstart.metrics.intervals import interval
from headstart.predictions.looks import look, look_on_ray
from headstart.predictions.rows import Asked
from headstart.runs import folder as runs
from headstart.runs import steps
from headstart.system.progress import Progress, Recorder, choose_progress


@dataclass(frozen=True)
class Evaluated:
    """Metrics by split, with `views` views of each image; against the image alone, and of it.

    The latter two are of images in one class. answered: by split, where not all are to be.
    """

    metrics: dict[str, Any]
    paired: dict[str, Comparison]
    alone: dict[str, Any]
    views: int
    warnings: tuple[str, ...] = ()
    images_per_second: float | None = None
    answered: Mapping[str, "Answered"] = field(default_factory=dict)


@dataclass
class Answered:
    """Of labelled images how many were answered, of these rightly, and of the others why not."""

    images: int = 0
    answered: int = 0
    right: int = 0
    not_sure: int = 0
    none_of_these: int = 0

    def add(self, prediction: Prediction, label: str) -> None:
        """Count one image of the class."""
        self.images += 1
        self.answered += prediction.silence is None
        self.right += prediction.silence is None and prediction.label == label
        self.not_sure += prediction.silence == NOT_SURE
        self.none_of_these += prediction.silence == NONE_OF_THESE

    def to_dict(self) -> dict[str, Any]:
        """Counts, and each share with its 95% interval."""
        return {
            **asdict(self),
            "accuracy": self.right / self.answered if self.answered else None,
            "accuracy_interval": interval(self.right, self.answered),
            "share_interval": interval(self.answered, self.images),
            "none_of_these_interval": interval(self.none_of_these, self.images),
        }


def evaluate_views(
    run: "str | os.PathLike[str]",
    source: Any,
    views: int,
    *,
    accuracy: float | None = None,
    reject: float | None = None,
    strict: bool = False,
    on: str | None = None,
    progress: Progress | bool | None = None,
) -> Evaluated:
    """Measure a classifier on labelled images, with at most so many different views of each.

    accuracy, reject: where it is not to answer, as in `Classifier.predict`; metrics are of all.
    on: "ray", or the address of a Ray cluster, whose computers look at the images, and must all see
    run and source under these names; the figures are the same.
    Images that a run was trained on are counted and told, for they flatter.
    Raises DatasetError if the images have a class that the classifier does not know.
    """
    progress = Recorder(choose_progress(progress))
    classifier = load_classifier(run)
    asked = Asked(tta=views, accuracy=accuracy, reject=reject)
    classifier.silence(accuracy, reject)  # refused before anything slow
    answered: dict[str, Answered] = {}
    dataset = load(source, split=False, progress=progress) if on is None else _list(source)
    unknown = [name for name in dataset.classes if name not in classifier.classes]
    if unknown:
        raise DatasetError(
            f"expected images of the classes {', '.join(classifier.classes)}, "
            f"found also {', '.join(unknown)}. Remove these images, or learn them: headstart train "
            "PHOTOS"
        )
    task = classifier.task
    if dataset.task.multilabel and not task.multilabel:
        raise DatasetError(
            "expected one class an image, as this classifier was trained, found several"
        )
    known = runs.training_images(Path(run))
    predictions: dict[str, tuple[list[np.ndarray], list[Item]]] = {}
    bad: list[tuple[Item, str]] = []
    count, seen = 1, 0
    with ExitStack() as held:
        held.enter_context(progress.stage("predict", len(dataset.items), "images"))
        if on is None:
            looks = look(classifier, dataset.items, asked, progress)
        else:
            looks = held.enter_context(look_on_ray(on, Path(run), source, asked, progress))
        for item, one in zip(dataset.items, looks, strict=True):
            seen += one.key.hex() in known and item.split != "train"
            if one.probabilities is None:
                bad.append((item, one.error))
                if strict:
                    break
                continue
            probabilities, items = predictions.setdefault(item.split or "all", ([], []))
            count = len(one.probabilities)
            probabilities.append(np.stack([one.probabilities.mean(axis=0), one.probabilities[0]]))
            items.append(item)
            if one.said is not None:
                answered.setdefault(item.split or "all", Answered()).add(one.said, item.label)
    if seen:
        progress.warn(
            f"{seen:,} of these {len(dataset.items):,} images were trained on, which flatters the "
            "figures: those of images that it has not seen are in the run's metrics.json"
        )
    steps.refuse(bad, strict, progress, "headstart predict RUN PHOTOS --format csv names all")
    if not predictions:
        raise DatasetError(
            f"expected images that can be used in {source}, found none. Type: headstart evaluate "
            f"{run} PHOTOS with others"
        )
    metrics: dict[str, Any] = {}
    paired, alone = {}, {}
    for split, (probabilities, items) in predictions.items():
        both = np.stack(probabilities).astype(np.float32)
        targets = task.targets([item.labels for item in items])
        metrics[split] = task.evaluate(both[:, 0], targets, classifier.thresholds)
        if not task.multilabel:
            alone[split] = task.evaluate(both[:, 1], targets, None)
            paired[split] = compare(both[:, 0], both[:, 1], targets)
    seconds = progress.seconds["predict"]
    rate = len(dataset.items) / seconds if seconds else None
    return Evaluated(metrics, paired, alone, count, tuple(progress.warnings), rate, answered)


def _list(source: Any) -> Dataset:
    """The labelled images, which other computers read."""
    warnings: list[str] = []
    listed = stream_labelled(source, None, warnings.append, in_order=True)
    items = [item.let_go() for item in listed]  # of an archive they come with their bytes
    return arrange(items, Path(str(source)), validation_fraction=0, seed=0, split=False,
                   before=warnings)  # fmt: skip


def evaluate(
    run: "str | os.PathLike[str]",
    source: Any,
    *,
    labels: Any = None,
    strict: bool = False,
    progress: Progress | bool | None = None,
) -> dict[str, Metrics]:
    """Metrics of a classifier on labelled images, by split ("all" where there are no splits).

    source, labels: as `train` takes them. Raises DatasetError if the images have a class that the
    classifier does not know.

    >>> metrics = headstart.evaluate("runs/photos-1", "photos/")["all"]
    >>> metrics.n, metrics.accuracy
    (48, 1.0)
    """
    source = settle(source, labels)
    return evaluate_views(run, source, 1, strict=strict, progress=progress).metrics
