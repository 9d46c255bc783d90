"""One draw of an augmentation, applied to pixels: crop, warp, flips, colour, erasing.

Shapes: pixels are (H, W, 3) uint8 RGB, and stay so. Nothing here is random but the noise of an
erased box, which has its own seed.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

FillMode = Literal["nearest", "constant", "reflect", "wrap"]
Box = tuple[float, float, float, float]  # left, top, width, height in pixels

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)

_LEVELS = np.arange(256.0)
_TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}
FILL_MODES = {
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_REPLICATE,  # the coordinates are wrapped before
}


@dataclass(frozen=True)
class Draw:
    """What is done to one image for one view, in this order; the default does nothing.

    Crop, then one warp (output to input: rotate, shift, shear, zoom about the centre), channel
    shift, flips, quarter turns, brightness, colour jitter, erasing.
    """

    crop: Box | None = None
    rotation: float = 0.0  # degrees
    shift_x: float = 0.0  # pixels
    shift_y: float = 0.0
    shear: float = 0.0  # degrees
    zoom_x: float = 1.0
    zoom_y: float = 1.0
    fill_mode: FillMode = "nearest"
    cval: float = 0.0
    channel_shift: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    turns: int = 0  # quarter turns, counterclockwise
    brightness: float = 1.0
    # Factors of brightness, contrast and saturation; turn of the hue, 1 is the full circle.
    jitter: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 0.0)
    erase: Box | None = None
    noise: int = 0  # seed of the noise that fills the erased box


def apply(pixels: np.ndarray, draw: Draw) -> np.ndarray:
    """The view of `pixels`, (H, W, 3) uint8, same shape; the same array if nothing changes."""
    view = _warp(pixels, draw)
    if draw.channel_shift:
        low, high = int(view.min()), int(view.max())
        view = _per_level(view, np.clip(_LEVELS + draw.channel_shift, low, high))
    if draw.horizontal_flip:
        view = cv2.flip(view, 1)
    if draw.vertical_flip:
        view = cv2.flip(view, 0)
    if draw.turns:
        view = cv2.rotate(view, _TURNS[draw.turns])
    if draw.brightness != 1:
        view = _per_level(view, _LEVELS * draw.brightness)
    if draw.jitter != Draw.jitter:
        view = _recolour(view, *draw.jitter)
    if draw.erase:
        view = _erase(view, draw.erase, draw.noise)
    return view


def _matrix(draw: Draw, height: int, width: int) -> np.ndarray:
    """Where each output pixel is found in the image: (2, 3), x before y, pixel centres whole."""
    angle, shear = math.radians(draw.rotation), math.radians(draw.shear)
    cos, sin = math.cos(angle), math.sin(angle)
    rotate = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    shift = _translate(draw.shift_x, draw.shift_y)
    tilt = np.array([[1, -math.sin(shear), 0], [0, math.cos(shear), 0], [0, 0, 1]])
    zoom = np.diag([draw.zoom_x, draw.zoom_y, 1.0])
    x, y = (width - 1) / 2, (height - 1) / 2
    matrix = _translate(x, y) @ rotate @ shift @ tilt @ zoom @ _translate(-x, -y)
    if draw.crop:
        left, top, w, h = draw.crop
        stretch = np.diag([w / width, h / height, 1.0])
        matrix = _translate(left - 0.5, top - 0.5) @ stretch @ _translate(0.5, 0.5) @ matrix
    return matrix[:2]


def _translate(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _warp(pixels: np.ndarray, draw: Draw) -> np.ndarray:
    height, width = pixels.shape[:2]
    matrix = _matrix(draw, height, width)
    if np.array_equal(matrix, np.eye(2, 3)):
        return pixels
    # Float coordinates rather than warpAffine: as exact, quicker, and they can be wrapped.
    (a, b, c), (d, e, f) = matrix
    across, down = np.arange(width), np.arange(height)[:, None]
    xs = (a * across + c).astype(np.float32) + (b * down).astype(np.float32)
    ys = (d * across + f).astype(np.float32) + (e * down).astype(np.float32)
    if draw.fill_mode in ("constant", "wrap"):
        inside_x, inside_y = (xs >= 0) & (xs <= width - 1), (ys >= 0) & (ys <= height - 1)
        if draw.fill_mode == "wrap":  # first and last pixel coincide, as in SciPy
            period_x, period_y = max(width - 1, 1), max(height - 1, 1)
            xs = np.where(inside_x, xs, xs - np.floor(xs / period_x) * period_x)
            ys = np.where(inside_y, ys, ys - np.floor(ys / period_y) * period_y)
        else:  # no blend of the edge with the constant, as in SciPy
            xs = np.where(inside_x & inside_y, xs, np.float32(-9))
    return cv2.remap(
        pixels,
        xs,
        ys,
        cv2.INTER_LINEAR,
        borderMode=FILL_MODES[draw.fill_mode],
        borderValue=(draw.cval,) * 3,
    )


def _per_level(pixels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Each of the 256 levels replaced by its entry in `levels`, rounded."""
    return cv2.LUT(pixels, np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def _recolour(
    pixels: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float
) -> np.ndarray:
    """Three factors and a turn of the hue, as one matrix.

    Contrast is about the mean grey, saturation about each pixel's grey, and the hue turns in the
    chroma plane of YIQ, so that the grey of a pixel keeps its level.
    """
    cos, sin = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    chroma = turn @ np.diag([1, saturation, saturation])
    matrix = contrast * brightness * (_RGB @ chroma @ _YIQ)
    grey = brightness * float(_LUMA @ cv2.mean(pixels)[:3])
    offset = np.full((3, 1), (1 - contrast) * grey)
    return cv2.transform(pixels, np.hstack([matrix, offset]))


def _erase(pixels: np.ndarray, box: Box, noise: int) -> np.ndarray:
    """Noise in the box: random erasing with random values (Zhong et al., AAAI 2020)."""
    left, top = int(box[0]), int(box[1])
    right, bottom = math.ceil(box[0] + box[2]), math.ceil(box[1] + box[3])
    erased = pixels.copy()
    region = erased[top:bottom, left:right]
    random = np.random.Generator(np.random.Philox(key=noise))
    region[...] = np.frombuffer(random.bytes(region.size), np.uint8).reshape(region.shape)
    return erased
