"""Images that an export is checked on: photos, and what decoders stumble on made out of one."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.images.decode import decode
from headstart.images.geometry import Geometry

PHOTOS = 6  # that travel with an export
LARGEST = 1_500_000  # bytes of a photo that travels


def choose(paths: Sequence[Path]) -> list[Path]:
    """A few of the photos, evenly over the list, none that is large."""
    small = [path for path in paths if 0 < path.stat().st_size <= LARGEST]
    places: Any = np.unique(np.linspace(0, len(small) - 1, PHOTOS).astype(int)) if small else []
    return [small[place] for place in places]


def make_odd(photo: bytes | None, geometry: Geometry) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of images turned by EXIF, in CMYK, grey, with transparency, of 16 bits, with
    a palette, huge and tiny; of a drawn picture where there is no photo.
    """
    from PIL import Image

    pixels = draw() if photo is None else decode(photo, (geometry.height, geometry.width))
    picture = Image.fromarray(pixels)
    small = picture.resize((geometry.width + 37, geometry.height + 11))
    turned = Image.Exif()
    turned[0x0112] = 6
    yield "odd-exif.jpg", _encode(small, "JPEG", quality=92, exif=turned)
    yield "odd-cmyk.jpg", _encode(small.convert("CMYK"), "JPEG", quality=92)
    yield "odd-grey.jpg", _encode(small.convert("L"), "JPEG", quality=92)
    slope = np.linspace(0, 255, small.height * small.width).reshape(small.height, small.width)
    small.putalpha(Image.fromarray(slope.astype(np.uint8)))
    yield "odd-alpha.png", _encode(small, "PNG")
    deep = np.asarray(small.convert("L")).astype(np.uint16) * 257
    yield "odd-16-bits.png", _encode(Image.fromarray(deep), "PNG")
    yield "odd-palette.gif", _encode(small.convert("RGB").convert("P"), "GIF")
    yield "odd-webp.webp", _encode(small.convert("RGB"), "WEBP", quality=90)
    huge = picture.resize((8 * geometry.width + 5, 8 * geometry.height + 3))
    yield "odd-huge.jpg", _encode(huge, "JPEG", quality=70)
    yield "odd-tiny.png", _encode(picture.resize((5, 3)), "PNG")


def make_small() -> list[bytes]:
    """Drawn pictures of few kilobytes, without loss and nobody's photos, for a page to carry."""
    from PIL import Image

    drawn = draw()
    shapes = (drawn[::4, ::4], drawn[::3, ::5].transpose(1, 0, 2))
    return [_encode(Image.fromarray(np.ascontiguousarray(pixels)), "PNG") for pixels in shapes]


def draw() -> np.ndarray:
    """A picture (300, 400, 3) with edges, slopes and noise, for want of a photo."""
    rows, columns = np.mgrid[:300, :400]
    rings = 127 + 120 * np.sin(np.hypot(rows - 150, columns - 200) / 9)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400))
    return np.stack([rings, columns * 255 / 400, noise], axis=2).astype(np.uint8)


def _encode(image: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
