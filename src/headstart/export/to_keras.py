"""Keras: one .keras file from uint8 pixels to probabilities, in the backbone's own layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import ClassifierError, MissingExtra
from headstart.export.formats import Subject


def write(subject: Subject, path: Path, precision: str, metadata: Mapping[str, str]) -> None:
    """model.keras. Raises WeightsError where the backbone's weights are not here any more."""
    build(subject).save(path)


def build(subject: Subject, what: str = "Keras", extra: str = "tensorflow") -> Any:
    """The Keras model from one or more images (N, H, W, 3) uint8 to (N, C) probabilities.

    what, extra: the export and what brings its packages, for the error. Raises ClassifierError for
    a classifier without the run that it comes from, MissingExtra without a backend of Keras' that
    trains, WeightsError without the backbone's weights.
    """
    if subject.keras is None:
        raise ClassifierError(
            "expected a run, whose recipe says how its Keras model is built, found a classifier "
            "alone. Give the run's folder, or type: --to onnx"
        )
    try:
        inner, rule = subject.keras()
    except MissingExtra as error:  # which speaks of training
        raise MissingExtra(f"an export to {what}", extra) from error
    import keras

    geometry = subject.classifier.geometry
    image = keras.Input((geometry.height, geometry.width, 3), dtype="uint8", name="image")
    # Rescaling by 1 makes floats of the pixels.
    x = keras.layers.Rescaling(1.0, name="pixels")(image)
    if rule.bgr:
        x = keras.ops.flip(x, axis=-1)
    mean, std = np.array(rule.mean, np.float32), np.array(rule.std, np.float32)
    if mean.any() or (std != 1).any():
        x = keras.layers.Normalization(mean=mean, variance=std**2, name="normalised")(x)
    x = inner(x)
    if subject.classifier.head.binary:
        other = keras.layers.Rescaling(-1.0, offset=1.0, name="first_class")(x)
        x = keras.layers.Concatenate(name="probabilities")([other, x])
    return keras.Model(image, x, name="headstart")
