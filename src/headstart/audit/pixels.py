"""What can be told of an image without a network: sizes, format, camera, light, sharpness, edges,
and a small grey copy. Computed once and kept in the cache beside the features, by content.

Shapes: N images, F numbers of each. Brightness and colours are 0..1.
"""

import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from headstart.data.item import Item, content_hash
from headstart.errors import BadImage, CacheError
from headstart.features.cache import Space, open_space
from headstart.images.decode import decode, recognise
from headstart.system.progress import Progress
from headstart.system.threads import cores, map_ahead

VERSION = 3  # raised when the same bytes give other numbers
SIDE = 256  # pixels of the longer side on which light, sharpness and edges are measured
THUMB = 64  # pixels of the small grey copy, whatever the proportions
TILES = 8  # a side: the sharpest tenth of them decides how sharp an image is
STRIP, RING = 0.01, 0.15  # of the side: the border, and what is around the subject
FRAME = 0.08  # of the side, of which light takes no notice: it may be a frame
FORMATS = ("Jpeg", "Png", "WebP", "Gif", "Bmp", "Tiff", "Ppm", "Avif", "Heif")
LIGHT = ("mean", "p1", "p5", "p95", "p99", "contrast", "saturation")
EDGES = ("border_red", "border_green", "border_blue", "border_contrast")
SIDES = tuple(
    f"{side}_{what}"
    for side in ("top", "bottom", "left", "right")
    for what in ("red", "green", "blue", "contrast")
)
NUMBERS = ("height", "width", "format", "bytes", "camera", *LIGHT, "sharpness", *EDGES, *SIDES)
KEEP = 1024  # images written to the cache at a time


@dataclass(frozen=True)
class Looks:
    """Of N images: numbers (N, F) float32 in the order of NUMBERS, thumbs (N, THUMB, THUMB) uint8.
    known: (N,) whether the image could be read; the rows of others are zeros.
    """

    numbers: np.ndarray
    thumbs: np.ndarray
    known: np.ndarray

    def of(self, *names: str) -> np.ndarray:
        """(N, len(names)) of the numbers; (N,) of one."""
        columns = self.numbers[:, [NUMBERS.index(name) for name in names]]
        return columns[:, 0] if len(names) == 1 else columns


def look(items: Sequence[Item], progress: Progress, some: np.ndarray | None = None) -> Looks:
    """What the images look like, or `some` of them by their numbers, from the cache or computed and
    kept there.
    """
    if some is not None:
        found = look([items[i] for i in some.tolist()], progress)
        numbers = np.zeros((len(items), len(NUMBERS)), np.float32)
        thumbs = np.zeros((len(items), THUMB, THUMB), np.uint8)
        seen = np.zeros(len(items), bool)
        numbers[some], thumbs[some], seen[some] = found.numbers, found.thumbs, found.known
        return Looks(numbers, thumbs, seen)
    space = _open(progress)
    rows = np.zeros((len(items), len(NUMBERS) + THUMB * THUMB // 4), np.float32)
    keys = [item.content_hash + bytes(8) for item in items]
    known = space.get_into(keys, rows) if space else np.zeros(len(items), bool)
    missing = np.flatnonzero(~known).tolist()
    rows[missing] = 0  # they may hold anything
    with ThreadPoolExecutor(cores(), "look") as pool:
        for start in range(0, len(missing), KEEP):
            part = missing[start : start + KEEP]
            for place, row in zip(part, map_ahead(pool, _look, [items[i] for i in part]),
                                  strict=True):  # fmt: skip
                if row is not None:
                    rows[place], known[place] = row, True
            space = _keep(space, [i for i in part if known[i]], keys, rows, progress)
    thumbs = np.ascontiguousarray(rows[:, len(NUMBERS) :]).view(np.uint8)
    return Looks(rows[:, : len(NUMBERS)].copy(), thumbs.reshape(-1, THUMB, THUMB), known)


def _open(progress: Progress) -> Space | None:
    # Arithmetic on 8-bit pixels: alike on every processor, so one sign stands for all.
    description = {"backbone": "pixels", "version": VERSION}
    try:
        return open_space(f"pixels-{VERSION}", description, np.zeros(1, np.float32), progress.warn)
    except CacheError as error:
        progress.warn(f"going on without keeping what images look like: {error}")
        return None


def _keep(
    space: Space | None, part: list[int], keys: list[bytes], rows: np.ndarray, progress: Progress
) -> Space | None:
    if space is not None and part:
        try:
            space.put([keys[i] for i in part], rows[part])
        except CacheError as error:
            progress.warn(f"going on without keeping what images look like: {error}")
            return None
    return space


def _look(item: Item) -> np.ndarray | None:
    try:
        data = item.read()
        return measure(data) if content_hash(data) == item.content_hash else None
    except (BadImage, OSError):
        return None


def measure(data: bytes) -> np.ndarray:
    """(F + THUMB * THUMB / 4,) float32: the numbers, then the bytes of the thumb as they are.

    Raises BadImage.
    """
    kind = recognise(data)
    pixels = decode(data, (SIDE, SIDE) if kind == "Jpeg" else None)
    height, width = _size(data, pixels) if kind == "Jpeg" else pixels.shape[:2]
    scale = min(1.0, SIDE / max(pixels.shape[:2]))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    numbers = [
        height, width, FORMATS.index(kind) if kind in FORMATS else -1, len(data),
        zlib.crc32(read_camera(data).encode()) % 2**24,  # which float32 holds exactly
        *_measure_light(pixels, grey), _measure_sharpness(grey), *_measure_edges(pixels),
    ]  # fmt: skip
    shrinking = min(grey.shape) >= THUMB
    thumb = cv2.resize(
        grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    )
    return np.concatenate([np.array(numbers, np.float32), thumb.reshape(-1).view(np.float32)])


def _size(data: bytes, pixels: np.ndarray) -> tuple[int, int]:
    """The upright (height, width) of a JPEG, which was perhaps decoded at reduced scale."""
    import simplejpeg

    try:
        height, width = simplejpeg.decode_jpeg_header(data, strict=False)[:2]
    except ValueError:
        height, width = pixels.shape[:2]
    lying = pixels.shape[0] < pixels.shape[1]
    return (height, width) if lying == (height < width) else (width, height)


def _measure_light(pixels: np.ndarray, grey: np.ndarray) -> list[float]:
    """In the order of LIGHT: mean and percentiles of the brightness, its standard deviation, and
    the mean distance of the strongest from the weakest colour.
    """
    rows, columns = (int(FRAME * side) for side in grey.shape)
    inside = slice(rows, grey.shape[0] - rows), slice(columns, grey.shape[1] - columns)
    pixels, grey = np.ascontiguousarray(pixels[inside]), np.ascontiguousarray(grey[inside])
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).reshape(-1)
    below = np.cumsum(counts) / counts.sum()
    percentiles = [float(np.searchsorted(below, share)) / 255 for share in (0.01, 0.05, 0.95, 0.99)]
    mean, deviation = (float(value[0, 0]) / 255 for value in cv2.meanStdDev(grey))
    red, green, blue = cv2.split(pixels)
    strongest = cv2.max(cv2.max(red, green), blue)
    weakest = cv2.min(cv2.min(red, green), blue)
    saturation = (cv2.mean(strongest)[0] - cv2.mean(weakest)[0]) / 255
    return [mean, *percentiles, deviation, saturation]


def _measure_sharpness(grey: np.ndarray) -> float:
    """The deviation of the Laplacian, 0..1, in the tile that a tenth of the tiles exceed: a sharp
    subject before a soft ground is a sharp image.
    """
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F)) / 255
    squares = cv2.resize(edges * edges, (TILES, TILES), interpolation=cv2.INTER_AREA)
    return float(np.sqrt(np.quantile(squares, 0.9)))


def _measure_edges(pixels: np.ndarray) -> list[float]:
    """In the order of EDGES and SIDES: colours and contrast of the outermost strip as one, and of
    the band around the subject side by side.
    """

    def band(share: float) -> list[np.ndarray]:
        rows, columns = (max(1, round(share * side)) for side in pixels.shape[:2])
        return [pixels[:rows], pixels[-rows:], pixels[:, :columns], pixels[:, -columns:]]

    strip = np.concatenate([part.reshape(-1, 3) for part in band(STRIP)]).astype(np.float32) / 255
    numbers = [*strip.mean(axis=0), strip.std(axis=0).mean()]
    for part in band(RING):
        mean, deviation = cv2.meanStdDev(part)
        numbers += [*(mean[:, 0] / 255), deviation.mean() / 255]
    return [float(number) for number in numbers]


def read_camera(data: bytes) -> str:
    """Make and model as EXIF tells them; "" where it tells none, or nothing that can be read."""
    start = data.find(b"Exif\0\0", 0, 65536)
    tiff = data[start + 6 : start + 6 + 65536] if start >= 0 else b""
    names = []
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, first)
        for entry in range(first + 2, first + 2 + 12 * count, 12):
            tag, kind, length, place = struct.unpack_from(f"{order}HHII", tiff, entry)
            if tag in (0x010F, 0x0110) and kind == 2:  # make, model; text
                text = tiff[place : place + length] if length > 4 else tiff[entry + 8 :][:length]
                names.append(text.split(b"\0")[0].decode("ascii", "replace").strip())
    except (KeyError, struct.error):
        return ""
    return " ".join(names)
