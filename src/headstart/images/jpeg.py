"""JPEG: its headers, read before anything is decoded, and its pixels at reduced scale.

Shapes: pixels are (H, W, 3) uint8.
"""

import re
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
    scan: int  # where the first scan begins


def decode_jpeg(data: bytes, at_least: tuple[int, int] | None) -> np.ndarray | None:
    """The upright pixels, Pillow's to the last bit; None where Pillow is to have the last word."""
    import simplejpeg

    frame = _frame(data)
    if frame is None or frame.buffered:
        stored = frame.height * frame.width if frame else MOST_BUFFERED
        if stored <= MOST_BUFFERED:
            _check_scans(data, frame.scan if frame else 2, MOST_SCANNED // stored)
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


MOST_SEGMENTS = 65_536  # 100 times as many as the largest of metadata make
_FILLED = re.compile(rb"\xff+[^\xff]", re.DOTALL)  # a marker where it must be
# One within or behind a scan, where a zero makes 255 a number, and 0xD0 to 0xD7 are for restarts.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_ALONE = {0x01, 0xD8}  # markers without a segment


def _check_scans(data: bytes, position: int, most: int) -> None:
    """Raises BadImage for more than `most` scans before the end of the image.

    Cameras keep films and other pictures behind it, which the decoder does not look at.
    """
    scans = 0
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or data[found.end() - 1] == 0xD9:
            return
        marker, position = data[found.end() - 1], found.end()
        if marker not in _ALONE:
            position += max(2, int.from_bytes(data[position : position + 2], "big"))
        if marker == 0xDA:
            scans += 1
            if scans > most:
                raise BadImage(f"too many scans (at most {most} at this size)")
    raise BadImage(f"too many segments (at most {MOST_SEGMENTS:,})")


_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: what simplejpeg is trusted with


def _frame(data: bytes) -> _Frame | None:
    """Walk the segments up to the first scan; None if they make no sense or are unusual."""
    position, shape, progressive, orientation = 2, None, False, None
    for _ in range(MOST_SEGMENTS):
        found = _FILLED.match(data, position)
        if found is None or found.end() + 8 > len(data):
            return None
        body = found.end() + 2
        marker = data[body - 3]
        end = body - 2 + int.from_bytes(data[body - 2 : body], "big")
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
            return _Frame(height, width, components, buffered, orientation or 1, body - 4)
        elif marker < 0xC4 or 0xD0 <= marker <= 0xD9 or end < body:
            return None
        position = end
    return None
