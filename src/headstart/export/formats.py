"""The formats there are, one entry of plain data for each, and those that are refused.

Each is written by a module of its own, `to_NAME`, with one function `write(subject, path,
precision, metadata)`.
"""

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.classifier import Classifier
from headstart.errors import HeadstartError
from headstart.export.int8 import Examples


@dataclass(frozen=True)
class Subject:
    """What is exported. keras: gives the classifier as a Keras model from normalised pixels to what
    its head gives, and the (mean, std, bgr) of these pixels; None for a classifier without its run.
    examples: what 8 bits are calibrated and judged on.
    """

    classifier: Classifier
    keras: Callable[[], tuple[Any, Any]] | None = None
    examples: Examples | None = None


@dataclass(frozen=True)
class Format:
    """kind: as --to names it. model: its file or folder. runtime: packages that run it, as pip
    takes them. precisions: that it has. graph: whether it is written from the graph that predicts,
    to which outputs can be added.
    """

    kind: str
    title: str
    model: str
    runtime: tuple[str, ...]
    precisions: tuple[str, ...]
    graph: bool = False

    def write(
        self, subject: Subject, path: Path, precision: str, metadata: Mapping[str, str]
    ) -> None:
        """Write the model. Raises HeadstartError where that cannot be."""
        module = importlib.import_module(f"headstart.export.to_{self.kind}")
        module.write(subject, path, precision, metadata)


PIXELS = ("numpy", "opencv-python-headless", "pillow")  # what every run.py needs
FORMATS = {
    row.kind: row
    for row in (
        Format("onnx", "ONNX", "model.onnx", ("onnxruntime>=1.14",), ("f32", "f16", "int8"),
               graph=True),
        Format("openvino", "OpenVINO", "model.xml", ("openvino>=2025.3",), ("f32", "f16", "int8"),
               graph=True),
        Format("keras", "Keras", "model.keras", ("keras>=3.12", "tensorflow-cpu>=2.18"), ("f32",)),
        Format("savedmodel", "SavedModel", "model", ("tensorflow-cpu>=2.18",), ("f32",)),
        Format("litert", "LiteRT", "model.tflite", ("ai-edge-litert>=2.0",), ("f32", "f16")),
    )
}  # fmt: skip
REFUSED = {
    "tfjs": "the converter to TensorFlow.js is no longer maintained and does not know Keras 3; "
    "onnxruntime-web runs the ONNX export in any browser",
    "coreml": "the converter to Core ML does not know Keras 3 and takes no ONNX; on a Mac or phone "
    "onnxruntime runs the ONNX export, there through Core ML as well",
}  # fmt: skip


def find_format(kind: str, precision: str = "f32") -> Format:
    """Raises HeadstartError for a format or precision that there is not, saying why and what to use
    instead.
    """
    if kind in REFUSED:
        raise HeadstartError(
            f"expected --to with one of {', '.join(FORMATS)}, found {kind}: {REFUSED[kind]}. "
            "Type: headstart export RUN --to onnx"
        )
    if kind not in FORMATS:
        known = [*FORMATS, "web", "server"]
        near = difflib.get_close_matches(kind.lower(), known, n=1, cutoff=0) or ["onnx"]
        raise HeadstartError(
            f"expected --to with one of {', '.join(known)}, found {kind!r}. Type: --to {near[0]}"
        )
    found = FORMATS[kind]
    if precision not in found.precisions:
        raise HeadstartError(
            f"expected --precision with one of {', '.join(found.precisions)} for {kind}, found "
            f"{precision!r}. Type: --precision {found.precisions[0]}"
        )
    return found
