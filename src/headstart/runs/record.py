"""What a run keeps beside its classifier: tables, metrics, pictures, run.json."""

import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from headstart import __version__
from headstart.abstention.abstention import Abstention
from headstart.audit.audit import Audit
from headstart.classifier import assemble
from headstart.data.given import Source
from headstart.data.rows import list_column
from headstart.explain import neighbours
from headstart.features.extract import Features
from headstart.heads.fit import Trained
from headstart.images.augment import NONE
from headstart.metrics.task import Task
from headstart.recipe import Recipe
from headstart.report.plots import draw_picture
from headstart.report.verdict import Regularisation, verdict
from headstart.runs import folder as runs
from headstart.runs import judged, keras_file
from headstart.runs.fields import FORMAT
from headstart.runs.pictures import name_training, picture_curves
from headstart.runs.steps import Inputs, Results
from headstart.selection.cuts import Selection
from headstart.selection.heads import HeadSelection
from headstart.system.atomic import write_atomically
from headstart.system.progress import Recorder

MOST_SHOWN = 50_000  # training images of which the nearest to a new one can be shown: of more some


def describe_choices(
    selection: Selection, heads: HeadSelection | None, precision: dict[str, Any] | None
) -> dict[str, Any]:
    """What was tried and what it gave, where the recipe left something open."""
    return {
        "selection": selection.to_dict() if selection.tried or selection.before else None,
        "heads": heads.to_dict() if heads else None,
        "precision": precision,
    }


def describe(inputs: Inputs, trained: Trained) -> dict[str, Any]:
    """What a classifier tells of its origin."""
    recipe, extractor = inputs.recipe, inputs.extractor
    description: dict[str, Any] = {
        "headstart": __version__,
        "recipe": recipe.name,
        "backbone": recipe.backbone,
        "cuts": [str(cut) for cut in extractor.cuts],
        "pooling": recipe.pooling,
        "extractor": extractor.fingerprint,
        "augmentation": {
            name: value
            for name, value in recipe.model_dump(mode="json")["augmentation"].items()
            if recipe.augmentation != NONE and value is not None
        },
    }
    if trained.thresholds is not None:
        description["thresholds"] = [round(float(value), 6) for value in trained.thresholds]
    return description


def write_classifier(
    folder: Path, inputs: Inputs, trained: Trained, abstention: Abstention
) -> None:
    """The classifier; and where Keras has trained, the whole as a plain Keras model too."""
    extractor, description = inputs.extractor, describe(inputs, trained)
    classifier = assemble(extractor, trained.head, inputs.task.classes, description, abstention)
    classifier.save(folder / "classifier")
    if inputs.recipe.head == "neural" or trained.history:
        keras_file.write(folder, inputs, trained.head)


def write_audit(folder: Path, audit: Audit | None) -> None:
    """What was found in the images, where they were looked through."""
    if audit is not None:
        runs.write_json(folder / "audit.json", audit.to_dict())


def write_run(
    folder: Path,
    source: Source,
    inputs: Inputs,
    trained: Trained,
    results: Results,
    progress: Recorder,
    studies: dict[str, Any],
) -> None:
    """Everything of the run but its classifier; run.json, the last, says that it is whole."""
    dataset, features, metrics = inputs.dataset, inputs.features, results.metrics
    task = dataset.task
    classes = task.classes
    bad = [row for part in features.values() for row in part.bad]
    runs.write_table(
        folder / "unreadable.csv", ["image", "reason"], ((item.name, why) for item, why in bad)
    )
    runs.write_table(
        folder / "predictions.csv",
        [*runs.PREDICTIONS, *classes],
        _prediction_rows(features, results.probabilities, task, trained.thresholds),
    )
    crossed = [runs.CROSSED, *classes] if _has_crossed(trained) else []
    runs.write_table(
        folder / "training.csv", [*runs.TRAINING, *crossed],
        _training_rows(features["train"], trained, task),
    )  # fmt: skip
    if trained.out_of_fold is not None and _has_crossed(trained):
        judged.write_out_of_fold(folder, trained.out_of_fold, trained.thresholds_out_of_fold)
    step = -(-len(features["train"].items) // MOST_SHOWN)
    neighbours.learn(
        features["train"].values[::step, 0],
        [(item.name, item.label, str(item.path.absolute()))
         for item in features["train"].items[::step]],
    ).write(folder / neighbours.FILE)  # fmt: skip
    if trained.history:
        images = {split: len(part.items) for split, part in features.items()}
        of = name_training(folder, source.place, images, classes)
        drawn = picture_curves(of, trained.history, trained.kept_epoch, images.get("validation"))
        write_atomically(folder / "curves.png", draw_picture(drawn, folder / "curves.png"))
    runs.write_json(
        folder / "metrics.json", {split: measured.to_dict() for split, measured in metrics.items()}
    )
    tuned = bool((studies["tuning"] or {}).get("kept"))
    said = verdict(
        metrics, trained.history, kept_epoch=trained.kept_epoch, tuned=tuned,
        has=_regularisation(inputs.recipe),
    )  # fmt: skip
    seconds = {stage: round(spent, 3) for stage, spent in progress.seconds.items()}
    runs.write_json(
        folder / "run.json",
        {
            "format": FORMAT,
            "headstart": __version__,
            **source.to_dict(),
            "dataset": dataset.fingerprint(),
            "classes": list(classes),
            "images": {
                **{split: len(part.items) for split, part in features.items()},
                "unreadable": len(bad),
            },
            "multi": task.multilabel,
            "groups": len(set(list_column(dataset.items, "group").values) - {None}),
            "cache": {
                "hits": sum(part.hits for part in features.values()),
                "misses": sum(part.misses for part in features.values()),
            },
            "verdict": said.text if said else None,
            **studies,
            "linear": _describe_linear(trained),
            "versions": versions(),
            "kept_epoch": trained.kept_epoch,
            "history": trained.history,
            "warnings": progress.warnings,
            "seconds": {**seconds, "total": round(sum(seconds.values()), 3)},
        },
    )


def _describe_linear(trained: Trained) -> dict[str, Any] | None:
    """How strongly a linear head is held back, what else was tried, and what calibrated it."""
    if trained.strength is None:
        return None
    return {
        "strength": trained.strength,
        "temperature": trained.temperature,
        "trials": [asdict(trial) for trial in trained.trials],
    }


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    known = {"python": platform.python_version()}
    for name in ("numpy", "openvino", "keras", "pillow", "simplejpeg", "opencv-python-headless"):
        with suppress(PackageNotFoundError):
            known[name] = version(name)
    return known


def _regularisation(recipe: Recipe) -> Regularisation:
    """What the recipe of a neural head has against overfitting, which is no advice any more."""
    layers = [layer.split() for layer in recipe.layers]
    rates = [float(rest[0]) if rest else recipe.dropout
             for kind, *rest in layers if kind == "dropout"]  # fmt: skip
    units = [int(rest[0]) for kind, *rest in layers if kind == "dense"]
    return Regularisation(
        augmented=recipe.fresh or recipe.cached_views > 1, dropout=max(rates, default=0.0),
        units=max(units, default=0), stops=recipe.patience > 0,
    )  # fmt: skip


def _has_crossed(trained: Trained) -> bool:
    """Whether each training image is told what heads said that had not seen it."""
    return trained.out_of_fold is not None and trained.judged is None


def _training_rows(part: Features, trained: Trained, task: Task) -> Iterable[list[Any]]:
    """Each training image, with what heads that had not seen it say of it where there are such."""
    for place, item in enumerate(part.items):
        row: list[Any] = [item.name, item.content_hash.hex(), item.label]
        if trained.out_of_fold is not None and _has_crossed(trained):
            probabilities, each = trained.out_of_fold[place], trained.thresholds_out_of_fold
            if np.isnan(probabilities).any():  # in a fold that could not be judged
                row += [""] * (1 + len(probabilities))
            else:
                said = task.decide(probabilities, None if each is None else each[place])
                row += [";".join(said), *(f"{p:.6g}" for p in probabilities)]
        yield row


def _prediction_rows(
    features: dict[str, Features],
    probabilities: dict[str, np.ndarray],
    task: Task,
    thresholds: np.ndarray | None,
) -> Iterable[list[Any]]:
    for split, part in features.items():
        if split == "train":
            continue
        for item, row in zip(part.items, probabilities[split], strict=True):
            predicted = ";".join(task.decide(row, thresholds))
            rounded = [f"{p:.6g}" for p in row]
            yield [item.name, item.content_hash.hex(), split, item.label, predicted, *rounded]
