"""Small pictures that travel inside a page: WebP, as data URIs."""

import base64
import io

import cv2
import numpy as np
from PIL import Image

from headstart.images.decode import decode

SIDE = 112  # pixels of the longer side
QUALITY = 62


def thumbnail(data: bytes, side: int = SIDE) -> str:
    """The data URI of an image file's bytes, at most `side` pixels high and wide.

    Raises BadImage if they are no usable image.
    """
    return encode(shrink(decode(data, (side, side)), side))


def shrink(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(H, W, 3) uint8 so small that the longer side has `side` pixels; never enlarged."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: np.ndarray = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small


def encode(pixels: np.ndarray) -> str:
    """(H, W, 3) uint8 as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
