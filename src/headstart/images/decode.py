"""Bytes -> upright RGB uint8 pixels, or a BadImage with its reason.

One decoder for training, prediction and serving. The format is read from the bytes, never from
the name. Shapes: pixels are (H, W, 3) uint8. Everything here may run in many threads at once.
"""

import ctypes
import importlib
import io
import logging
import re
import warnings
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from headstart.errors import BadImage
from headstart.images.jpeg import decode_jpeg
from headstart.images.modes import to_rgb
from headstart.images.orientation import make_upright, read_orientation
from headstart.images.size import (
    MOST_AVIF,
    MOST_BUFFERED,
    MOST_BY_PYTHON,
    MOST_PIXELS,
    MOST_READS,
    MOST_WEBP,
    check_size,
    reduce_to,
)


def decode(data: bytes, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """The upright RGB pixels (H, W, 3) of an image file's bytes; of an animation the first frame.

    at_least: (height, width); the image may be reduced by 2, 4 or 8 as long as both sides stay
    so large. Raises BadImage with the reason if the bytes are no whole, usable image, or one too
    large to be decoded within some 400 MB.
    """
    if not data:
        raise BadImage("empty file")
    if data[:3] == b"\xff\xd8\xff":
        pixels = decode_jpeg(data, at_least)
        if pixels is not None:
            return pixels
    return reduce_to(_decode_with_pillow(data), at_least)


def from_pixels(image: Any) -> np.ndarray:
    """Upright RGB (H, W, 3) uint8 of a PIL image or a uint8 array (H, W[, 1, 3 or 4]).

    Raises BadImage for another kind of array, saying how to convert it.
    """
    if not isinstance(image, np.ndarray):
        if hasattr(image, "getbands") and hasattr(image, "convert"):
            return _load(image, "image", MOST_PIXELS)
        raise BadImage(f"expected an array or a PIL image, found {type(image).__name__}")
    if image.dtype != np.uint8:
        scale = {"f": "multiply by 255 if it is 0..1, then ", "u": "divide by 257 if it is 16 bits "
                 "deep, then "}.get(image.dtype.kind, "")  # fmt: skip
        raise BadImage(f"expected a uint8 array, found {image.dtype}: {scale}use .astype('uint8')")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        hint = ": use .transpose(1, 2, 0)" if image.ndim == 3 and image.shape[0] in (1, 3) else ""
        raise BadImage(
            f"expected an array of shape (height, width, 1, 3 or 4), found {image.shape}{hint}"
        )
    if image.shape[2] == 4:
        from PIL import Image

        return to_rgb(Image.fromarray(image), 255.0)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


# First bytes, Pillow's plug-in, most pixels. The plug-ins are called by name, not through
# Image.open: that one may start other programs (Ghostscript for EPS), and judges the size by a
# limit that belongs to the user's process.
_FORMATS = [
    (rb"\xff\xd8\xff", "Jpeg", MOST_BUFFERED),
    (rb"\x89PNG\r\n\x1a\n", "Png", MOST_PIXELS),
    (rb"RIFF....WEBP", "WebP", MOST_WEBP),
    (rb"GIF8[79]a", "Gif", MOST_PIXELS),
    (rb"BM", "Bmp", MOST_PIXELS),
    (rb"II[*+]\0|MM\0[*+]", "Tiff", MOST_PIXELS),
    (rb"P[1-6]\s", "Ppm", MOST_PIXELS),
    (rb"....ftyp(....)*?avi[fs]", "Avif", MOST_AVIF),
    (rb"....ftyp(hei[cxms]|hev[cx]|heif|mif1|msf1)", "Heif", MOST_PIXELS),
]
_OTHERS = [
    (rb"\s*<(!doctype html|html|head|body)", "not an image (looks like HTML)"),
    (rb"\s*<(\?xml|svg)", "not an image of pixels (looks like XML or SVG)"),
    (rb"\s*[{\[]", "not an image (looks like JSON)"),
    (rb"%PDF-", "not an image (looks like PDF)"),
    (rb"\0+$", "not an image (nothing but zeros)"),
]


def recognise(data: bytes) -> str | None:
    """The format that an image file's first bytes tell, as Pillow's plug-in is called."""
    return _plugin(data)[0]


def _plugin(data: bytes) -> tuple[str | None, int]:
    formats = (row[1:] for row in _FORMATS if re.match(row[0], data[:64], re.DOTALL))
    return next(formats, (None, 0))


def _decode_with_pillow(data: bytes) -> np.ndarray:
    name, most = _plugin(data)
    if name is None:
        for pattern, reason in _OTHERS:
            if re.match(pattern, data[:4096], re.DOTALL | re.IGNORECASE):
                raise BadImage(reason)
        raise BadImage(
            "not an image of a kind that is read (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC, PPM)"
        )
    if name == "Heif":
        plugin = importlib.import_module("pillow_heif")
    else:
        plugin = importlib.import_module(f"PIL.{name}ImagePlugin")
    if name == "Tiff":
        _silence_libtiff()
    kind = name if name == "WebP" else name.upper()
    with _reasons(kind):
        image = getattr(plugin, f"{name}ImageFile")(_Reader(data))
    with image:
        return _load(image, kind, most)


def _load(image: Any, kind: str, most: int) -> np.ndarray:
    """The upright RGB pixels of a PIL image that may not be loaded yet."""
    with _reasons(kind):
        tile = getattr(image, "tile", None)
        if tile and tile[0][0] in ("bmp_rle", "ppm_plain"):
            most = MOST_BY_PYTHON
        check_size(image.width, image.height, most)
        float_range = 255.0
        if kind == "TIFF" or getattr(image, "format", None) == "TIFF":
            float_range = 1.0
            tags = image.tag_v2
            if 322 in tags and 323 in tags:
                check_size(tags[322], tags[323], most)
        image.load()  # once: a second load of a corrupt file can succeed silently
        # Not getexif(), which can raise and warn. TIFF and HEIC come upright, AVIF's own
        # rotation comes as EXIF.
        exif = image.info.get("exif")
        pixels = to_rgb(image, float_range)
        return make_upright(pixels, read_orientation(exif) if isinstance(exif, bytes) else 1)


@cache
def _silence_libtiff() -> None:
    """Its errors reach us through Pillow; its own lines would stand between ours.

    Nothing but calling it turns them off. Where the library is built into Pillow they stay.
    """
    from PIL import Image

    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(Image.core.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


class _Reader(io.BytesIO):
    """Bytes that may be asked for so many times: a damaged file has no end for some decoders."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file."""
        self.reads += 1
        if self.reads > MOST_READS:
            raise BadImage("damaged: too many parts to look through")
        return super().read(size)


class _reasons:
    """A context that turns whatever a decoder raises into a BadImage."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __enter__(self) -> None:
        # Pillow warns of metadata we do not use. catch_warnings is not thread-safe, so the
        # filter stays; it is asked for anew because others' catch_warnings may drop it.
        if _NOISE not in warnings.filters:
            warnings.filterwarnings("ignore", category=UserWarning, module=_NOISE[3].pattern)

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        from PIL import Image

        if error is None or isinstance(error, BadImage) or not isinstance(error, Exception):
            return
        bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
        if isinstance(error, bombs):
            raise BadImage(f"too many pixels (at most {MOST_PIXELS // 10**6} million)") from None
        if isinstance(error, MemoryError):
            raise BadImage("takes too much memory") from None
        # decoders raise OSError, ValueError, SyntaxError, struct.error, ...
        text = " ".join(str(error).split())[:100] or type(error).__name__
        if re.search("truncated|unexpected end|end of file", text, re.IGNORECASE):
            raise BadImage("cut short") from None
        raise BadImage(f"damaged {self.kind}: {text}") from None


# What it logs of a damaged image is in our reason. Users who log hear it still.
logging.getLogger("PIL").addHandler(logging.NullHandler())
_NOISE = ("ignore", None, UserWarning, re.compile(r"PIL\.\w+ImagePlugin"), 0)
