"""The pictures of a camera or of a video file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headstart.data.item import Item, to_printable
from headstart.errors import DatasetError
from headstart.images.geometry import Geometry, prepare_pixels


@dataclass(frozen=True)
class Frame(Item):
    """One picture: (H, W, 3) uint8 RGB. `path` is that of the video."""

    pixels: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8), repr=False)

    def prepare(self, geometry: Geometry) -> np.ndarray:
        """The network's input (height, width, 3) uint8."""
        return prepare_pixels(self.pixels, geometry)


def is_device(source: str) -> bool:
    """Whether it is the number of a camera; else it is a video file."""
    return source.isdigit()


def read_frames(source: str) -> Iterator[Frame]:
    """Every picture, in order, with its number and second in the name; a camera's has no end.

    Raises DatasetError if there is no such camera, or the file is no video that can be read.
    """
    import cv2

    if not is_device(source) and not Path(source).is_file():
        is_folder = Path(source).is_dir()
        found = f"the folder {source}" if is_folder else f"nothing at {source}"
        advice = f"--watch {source}, or --camera 0" if is_folder else "--camera 0"
        raise DatasetError(
            "expected the number of a camera (0 is the first) or a video file, found "
            f"{found}. Type: {advice}"
        )
    video = cv2.VideoCapture(int(source) if is_device(source) else source)
    try:
        if is_device(source):
            video.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not those that wait
        number = 0
        while True:
            good, pixels = video.read()
            second = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not good:
                break
            number += 1
            name = f"camera {source}" if is_device(source) else to_printable(source)
            at = "" if is_device(source) else f" {second:.3f}s"
            rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
            yield Frame(Path(source), f"{name}#{number}{at}", pixels=rgb)
        if not number:
            found = "no camera that answers" if is_device(source) else f"no video in {source}"
            raise DatasetError(
                f"expected a camera or a video file, found {found}. Type: --camera 0, or give a "
                "file that plays"
            )
    finally:
        video.release()
