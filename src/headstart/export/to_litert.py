"""LiteRT (once TensorFlow Lite): one flat file for phones and small computers."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from headstart.export.extras import import_extra
from headstart.export.formats import Subject
from headstart.export.litert_half import halve
from headstart.export.to_keras import build
from headstart.export.to_savedmodel import save


def write(subject: Subject, path: Path, precision: str, metadata: Mapping[str, str]) -> None:
    """model.tflite, one image at a time. Raises as `to_keras.build` does."""
    model = build(subject, "LiteRT", "litert")
    with TemporaryDirectory() as scratch, _silenced():
        import_extra("ai_edge_litert.interpreter", "LiteRT", "litert")
        tensorflow = import_extra("tensorflow", "LiteRT", "litert")
        save(model, Path(scratch) / "model", 1)
        converter = tensorflow.lite.TFLiteConverter.from_saved_model(
            f"{scratch}/model", signature_keys=["serve"]
        )
        content = converter.convert()
        path.write_bytes(halve(content) if precision == "f16" else content)


@contextmanager
def _silenced() -> Iterator[None]:
    """The converter's library writes to the system's standard error and cannot be told not to; what
    goes wrong is raised.
    """
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
