"""The training images that an image looks like: those whose features point the same way.

A run keeps the directions of its training images' features on their first principal axes, so small
that it costs nothing: 2,000 images take 0.3 MB.
Letters: N images, D features, k axes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import ClassifierError, cannot_read
from headstart.system.atomic import write_atomically
from headstart.system.memory import take_rows

FILE = "neighbours.safetensors"
AXES = 64
LEARNED_FROM = 512  # images, from all over the set, that tell the axes
AT_ONCE = 2**23  # numbers in memory, 32 MB: flattened maps have many an image


@dataclass(frozen=True)
class Neighbour:
    """A training image and how far it is: 0 for the same direction, 1.4 for a right angle."""

    name: str
    label: str
    path: Path
    distance: float


@dataclass(frozen=True)
class Neighbours:
    """mean (D,), axes (D, k): from directions to places. places: (N, k) of the training images,
    float16. images: name, label and path of each.
    """

    mean: np.ndarray
    axes: np.ndarray
    places: np.ndarray
    images: Sequence[tuple[str, str, str]]

    def nearest(self, features: np.ndarray, most: int = 5) -> list[Neighbour]:
        """The training images nearest to one of (D,) features, the nearest first."""
        place = _place(features[None], self.mean, self.axes)
        distances = np.linalg.norm(self.places.astype(np.float32) - place, axis=1)
        found = np.argsort(distances, kind="stable")[:most]
        return [
            Neighbour(name, label, Path(path), float(distances[number]))
            for number in found.tolist()
            for name, label, path in [self.images[number]]
        ]

    def write(self, path: Path) -> None:
        """Raises StorageError if it cannot be written."""
        from safetensors.numpy import save

        arrays = {"mean": self.mean, "axes": self.axes, "places": self.places}
        # Names may hold bytes that are not UTF-8: as JSON they are plain letters.
        write_atomically(path, save(arrays, {"images": json.dumps(list(self.images))}))


def learn(features: np.ndarray, images: Sequence[tuple[str, str, str]]) -> Neighbours:
    """Of (N, D) features, N >= 1, and name, label and path of each image."""
    count, dimensions = features.shape
    most = min(LEARNED_FROM, max(AXES, AT_ONCE // dimensions))
    chosen = np.unique(np.linspace(0, count - 1, most).astype(int))
    directions = _direct(take_rows(features, chosen))
    mean = directions.mean(axis=0)
    centred = directions - mean
    # The axes by the smaller of the two matrices: n x n of the chosen images.
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    kept = values > max(values[-1], 0) * 1e-6
    values, vectors = values[kept][-AXES:], vectors[:, kept][:, -AXES:]
    axes = (centred.T @ (vectors / np.sqrt(values)).astype(np.float32)).astype(np.float16)
    mean = mean.astype(np.float32)
    places = np.empty((count, axes.shape[1]), np.float16)
    size = max(1, AT_ONCE // dimensions)
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        places[rows] = _place(take_rows(features, rows), mean, axes)
    return Neighbours(mean, axes, places, images)


def read(run: Path, dimensions: int | None = None) -> Neighbours | None:
    """What a run of D features kept, of any number where none is given; None where it is of a
    version that kept nothing, or a classifier alone.

    Raises ClassifierError for a file that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = run / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            mean, axes, places = (file.get_tensor(name) for name in ("mean", "axes", "places"))
            images: list[Any] = json.loads(file.metadata()["images"])
        wide = len(mean) if dimensions is None else dimensions
        expected = (wide,), (wide, axes.shape[-1]), (len(images), axes.shape[-1])
        if (mean.shape, axes.shape, places.shape) != expected:
            raise ValueError(f"arrays of {mean.shape}, {axes.shape}, {places.shape}")
        if not all(np.isfinite(array).all() for array in (mean, axes, places)):
            raise ValueError("numbers that are not finite")
        return Neighbours(mean, axes, places, [(str(n), str(la), str(p)) for n, la, p in images])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        advice = "Remove the file to go on without nearest images, or train again"
        raise ClassifierError(
            cannot_read(path, error, "what headstart train kept of its images", advice)
        ) from error


def _direct(features: np.ndarray) -> np.ndarray:
    features = np.where(np.isfinite(features), features, 0).astype(np.float32)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    directions: np.ndarray = features / np.maximum(length, np.finfo(np.float32).tiny)
    return directions


def _place(features: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(N, k) places of (N, D) features."""
    places: np.ndarray = (_direct(features) - mean) @ axes.astype(np.float32)
    return places
