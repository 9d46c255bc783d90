"""Eight bits: a classifier's network quantised, and what that costs and gives.

Letters: N images, C classes.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import Classifier
from headstart.errors import EngineError
from headstart.export.onnx_graph import to_onnx
from headstart.features.eight_bits import quantise
from headstart.features.engine import OpenVinoEngine
from headstart.metrics.comparison import Comparison
from headstart.metrics.comparison import compare as compare_paired

CALIBRATE = 300  # training images that tell the ranges
GOLDEN = 0.05  # of a probability: processors without 8-bit instructions round otherwise
TIMED = 64  # images
Predict = Callable[[Iterable[np.ndarray]], Iterable[np.ndarray]]


@dataclass(frozen=True)
class Examples:
    """training: files to calibrate on. judged: files that were not trained on. has: (N, C) whether
    a judged image is in a class.
    """

    training: Sequence[Path]
    judged: Sequence[Path]
    has: np.ndarray


@dataclass(frozen=True)
class Cost:
    """What eight bits change: paired, of the same images (the first is 8 bits, the second f32);
    images a second of both on this processor.
    """

    accuracy: float
    accuracy_f32: float
    paired: Comparison
    speed: float
    speed_f32: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        low, high = self.paired.difference_interval
        return (
            f"8 bits: {self.accuracy:.1%} of {self.paired.n} images right in the place of "
            f"{self.accuracy_f32:.1%} (difference {self.paired.difference:+.1%}, 95% interval "
            f"{low:+.1%} to {high:+.1%}), {self.speed / self.speed_f32:.1f} times as fast here"
        )


def quantise_classifier(
    classifier: Classifier, training: Sequence[Path], *, by_channel: bool = True
) -> Any:
    """The classifier's OpenVINO graph in 8 bits, as `quantise` makes it."""
    pixels = prepare(classifier, training[:CALIBRATE])
    return quantise(classifier.graph(), pixels, by_channel=by_channel)


def prepare(classifier: Classifier, paths: Sequence[Path]) -> list[np.ndarray]:
    """The network's inputs (H, W, 3) of the files that can be used."""
    rows = [classifier.prepare((place, path))[1] for place, path in enumerate(paths)]
    return [pixels for pixels in rows if pixels is not None]


def weigh(
    classifier: Classifier,
    model: Path,
    examples: Examples,
    expected: np.ndarray,
    found: Sequence[np.ndarray | str],
    most_drop: float,
) -> Cost:
    """What the 8 bits of `model` cost, from (N, C) probabilities in f32 and those of the export.

    Raises EngineError where accuracy falls by more than `most_drop`.
    """
    usable = [
        not isinstance(row, str) and not np.isnan(known).any()
        for row, known in zip(found, expected, strict=True)
    ]
    has = examples.has[usable]
    both = [
        [row for row, kept in zip(rows, usable, strict=True) if kept] for rows in (found, expected)
    ]
    right = [judge(classifier, rows, truth=has) for rows in both]
    first, second = (np.stack([~row, row], axis=1) for row in right)
    paired = compare_paired(first, second, np.ones(len(has), int))
    if paired.difference < -most_drop:
        low, high = paired.difference_interval
        raise EngineError(
            f"expected 8 bits to lose at most {most_drop:.1%} of accuracy, found "
            f"{paired.difference:+.1%} on {paired.n} images (95% interval {low:+.1%} to "
            f"{high:+.1%}). Nothing was kept. Type: --precision f16, or --max-drop "
            f"{-paired.difference + 0.001:.3f}"
        )
    pixels = prepare(classifier, examples.judged[:TIMED])
    speeds = time_engines(open_both(classifier, model), pixels)
    accuracies = [float(row.mean()) for row in right]
    return Cost(accuracies[0], accuracies[1], paired, *speeds)


def judge(classifier: Classifier, rows: Sequence[np.ndarray], *, truth: np.ndarray) -> np.ndarray:
    """(N,) whether all that is said of an image by its (C,) probabilities is true."""
    given = np.zeros(truth.shape, bool)
    for place, row in enumerate(rows):
        for name in classifier.task.decide(np.asarray(row), classifier.thresholds):
            given[place, classifier.classes.index(name)] = True
    result: np.ndarray = (given == truth).all(axis=1)
    return result


def open_both(classifier: Classifier, model: Path) -> list[Predict]:
    """What predicts with `model` and with the classifier in f32, in the model's own runtime."""
    if model.suffix != ".onnx":
        engines = [OpenVinoEngine(graph, "f32") for graph in (model, classifier.graph())]
        return [engine.run for engine in engines]
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    graph = classifier.graph()
    graph.inputs[0].tensor.set_names({"image"})
    sessions = [
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        for content in (model.read_bytes(), to_onnx(graph).SerializeToString())
    ]

    def predict(session: Any, pixels: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        return (session.run(None, {"image": image[None]})[0][0] for image in pixels)

    return [partial(predict, session) for session in sessions]


def time_engines(engines: Sequence[Predict], pixels: Sequence[np.ndarray]) -> list[float]:
    """Images a second of each, in turns; the best of three, since others may be busy here."""
    best = [float("inf")] * len(engines)
    for _ in range(3):
        for place, predict in enumerate(engines):
            start = time.perf_counter()
            for _ in predict(pixels):
                pass
            best[place] = min(best[place], time.perf_counter() - start)
    return [len(pixels) / seconds for seconds in best]
