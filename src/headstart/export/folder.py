"""An export: a folder that needs no headstart, and that has shown that it predicts what headstart
predicts.

model.*        the model, in its format
export.json    class names, preprocessing, thresholds, licence, provenance, what was measured
run.py         classifies files with it, on one page, without headstart
golden/        images, odd ones too; golden.json what the classifier says of them
README.md      how to use it
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from headstart.backbones.catalogue import CATALOGUE
from headstart.classifier import Classifier
from headstart.errors import ClassifierError, EngineError, cannot_read
from headstart.export.formats import PIXELS, Format, Subject, find_format
from headstart.export.golden import choose, make_odd
from headstart.export.int8 import GOLDEN as TOLERANCE_OF_INT8
from headstart.export.int8 import Cost, weigh
from headstart.export.novelty_graph import describe_typicality
from headstart.export.parity import (
    NAMED,
    TOLERANCE,
    Parity,
    ask_export,
    call_runner,
    compare,
    compare_typicality,
    reference,
    run_export,
    take_probabilities,
    typicalities,
)
from headstart.export.readme import write_readme
from headstart.system.atomic import folder_atomically
from headstart.system.digest import digest, digest_file, is_sealed, seal
from headstart.system.json import dumps, loads
from headstart.system.progress import Progress

RUNNER = Path(__file__).with_name("runner.py")  # not imported: it sets Pillow up for itself
FORMAT = 1
RECORD, GOLDEN = "export.json", "golden.json"
ACCURACIES = (0.9, 0.95, 0.98, 0.99)  # whose thresholds of "not sure" travel


@dataclass(frozen=True)
class Exported:
    """An export that was kept. parity: with the classifier in f32, on the files it was checked on.
    own: how far the classifier itself is from that, where it runs in bf16. cost: of 8 bits.
    """

    folder: Path
    record: dict[str, Any]
    parity: Parity
    own: Parity | None
    cost: Cost | None = None


def export(
    subject: Subject,
    kind: str,
    out: Path,
    *,
    precision: str = "f32",
    most_drop: float = 0.005,
    images: Sequence[Path] = (),
    origin: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a classifier in another format to the new folder `out`, kept only if its own runtime
    agrees with it on `images` and on odd ones.

    most_drop: of accuracy, that 8 bits may lose. images: files on which both are compared; a few of
    them travel with the export. origin: what else is to be told of where it comes from.
    Raises EngineError naming the images that differ beyond the tolerance, HeadstartError for a
    format that there is not, StorageError where it cannot be written.
    """
    progress = progress or Progress()
    form = find_format(kind, precision)
    check_new(out)
    classifier = subject.classifier
    if classifier.precision == "int8" and (kind, precision) != ("openvino", "f32"):
        raise EngineError(
            f"expected a classifier in f32 or bf16 to export as {form.title} in {precision}, found "
            "one whose network is in 8 bits, which OpenVINO alone computes as it was trained. "
            "Type: --to openvino, or train again with --precision auto"
        )
    if precision == "int8":
        check_examples(subject)
    record = describe(classifier, form, precision, origin or {})
    with folder_atomically(out) as folder:
        with progress.stage(f"write {form.title}"):
            golden = write_golden(
                folder, classifier, images, typical=record["none_of_these"] is not None
            )
            record["golden"] = digest((folder / GOLDEN).read_bytes())
            form.write(subject, folder / form.model, precision, metadata(record))
            (folder / "run.py").write_bytes(RUNNER.read_bytes())
            (folder / RECORD).write_text(dumps(record), encoding="utf-8")  # for run.py
        with progress.stage(f"check {form.title}"):
            paths = [*golden, *images]
            expected = reference(classifier, paths)
            decide = partial(classifier.task.decide, thresholds=classifier.thresholds)
            names = [str(path.name if path in golden else path) for path in paths]
            answers = ask_export(folder, paths)
            found = take_probabilities(answers)
            parity = compare(names, expected, found, record["tolerance"], decide)
            if (told := record["none_of_these"]) is not None:
                typical = compare_typicality(
                    names, typicalities(classifier, paths), answers, told["tolerance"]
                )
                told["difference"] = typical.difference
                parity = replace(parity, beyond=parity.beyond + typical.beyond)
            own = None
            if classifier.precision == "bf16":
                lower = list(reference(classifier, paths, classifier.precision))
                own = compare(names, expected, lower, 1.0, decide)
            check(parity, form, record["tolerance"])
            cost = None
            if precision == "int8":
                cost = weigh_int8(subject, folder, record, golden, most_drop)
                record["int8"] = cost.to_dict()
        record["parity"] = {**parity.to_dict(), "own": own and own.to_dict()}
        write_readme(folder, record, form)
        parts = sorted(path for path in folder.rglob("*") if path.is_file())
        record["parts"] = {
            path.relative_to(folder).as_posix(): digest_file(path)
            for path in parts
            if path.name != RECORD
        }
        sealed = seal(loads(dumps(record).encode()))
        (folder / RECORD).write_text(dumps(sealed, indent=1) + "\n", encoding="utf-8")
    return Exported(out, sealed, parity, own, cost)


def check_examples(subject: Subject) -> None:
    """Raises EngineError without images to calibrate on and to judge by."""
    examples = subject.examples
    if examples is None or not examples.training or not examples.judged:
        raise EngineError(
            "expected a run whose training images and validation or test images are still where "
            "they were, to calibrate 8 bits and to judge them by, found none. "
            "Type: --precision f16"
        )


def weigh_int8(
    subject: Subject, folder: Path, record: dict[str, Any], golden: Sequence[Path], most_drop: float
) -> Cost:
    """What 8 bits cost. From here on the golden images are the export's own answers: they are to be
    the same elsewhere.
    """
    examples = subject.examples
    assert examples is not None
    expected = reference(subject.classifier, examples.judged)
    found = run_export(folder, examples.judged)
    model = folder / record["model"]
    cost = weigh(subject.classifier, model, examples, expected, found, most_drop)
    own = zip(golden, run_export(folder, golden), strict=True)
    answers = {
        path.name: {"probabilities": row.tolist()} for path, row in own if not isinstance(row, str)
    }
    (folder / GOLDEN).write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    record["golden"] = digest((folder / GOLDEN).read_bytes())
    record["tolerance"] = TOLERANCE_OF_INT8
    return cost


def check_new(out: Path) -> None:
    """Raises EngineError if there is something in `out` already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EngineError(
            f"expected a new folder for the export, found {out} with something in it. "
            "Type: --out with another name"
        )


def describe(
    classifier: Classifier, form: Format, precision: str, origin: dict[str, Any]
) -> dict[str, Any]:
    """What export.json tells of the model, before it is measured."""
    about = classifier.description
    backbone = about.get("backbone", "")
    entry = CATALOGUE.get(backbone)
    answers = classifier.abstention.out_of_fold
    not_sure = {}
    # Thresholds learned from probabilities of f32 promise nothing of 8 bits.
    if answers is not None and len(answers.confidence) and precision != "int8":
        for accuracy in ACCURACIES:
            least = answers.answer(accuracy).thresholds
            not_sure[str(accuracy)] = [float(x) if np.isfinite(x) else 2.0 for x in least]
    none_of_these = None
    if form.graph and precision != "int8":  # whose features are others
        none_of_these = describe_typicality(classifier, precision)
    return {
        "format": FORMAT,
        "kind": form.kind,
        "model": form.model,
        "precision": precision,
        "runtime": [*form.runtime, *PIXELS],
        "input": {"name": "image", "type": "uint8", "order": "RGB",
                  "shape": [1, classifier.geometry.height, classifier.geometry.width, 3]},
        "output": {"name": "probabilities", "type": "float32",
                   "shape": [1, len(classifier.classes)]},
        "classes": list(classifier.classes),
        "thresholds": None if classifier.thresholds is None else classifier.thresholds.tolist(),
        "not_sure": not_sure,
        "none_of_these": none_of_these,
        "geometry": asdict(classifier.geometry),
        "backbone": backbone,
        "cuts": about.get("cuts", []),
        "licence": (f"weights of {backbone}: {entry.licence}, {entry.source}; what was trained on "
                    "top of them belongs to whoever trained it") if entry else "not known",
        "provenance": {"headstart": about.get("headstart"), "recipe": about.get("recipe"),
                       "extractor": about.get("extractor"), "precision": classifier.precision,
                       "exported_with": versions(), **origin},
        "tolerance": TOLERANCE[precision],
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of what shaped the export."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("headstart", "numpy", "openvino", "onnx", "onnxruntime", "keras", "tensorflow",
                 "tensorflow-cpu", "ai-edge-litert", "pillow",
                 "opencv-python-headless"):  # fmt: skip
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def metadata(record: dict[str, Any]) -> dict[str, str]:
    """What goes into the model's own metadata, as texts."""
    kept = ["classes", "thresholds", "not_sure", "none_of_these", "geometry", "input", "output",
            "backbone", "cuts", "licence", "provenance", "precision", "golden"]  # fmt: skip
    if record["precision"] == "int8":  # whose golden answers come after the model is written
        kept.remove("golden")
    texts = {key: record[key] if isinstance(record[key], str) else dumps(record[key])
             for key in kept}  # fmt: skip
    names = ", ".join(record["classes"][:8]) + (", ..." if len(record["classes"]) > 8 else "")
    texts["description"] = f"Image classifier: {names}. Made by headstart."
    texts["preprocessing"] = (
        "uint8 RGB pixels of the input's size; normalised inside. How an image gets this size: "
        "run.py beside the model, or `geometry`"
    )
    return texts


def write_golden(
    folder: Path, classifier: Classifier, images: Sequence[Path], *, typical: bool
) -> list[Path]:
    """The images that travel, and golden.json with what the classifier says of them in f32.

    typical: whether that is their typicality too.
    """
    place = folder / "golden"
    place.mkdir()
    photos = choose(images)
    for number, path in enumerate(photos, 1):
        content = path.read_bytes()
        (place / f"photo-{number}{path.suffix.lower()}").write_bytes(content)
    for name, content in make_odd(photos[0].read_bytes() if photos else None, classifier.geometry):
        (place / name).write_bytes(content)
    paths = sorted(place.iterdir())
    rows = reference(classifier, paths)
    usable = [not np.isnan(row).any() for row in rows]
    for path, kept in zip(paths, usable, strict=True):
        if not kept:
            path.unlink()
    paths = [path for path, kept in zip(paths, usable, strict=True) if kept]
    known: dict[str, dict[str, Any]] = {
        path.name: {"probabilities": row.tolist()}
        for path, row in zip(paths, rows[usable], strict=True)
    }
    if typical:
        for path, share in zip(paths, typicalities(classifier, paths), strict=True):
            known[path.name]["typicality"] = float(share)
    (folder / GOLDEN).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return paths


def check(parity: Parity, form: Format, tolerance: float) -> None:
    """Raises EngineError, naming the images, unless all agree."""
    if parity.images and not parity.beyond:
        return
    named = "; ".join(f"{name}: {why}" for name, why in parity.beyond[:NAMED])
    more = len(parity.beyond) - NAMED
    raise EngineError(
        f"expected the {form.title} export to agree with the classifier within {tolerance:g}, "
        f"found {len(parity.beyond)} of {parity.images} images that do not: {named}"
        + (f"; and {more} more" if more > 0 else "")
        + ". Nothing was kept. Type: headstart export RUN --to with another format or precision"
    )


def read_record(folder: Path) -> dict[str, Any]:
    """export.json. Raises ClassifierError if there is none, or one that was changed."""
    file = folder / RECORD
    advice = "Restore the folder, or export again: headstart export RUN"
    try:
        record = loads(file.read_bytes())
    except FileNotFoundError:
        raise ClassifierError(
            f"expected an export, found no {RECORD} in {folder}. Give the folder that headstart "
            "export printed"
        ) from None
    except (OSError, ValueError) as error:
        raise ClassifierError(cannot_read(file, error, "an export's record", advice)) from error
    if not is_sealed(record):
        found = "one that was changed since, or is none"
        raise ClassifierError(cannot_read(file, found, "the record as it was written", advice))
    return dict(record)


def verify(folder: Path) -> dict[str, Any]:
    """Whether an export is whole and predicts here what it predicted when it was made: images,
    difference, tolerance and those `beyond`.

    Raises ClassifierError if a file of it is missing or changed, EngineError where its runtime
    falls.
    """
    record = read_record(folder)
    for name, known in record["parts"].items():
        try:
            same = digest_file(folder / name) == known
        except OSError:
            same = False
        if not same:
            raise ClassifierError(
                cannot_read(
                    folder / name, "another, or none", "the file that was exported",
                    "Restore the folder, or export again: headstart export RUN",
                )
            )  # fmt: skip
    told: dict[str, Any] = json.loads(call_runner(folder, ["--golden"])[-1])
    return told
