"""A classifier measured on labelled images."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import load as load_classifier
from headstart.data.dataset import load
from headstart.data.item import Item
from headstart.errors import DatasetError
from headstart.metrics.classification import Metrics
from headstart.metrics.comparison import Comparison, compare
from headstart.runs import folder as runs
from headstart.runs import steps
from headstart.system.progress import Progress, Recorder


@dataclass(frozen=True)
class Evaluated:
    """Metrics by split, with `views` views of each image; against the image alone, and of it.

    The latter two are of images in one class.
    """

    metrics: dict[str, Any]
    paired: dict[str, Comparison]
    alone: dict[str, Any]
    views: int
    warnings: tuple[str, ...] = ()
    images_per_second: float | None = None


def evaluate_views(
    run: "str | os.PathLike[str]",
    source: str | Path,
    views: int,
    *,
    strict: bool = False,
    progress: Progress | None = None,
) -> Evaluated:
    """Measure a classifier on labelled images, with at most so many different views of each.

    Images that a run was trained on are counted and told, for they flatter.
    Raises DatasetError if the images have a class that the classifier does not know.
    """
    progress = Recorder(progress)
    classifier = load_classifier(run)
    dataset = load(source, split=False)
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
    seen = sum(i.content_hash.hex() in known for i in dataset.items if i.split != "train")
    if seen:
        progress.warn(
            f"{seen:,} of these {len(dataset.items):,} images were trained on, which flatters the "
            "figures: those of images that it has not seen are in the run's metrics.json"
        )
    predictions: dict[str, tuple[list[np.ndarray], list[Item]]] = {}
    bad: list[tuple[Item, str]] = []
    count = 1
    with progress.stage("predict", len(dataset.items), "images"):
        rows = classifier.by_view(dataset.items, views)
        for item, (_, error, by_view) in zip(dataset.items, rows, strict=True):
            progress.advance()
            if by_view is None:
                bad.append((item, error or ""))
                if strict:
                    break
                continue
            probabilities, items = predictions.setdefault(item.split or "all", ([], []))
            count = len(by_view)
            probabilities.append(np.stack([by_view.mean(axis=0), by_view[0]]))
            items.append(item)
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
    return Evaluated(metrics, paired, alone, count, tuple(progress.warnings), rate)


def evaluate(
    run: "str | os.PathLike[str]",
    source: str | Path,
    *,
    strict: bool = False,
    progress: Progress | None = None,
) -> dict[str, Metrics]:
    """Metrics of a classifier on labelled images, by split ("all" where there are no splits).

    Raises DatasetError if the images have a class that the classifier does not know.
    """
    return evaluate_views(run, source, 1, strict=strict, progress=progress).metrics
