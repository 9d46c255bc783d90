"""Bytes -> upright RGB uint8 pixels, or a BadImage with its reason.

One decoder for training, prediction and serving. The format is read from the bytes, never from
the name. Shapes: pixels are (H, W, 3) uint8. Everything here may run in many threads at once.
"""

import importlib
import io
import re
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from headstart.errors import BadImage

# Several images are decoded at once in our own threads: OpenCV's would fight with them.
cv2.setNumThreads(1)


def decode(data: bytes, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """The upright RGB pixels (H, W, 3) of an image file's bytes; of an animation the first frame.

    at_least: (height, width); the image may be reduced by 2, 4 or 8 as long as both sides stay
    so large. Raises BadImage with the reason if the bytes are no whole, usable image, or one too
    large to be decoded within some 400 MB.
    """
    if not data:
        raise BadImage("empty file")
    if data[:3] == b"\xff\xd8\xff":
        pixels = _decode_jpeg(data, at_least)
        if pixels is not None:
            return pixels
    return reduced(_decode_with_pillow(data), at_least)


def from_pixels(image: Any) -> np.ndarray:
    """Upright RGB (H, W, 3) uint8 of a PIL image or a uint8 array (H, W[, 1, 3 or 4]).

    Raises BadImage for another kind of array, saying how to convert it.
    """
    if not isinstance(image, np.ndarray):
        if hasattr(image, "getbands") and hasattr(image, "convert"):
            return _loaded(image, "image", MOST_PIXELS)
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

        return _rgb(Image.fromarray(image), 255.0)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


# --- limits and reduction -----------------------------------------------------------------

# Decided on the header, before anything is decoded. Behind each: the most memory a pixel takes on
# its way, as measured, into 400 MB.
MOST_PIXELS = 50_000_000
MOST_BUFFERED = 30_000_000  # JPEGs whose coefficients must all be kept: 10 to 12 bytes
MOST_WEBP = 22_000_000  # 16 bytes
MOST_AVIF = 35_000_000  # 10 bytes
MOST_BY_PYTHON = 4_000_000  # decoders that Pillow has in Python only: about a second
MOST_STORED = 300_000_000  # a JPEG decoded row by row at reduced scale: about two seconds
MOST_SCANNED = 1_000_000_000  # pixels x scans of a JPEG: a second of passing over them


def _check_size(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise BadImage(f"too many pixels ({width}x{height}, at most {most // 10**6} million)")


def _reduction(height: int, width: int, at_least: tuple[int, int] | None) -> int:
    """The largest of 8, 4, 2, 1 that leaves both sides as large as asked."""
    if at_least is not None:
        for factor in (8, 4, 2):
            if -(-height // factor) >= at_least[0] and -(-width // factor) >= at_least[1]:
                return factor
    return 1


def reduced(pixels: np.ndarray, at_least: tuple[int, int] | None) -> np.ndarray:
    """What a JPEG of these pixels would be reduced to, by the mean of each block."""
    height, width = pixels.shape[:2]
    factor = _reduction(height, width, at_least)
    if factor == 1:
        return pixels
    size = (-(-width // factor), -(-height // factor))
    result: np.ndarray = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return result


# --- JPEG ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    """What a JPEG's headers say."""

    height: int
    width: int
    components: int
    buffered: bool  # several scans: the decoder keeps every coefficient, whatever the scale
    orientation: int


def _decode_jpeg(data: bytes, at_least: tuple[int, int] | None) -> np.ndarray | None:
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
    factor = _reduction(height, width, at_least)
    by_rows = min(MOST_STORED, MOST_PIXELS * factor**2)
    _check_size(width, height, MOST_BUFFERED if frame.buffered else by_rows)
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
    return _upright(pixels, frame.orientation)


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
            orientation = _orientation(data[body:end])
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


def _orientation(exif: bytes) -> int:
    """EXIF orientation 1..8; 1 where there is none or it is malformed or out of range."""
    tiff = exif.removeprefix(b"Exif\0\0")
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == 0x0112:
                (value,) = struct.unpack_from(order + {3: "H", 4: "I"}[kind], tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
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


def _decode_with_pillow(data: bytes) -> np.ndarray:
    formats = (row[1:] for row in _FORMATS if re.match(row[0], data[:64], re.DOTALL))
    name, most = next(formats, (None, 0))
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
    kind = name if name == "WebP" else name.upper()
    with _reasons(kind):
        image = getattr(plugin, f"{name}ImageFile")(io.BytesIO(data))
    with image:
        return _loaded(image, kind, most)


def _loaded(image: Any, kind: str, most: int) -> np.ndarray:
    """The upright RGB pixels of a PIL image that may not be loaded yet."""
    with _reasons(kind):
        tile = getattr(image, "tile", None)
        if tile and tile[0][0] in ("bmp_rle", "ppm_plain"):
            most = MOST_BY_PYTHON
        _check_size(image.width, image.height, most)
        float_range = 255.0
        if kind == "TIFF" or getattr(image, "format", None) == "TIFF":
            float_range = 1.0
            tags = image.tag_v2
            if 322 in tags and 323 in tags:
                _check_size(tags[322], tags[323], most)
        image.load()  # once: a second load of a corrupt file can succeed silently
        # Not getexif(), which can raise and warn. TIFF and HEIC come upright, AVIF's own
        # rotation comes as EXIF.
        exif = image.info.get("exif")
        pixels = _rgb(image, float_range)
        return _upright(pixels, _orientation(exif) if isinstance(exif, bytes) else 1)


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


_NOISE = ("ignore", None, UserWarning, re.compile(r"PIL\.\w+ImagePlugin"), 0)

# --- modes --------------------------------------------------------------------------------

_STRIP = 1 << 20  # pixels converted at a time, so that a large image is never held thrice


def _rgb(image: Any, float_range: float) -> np.ndarray:
    """The pixels (H, W, 3) of a loaded PIL image of any mode, transparency over white."""
    width, height = image.size
    if not width or not height:
        raise BadImage("has no pixels")
    rows = max(1, _STRIP // width)
    if rows >= height:
        return _strip_rgb(image, float_range)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        pixels[top : top + rows] = _strip_rgb(strip, float_range)
    return pixels


def _strip_rgb(image: Any, float_range: float) -> np.ndarray:
    from PIL import Image

    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return _grey_of_deep(image, float_range)
    if mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    elif mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _grey_of_deep(image: Any, float_range: float) -> np.ndarray:
    """16 bits or floats to 8 bits, by the range the mode declares, never by the extremes found.

    Pillow keeps 16-bit pictures in I;16 and in I, and floats of 0..255 in F; those of a TIFF
    file are 0..1 by convention.
    """
    values = np.asarray(image)
    top = float_range if image.mode == "F" else 65535.0
    scaled = np.nan_to_num(values.astype(np.float32), posinf=top, neginf=0.0) * (255.0 / top)
    grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)
