"""JPEG: its headers, read before anything is decoded, and its pixels at reduced scale.

Shapes: pixels are (H, W, 3) uint8.
"""

import struct
from dataclasses import dataclass

import numpy as np

from headstart.errors import BadImage
from headstart.images.orientation import make_upright, read_orientation
from headstart.images.size import (
    MOST_BUFFERED,
    MOST_PIXELS,
    MOST_SCANNED,
    MOST_STORED,
    check_size,
    choose_reduction,
)


@dataclass(frozen=True)
class _Frame:
    """What a JPEG's headers say."""

    height: int
    width: int
    components: int
    buffered: bool  # several scans: the decoder keeps every coefficient, whatever the scale
    orientation: int


def decode_jpeg(data: bytes, at_least: tuple[int, int] | None) -> np.ndarray | None:
    """The upright pixels, Pillow's to the last bit; None where Pillow is to have the last word."""
    import simplejpeg

    frame = _frame(data)
    if frame is None or frame.buffered:
        stored = frame.height * frame.width if frame else MOST_BUFFERED
        scans = data.count(b"\xff\xda")
        if stored <= MOST_BUFFERED and scans * stored > MOST_SCANNED:
            raise BadImage(f"too many scans ({scans})")
    if frame is None or frame.components not in (1, 3):
        return None
    height, width = frame.height, frame.width
    if at_least is not None and frame.orientation >= 5:
        at_least = at_least[1], at_least[0]
    factor = choose_reduction(height, width, at_least)
    by_rows = min(MOST_STORED, MOST_PIXELS * factor**2)
    check_size(width, height, MOST_BUFFERED if frame.buffered else by_rows)
    smallest = {"min_height": -(-height // factor), "min_width": -(-width // factor)}
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", **(smallest if factor > 1 else {}))
    except ValueError as error:
        text = str(error)
        if text.startswith("Premature end"):
            raise BadImage("cut short") from None
        # Bytes too many are harmless; any other corruption leaves grey or garbage behind it.
        if text.startswith("Corrupt JPEG data: ") and "extraneous" not in text:
            raise BadImage(f"damaged JPEG: {text.removeprefix('Corrupt JPEG data: ')}") from None
        return None
    return make_upright(pixels, frame.orientation)


_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: what simplejpeg is trusted with


def _frame(data: bytes) -> _Frame | None:
    """Walk the segments up to the first scan; None if they make no sense or are unusual."""
    position, shape, progressive, orientation = 2, None, False, None
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        body = position + 4
        end = position + 2 + (data[position + 2] << 8 | data[position + 3])
        if marker == 0xE1 and orientation is None and data[body : body + 6] == b"Exif\0\0":
            orientation = read_orientation(data[body:end])
        elif marker in _FRAMES:
            precision, *shape = struct.unpack_from(">BHHB", data, body)
            progressive = marker == 0xC2
            if precision != 8 or 0 in shape:
                return None
        elif marker == 0xDA:
            if shape is None:
                return None
            height, width, components = shape
            buffered = progressive or data[body] != components
            return _Frame(height, width, components, buffered, orientation or 1)
        elif marker < 0xC4 or 0xD0 <= marker <= 0xD9 or end < body:
            return None
        position = end
    return None
