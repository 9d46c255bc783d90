"""Bytes -> upright RGB uint8 at input size, or a BadImage with its reason.

One decoder and one resizer for training, prediction and serving. The format is read from the
bytes, never from the name. Shapes: pixels are (H, W, 3) uint8.
"""

import io
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np

from headstart.errors import BadImage

VERSION = 1  # raised when the same bytes give other pixels
MOST_PIXELS = 50_000_000  # decoded: about 350 MB at the worst
MOST_STORED = 300_000_000  # of a JPEG that is decoded at reduced scale
REDUCTIONS = (8, 4, 2)

# Several images are decoded at once in our own threads: OpenCV's would fight with them.
cv2.setNumThreads(1)

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


def prepare(data: bytes, geometry: Geometry) -> np.ndarray:
    """The input (height, width, 3) made of an image file's bytes. Raises BadImage."""
    # Twice the input leaves the resizer enough to average; only large photos are reduced.
    return resize(decode(data, (2 * geometry.height, 2 * geometry.width)), geometry)


def prepare_pixels(image: Any, geometry: Geometry) -> np.ndarray:
    """The input made of an array or a PIL image. Raises BadImage.

    The numbers are those of the file the pixels were decoded from; where a file so large would
    have been decoded at reduced scale, the pixels are reduced likewise.
    """
    pixels = from_pixels(image)
    height, width = pixels.shape[:2]
    factor = _reduction(height, width, (2 * geometry.height, 2 * geometry.width))
    if factor > 1:
        size = (-(-width // factor), -(-height // factor))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return resize(pixels, geometry)


def decode(data: bytes, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """The upright RGB pixels of an image file's bytes.

    at_least: (height, width); a JPEG may be decoded at reduced scale as long as both sides stay
    so large. Raises BadImage with the reason if the bytes are no whole, usable image.
    """
    if not data:
        raise BadImage("empty file")
    if data[:3] == b"\xff\xd8\xff":
        pixels = _decode_jpeg(data, at_least)
        if pixels is not None:
            return pixels
    return _decode_with_pillow(data)


def resize(pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(H, W, 3) to (height, width, 3), C-contiguous."""
    height, width = geometry.height, geometry.width
    if geometry.resize == "crop":
        pixels = _centre(pixels, height, width)
    elif geometry.resize == "pad":
        return _padded(pixels, geometry)
    return _interpolated(pixels, height, width, geometry.interpolation)


def from_pixels(image: Any) -> np.ndarray:
    """Upright RGB (H, W, 3) uint8 of a PIL image or a uint8 array (H, W[, 1, 3 or 4]).

    Raises BadImage for another kind of array, saying how to convert it.
    """
    if not isinstance(image, np.ndarray):
        if hasattr(image, "getbands") and hasattr(image, "convert"):
            return _finish(image)
        raise BadImage(f"expected an image, found {type(image).__name__}")
    if image.dtype != np.uint8:
        hint = "multiply by 255 if it is 0..1, then " if image.dtype.kind == "f" else ""
        raise BadImage(f"expected a uint8 array, found {image.dtype}: {hint}use .astype('uint8')")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise BadImage(f"expected an array of height, width and 1, 3 or 4, found {image.shape}")
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.shape[2] == 4:
        from PIL import Image

        return _finish(Image.fromarray(image, "RGBA"))
    return np.ascontiguousarray(image)


# --- JPEG ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    """What a JPEG's headers say."""

    height: int
    width: int
    components: int
    progressive: bool
    orientation: int


def _decode_jpeg(data: bytes, at_least: tuple[int, int] | None) -> np.ndarray | None:
    """None where Pillow should have the last word."""
    import simplejpeg

    frame = _frame(data)
    if frame is None or frame.components not in (1, 3):
        return None
    height, width = frame.height, frame.width
    turned = frame.orientation >= 5
    if at_least is not None and turned:
        at_least = at_least[1], at_least[0]
    factor = _reduction(height, width, at_least)
    _check_pixels(height // factor, width // factor, width, height)
    # A progressive JPEG needs all of its coefficients in memory whatever the scale.
    if frame.progressive or height * width > MOST_STORED:
        _check_pixels(height, width, width, height)
    limits = {} if factor == 1 else {
        "min_height": -(-height // factor), "min_width": -(-width // factor), "min_factor": 1
    }  # fmt: skip
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True, **limits)
    except ValueError:
        return None
    return _upright(pixels, frame.orientation)


def _reduction(height: int, width: int, at_least: tuple[int, int] | None) -> int:
    """The largest of 8, 4, 2, 1 that leaves both sides as large as asked."""
    if at_least is None:
        return 1
    for factor in REDUCTIONS:
        if height // factor >= at_least[0] and width // factor >= at_least[1]:
            return factor
    return 1


def _frame(data: bytes) -> _Frame | None:
    """Walk the segments up to the frame header; None if they make no sense."""
    position, orientation = 2, 1
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            found = _orientation(data[position + 10 : position + 2 + length])
            orientation = found if orientation == 1 else orientation
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if position + 10 > len(data):
                return None
            _, height, width, components = struct.unpack_from(">BHHB", data, position + 4)
            if not height or not width:
                return None
            return _Frame(height, width, components, marker in (0xC2, 0xC6, 0xCA), orientation)
        if marker == 0xDA or length < 2:
            return None
        position += 2 + length
    return None


def _orientation(tiff: bytes) -> int:
    """EXIF orientation 1..8 in a TIFF header; 1 where there is none or it is malformed."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (offset,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, offset)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, offset + 2 + 12 * index)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo EXIF orientation 1..8."""
    if orientation in (2, 3):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4):
        pixels = pixels[::-1]
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


# --- everything else ----------------------------------------------------------------------

_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "ICO",
            "PPM", "TGA", "JPEG2000", "PCX")  # fmt: skip


@lru_cache(maxsize=1)
def _with_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _decode_with_pillow(data: bytes) -> np.ndarray:
    """Pillow's pixels; whatever it raises becomes a BadImage."""
    from PIL import Image, UnidentifiedImageError

    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        _with_heif()
    size = _declared_size(data)
    if size is not None:
        _check_pixels(size[1], size[0], *size)
    # Pillow warns of what we decide by ourselves; catch_warnings is not thread-safe, so only
    # the filter is changed, once, and only for Pillow's own modules.
    _quiet_pillow()
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_pixels(image.height, image.width, image.width, image.height)
            image.load()  # once: a second load of a corrupt file can succeed silently
            return _finish(image)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage(_what_it_looks_like(data)) from None
    except Image.DecompressionBombError:
        raise BadImage(f"too many pixels (at most {MOST_PIXELS // 10**6} million)") from None
    except MemoryError:
        raise BadImage("takes too much memory") from None
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error...
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "truncated" in text or "Truncated" in text:
            raise BadImage("cut short") from None
        raise BadImage(f"damaged ({text})") from None


_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"heif"}


@lru_cache(maxsize=1)
def _quiet_pillow() -> None:
    warnings.filterwarnings("ignore", module=r"PIL\..*")


def _declared_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from the header of the formats that Pillow refuses with a bare error."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if data[:4] == b"GIF8" and len(data) >= 10:
        width, height = struct.unpack_from("<HH", data, 6)
        return width, height
    return None


def _check_pixels(decoded_height: int, decoded_width: int, width: int, height: int) -> None:
    if decoded_height * decoded_width > MOST_PIXELS:
        raise BadImage(
            f"too many pixels ({width}x{height}, at most {MOST_PIXELS // 10**6} million)"
        )


def _what_it_looks_like(data: bytes) -> str:
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        return "not an image (looks like HTML)"
    if head.startswith((b"<svg", b"<?xml")):
        return "not a pixel image (looks like SVG or XML)"
    if data[:5] == b"%PDF-":
        return "not an image (looks like PDF)"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "damaged PNG"
    if data[:3] == b"\xff\xd8\xff":
        return "damaged JPEG"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "damaged TIFF"
    return "not an image that can be read"


def _finish(image: Any) -> np.ndarray:
    """A loaded PIL image, of any mode, as upright RGB."""
    from PIL import Image, ImageOps

    with suppress(Exception):  # malformed EXIF must not lose the picture
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _scaled_to_8_bits(image)
    if image.mode == "LAB":
        return _from_lab(np.asarray(image))
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if transparent:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    pixels = np.array(image.convert("RGB"))
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise BadImage("has no pixels")
    return pixels


def _scaled_to_8_bits(image: Any) -> np.ndarray:
    """By the range the mode declares, never by the image's own extremes."""
    values = np.asarray(image)
    if image.mode == "F":
        values = values.astype(np.float64)
        top = 1.0 if np.nanmax(values, initial=0) <= 1 else 255.0
        scaled = np.nan_to_num(values) * (255 / top)
    elif image.mode == "I":  # 32-bit container of 16-bit pictures, as a rule
        top = 255.0 if values.max(initial=0) <= 255 else 65535.0
        scaled = values * (255 / top)
    else:
        scaled = values.astype(np.uint16) / 257
    grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey = np.where(values == transparent, np.uint8(255), grey)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _from_lab(values: np.ndarray) -> np.ndarray:
    """Pillow's LAB bytes (L 0..255 for 0..100, a and b signed) to sRGB, through OpenCV."""
    lightness = values[:, :, 0].astype(np.float32) * (100 / 255)
    ab = values[:, :, 1:].astype(np.uint8).view(np.int8).astype(np.float32)
    rgb = cv2.cvtColor(np.dstack([lightness, ab]), cv2.COLOR_Lab2RGB)
    return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)


# --- geometry -----------------------------------------------------------------------------


def _centre(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest centred part of the proportions height : width."""
    h, w = pixels.shape[:2]
    if h * width > w * height:
        kept = max(1, round(w * height / width))
        top = (h - kept) // 2
        return pixels[top : top + kept]
    kept = max(1, round(h * width / height))
    left = (w - kept) // 2
    return pixels[:, left : left + kept]


def _padded(pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """All of the image, its proportions kept, centred on black."""
    h, w = pixels.shape[:2]
    scale = min(geometry.height / h, geometry.width / w)
    height = min(geometry.height, max(1, round(h * scale)))
    width = min(geometry.width, max(1, round(w * scale)))
    canvas = np.zeros((geometry.height, geometry.width, 3), np.uint8)
    top, left = (geometry.height - height) // 2, (geometry.width - width) // 2
    canvas[top : top + height, left : left + width] = _interpolated(
        pixels, height, width, geometry.interpolation
    )
    return canvas


def _interpolated(pixels: np.ndarray, height: int, width: int, how: Interpolation) -> np.ndarray:
    h, w = pixels.shape[:2]
    if (h, w) == (height, width):
        return np.ascontiguousarray(pixels)
    if how == "nearest":  # the centre of each output pixel, as Pillow does
        rows = ((np.arange(height) + 0.5) * (h / height)).astype(np.intp)
        columns = ((np.arange(width) + 0.5) * (w / width)).astype(np.intp)
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
