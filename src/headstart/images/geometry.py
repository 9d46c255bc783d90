"""Pixels at input size: how an image becomes what the network sees.

One resizer for training, prediction and serving. Shapes: pixels are (H, W, 3) uint8. Everything
here may run in many threads at once.
"""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from headstart.images.decode import decode, from_pixels
from headstart.images.size import reduce_to

VERSION = 2  # raised when the same bytes give other pixels


Resize = Literal["squash", "crop", "pad"]
Interpolation = Literal["antialias", "nearest", "bilinear", "bicubic"]


@dataclass(frozen=True)
class Geometry:
    """How an image becomes the network's input of `height` x `width` pixels.

    resize: squash (to the shape, whatever the proportions), crop (the largest centred part of
    that shape), pad (all of it, black around). interpolation: antialias is area averaging when
    shrinking and linear when enlarging; nearest picks the pixels that Pillow's NEAREST picks.
    """

    height: int
    width: int
    resize: Resize = "squash"
    interpolation: Interpolation = "antialias"

    def __str__(self) -> str:
        return f"v{VERSION} {self.height}x{self.width} {self.resize} {self.interpolation}"

    @property
    def at_least(self) -> tuple[int, int]:
        """The (height, width) an image must keep when it is reduced before it is resized.

        Twice the input leaves the averaging enough to work with, so ordinary photos stay exact
        and only large ones are reduced. Nearest picks single pixels, and reduction would change
        which: there nothing below 25 million pixels is reduced.
        """
        if self.interpolation == "nearest":
            return 2500, 2500
        return 2 * self.height, 2 * self.width


def draw_canary(geometry: Geometry) -> np.ndarray:
    """One fixed image (height, width, 3): what a network says of it changes when its numbers do."""
    rows, columns, channels = np.ogrid[: geometry.height, : geometry.width, :3]
    image = rows * 7 + columns * 13 + channels * 61 + rows * columns // 11
    return (image % 256).astype(np.uint8)


def prepare(data: bytes, geometry: Geometry) -> np.ndarray:
    """The input (height, width, 3) made of an image file's bytes. Raises BadImage."""
    return resize(decode(data, geometry.at_least), geometry)


def prepare_pixels(image: Any, geometry: Geometry) -> np.ndarray:
    """The input (height, width, 3) made of an array or a PIL image. Raises BadImage.

    The numbers are those of the file the pixels were decoded from. Not so a JPEG of four inputs
    or more, which is decoded at reduced scale: there probabilities differ by 0.005 in the mean, by
    0.1 at most (bench/large_jpegs.py).
    """
    return resize(reduce_to(from_pixels(image), geometry.at_least), geometry)


def resize(pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(H, W, 3) to (height, width, 3), C-contiguous."""
    height, width = geometry.height, geometry.width
    seen, place = windows(pixels.shape[:2], geometry)
    inner_height, inner_width = (part.stop - part.start for part in place)
    part = _interpolate(pixels[seen], inner_height, inner_width, geometry.interpolation)
    if part.shape[:2] == (height, width):
        return part
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[place] = part
    return canvas


# --- geometry -----------------------------------------------------------------------------
Window = tuple[slice, slice]  # rows, columns


def windows(shape: tuple[int, int], geometry: Geometry) -> tuple[Window, Window]:
    """What is seen of an image of `shape` (H, W), and where it lies in the network's input.

    squash: all of both. crop: the largest centred part of the input's proportions. pad: all of the
    image, its proportions kept, in the middle of the input.
    """
    (h, w), height, width = shape, geometry.height, geometry.width
    image: Window = slice(0, h), slice(0, w)
    network: Window = slice(0, height), slice(0, width)
    if geometry.resize == "crop":
        if h * width > w * height:
            return (_centred(max(1, round(w * height / width)), h), image[1]), network
        return (image[0], _centred(max(1, round(h * width / height)), w)), network
    if geometry.resize == "pad":
        scale = min(height / h, width / w)
        inner = (min(height, max(1, round(h * scale))), min(width, max(1, round(w * scale))))
        return image, (_centred(inner[0], height), _centred(inner[1], width))
    return image, network


def _centred(length: int, whole: int) -> slice:
    start = (whole - length) // 2
    return slice(start, start + length)


def _interpolate(pixels: np.ndarray, height: int, width: int, how: Interpolation) -> np.ndarray:
    h, w = pixels.shape[:2]
    if (h, w) == (height, width):
        return np.ascontiguousarray(pixels)
    if how == "nearest":
        rows, columns = _pick_nearest(h, height), _pick_nearest(w, width)
        return np.ascontiguousarray(pixels[rows[:, None], columns])
    shrinking = h >= height and w >= width
    flag = {
        "antialias": cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
    }[how]
    if how == "antialias" and not shrinking and (h > height or w > width):
        # One side shrinks and the other grows: average the one first.
        pixels = cv2.resize(pixels, (min(w, width), min(h, height)), interpolation=cv2.INTER_AREA)
    result: np.ndarray = cv2.resize(pixels, (width, height), interpolation=flag)
    return result


def _pick_nearest(size: int, count: int) -> np.ndarray:
    """The `wanted` places in 0..size-1 that Pillow's NEAREST picks.

    They are the centres of the output pixels; Pillow adds up the steps one by one, and so must
    we to be off by the same rounding.
    """
    step = size / count
    steps = np.full(count, step)
    steps[0] = step * 0.5
    return np.minimum(np.cumsum(steps).astype(np.intp), size - 1)
