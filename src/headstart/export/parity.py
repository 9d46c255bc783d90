"""How far an export's probabilities are from the classifier's, from the file on the disk on.

The classifier answers in f32, on headstart's own decoder; the export through its own run.py, in a
process of its own that knows nothing of headstart. Letters: N images, C classes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import Classifier, find_features
from headstart.errors import EngineError
from headstart.features.engine import OpenVinoEngine

# Of a probability. 8 bits are judged by accuracy, not by how near probabilities are.
TOLERANCE = {"f32": 1e-3, "f16": 1e-2, "int8": 1.0}
AT_ONCE = 200  # files a process
NAMED = 5


@dataclass(frozen=True)
class Parity:
    """images: compared. difference: the largest of a probability. mean: of the largest of each
    image. labels: share of images of which the same is said. beyond: images that differ by
    more than the tolerance or that only one side can read, with what was found.
    """

    images: int
    difference: float
    mean: float
    labels: float
    beyond: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "beyond": [list(row) for row in self.beyond]}

    def __str__(self) -> str:
        return (
            f"{self.images} images: largest difference of a probability {self.difference:.1e}, "
            f"same class {self.labels:.1%}"
        )


@dataclass(frozen=True)
class Typical:
    """difference: the largest of a typicality. beyond: images that differ by more than the
    tolerance, with what was found.
    """

    difference: float
    beyond: tuple[tuple[str, str], ...]


def reference(classifier: Classifier, images: Sequence[Any], precision: str = "f32") -> np.ndarray:
    """(N, C) probabilities in f32 of files or encoded images, nan for those that are refused."""
    rows = np.full((len(images), len(classifier.classes)), np.nan, np.float32)
    engine = OpenVinoEngine(classifier.graph(), precision)
    prepared = [classifier.prepare((place, image))[1] for place, image in enumerate(images)]
    known = [place for place, pixels in enumerate(prepared) if pixels is not None]
    for place, row in zip(known, engine.run(p for p in prepared if p is not None), strict=True):
        rows[place] = row
    return rows


def typicalities(classifier: Classifier, paths: Sequence[Path]) -> np.ndarray:
    """(N,) shares of training images as far from all others as the image, from features in f32; nan
    for files that headstart refuses. Raises ClassifierError where the classifier cannot tell.
    """
    novelty = classifier.abstention.unlike()
    graph = classifier.graph()
    graph.add_outputs([find_features(graph)])
    engine = OpenVinoEngine(graph, "f32")
    found = np.full(len(paths), np.nan)
    prepared = [classifier.prepare((place, path))[1] for place, path in enumerate(paths)]
    known = [place for place, pixels in enumerate(prepared) if pixels is not None]
    rows = engine.run_all(p for p in prepared if p is not None)
    for place, (_, features) in zip(known, rows, strict=True):
        found[place] = novelty.typicality(novelty.distances(features[None]))[0]
    return found


def compare(
    names: Sequence[str],
    expected: np.ndarray,
    found: Sequence[np.ndarray | str],
    tolerance: float,
    decide: Callable[[np.ndarray], object] = np.argmax,
) -> Parity:
    """Of (N, C) expected probabilities, nan where headstart refuses, and those found or why there
    are none. decide: what is said of an image by its (C,) probabilities.
    """
    differences, same, beyond = [], [], []
    for name, row, other in zip(names, expected, found, strict=True):
        if np.isnan(row).any():
            continue
        if isinstance(other, str):
            beyond.append((name, other))
            continue
        difference = float(np.abs(row - other).max())
        differences.append(difference)
        same.append(decide(row) == decide(other))
        if not difference <= tolerance:
            beyond.append((name, f"differs by {difference:.2g}"))
    count = len(differences)
    worst = max(differences, default=0.0)
    mean = float(np.mean(differences)) if count else 0.0
    labels = float(np.mean(same)) if count else 1.0
    return Parity(count, worst, mean, labels, tuple(beyond))


def compare_typicality(
    names: Sequence[str], expected: np.ndarray, answers: Sequence[dict[str, Any]], tolerance: float
) -> Typical:
    """Of (N,) expected ones, nan where headstart refuses, and what `ask_export` found."""
    differences, beyond = [0.0], []
    for name, known, answer in zip(names, expected, answers, strict=True):
        if np.isnan(known) or "error" in answer:
            continue
        difference = abs(answer["typicality"] - known)
        differences.append(float(difference))
        if not difference <= tolerance:
            beyond.append((name, f"typicality differs by {difference:.2g}"))
    return Typical(max(differences), tuple(beyond))


def run_export(folder: Path, paths: Sequence[Path]) -> list[np.ndarray | str]:
    """What the export in `folder` says of each file, by its run.py: (C,) or why it has nothing."""
    return take_probabilities(ask_export(folder, paths))


def take_probabilities(answers: Sequence[dict[str, Any]]) -> list[np.ndarray | str]:
    """(C,) of each answer, or why there are none."""
    return [
        answer.get("error") or np.array(answer["probabilities"], np.float64) for answer in answers
    ]


def ask_export(folder: Path, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What the run.py of the export in `folder` prints of each file: probabilities and, where it
    can tell, typicality; or an error.
    """
    rows: list[dict[str, Any]] = []
    for start in range(0, len(paths), AT_ONCE):
        part = [str(path.absolute()) for path in paths[start : start + AT_ONCE]]
        rows += map(json.loads, call_runner(folder, ["--json", *part]))
    if len(rows) != len(paths):
        raise EngineError(
            f"expected {len(paths)} answers of the export's run.py, found {len(rows)}. "
            f"Type: python {folder / 'run.py'} --golden"
        )
    return rows


def call_runner(folder: Path, arguments: Sequence[str]) -> list[str]:
    """The JSON lines that run.py prints. Raises EngineError where it falls."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": ""}
    environment.setdefault("KERAS_BACKEND", "tensorflow")
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    child = subprocess.run(
        [sys.executable, "-W", "ignore", str((folder / "run.py").absolute()), *arguments],
        capture_output=True, text=True, encoding="utf-8", env=environment,
    )  # fmt: skip
    lines = [line for line in child.stdout.splitlines() if line.startswith("{")]
    if not lines:
        reason = "; ".join(child.stderr.strip().splitlines()[-3:]) or f"exit {child.returncode}"
        raise EngineError(
            f"expected answers of {folder / 'run.py'}, found: {reason}. Install what export.json "
            "names as its runtime, or export again: headstart export RUN"
        )
    return lines
