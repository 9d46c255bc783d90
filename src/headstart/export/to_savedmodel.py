"""TensorFlow's SavedModel, from the Keras model: signature `serve`, image to probabilities."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.export.extras import import_extra
from headstart.export.formats import Subject
from headstart.export.to_keras import build


def write(subject: Subject, path: Path, precision: str, metadata: Mapping[str, str]) -> None:
    """The folder model/. Raises as `to_keras.build` does."""
    save(build(subject), path, None)


def save(model: Any, path: Path, batch: int | None) -> None:
    """Write a Keras model of uint8 images. batch: how many at a time; None for any number."""
    tensorflow = import_extra("tensorflow", "SavedModel", "tensorflow")
    import keras

    if keras.config.backend() != "tensorflow":
        from headstart.errors import EngineError

        raise EngineError(
            f"expected Keras on TensorFlow, found {keras.config.backend()}. "
            "Type: KERAS_BACKEND=tensorflow headstart export RUN"
        )
    spec = tensorflow.TensorSpec((batch, *model.input_shape[1:]), tensorflow.uint8, name="image")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve", lambda image: {"probabilities": model(image, training=False)},
        input_signature=[spec],
    )  # fmt: skip
    archive.write_out(str(path), verbose=False)
