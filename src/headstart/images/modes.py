"""A PIL image of any mode -> RGB: grey, palette, transparency, CMYK, LAB, 16 bits, floats.

Shapes: pixels are (H, W, 3) uint8.
"""

from typing import Any

import numpy as np

from headstart.errors import BadImage

_STRIP = 1 << 20  # pixels converted at a time, so that a large image is never held thrice


def to_rgb(image: Any, float_range: float) -> np.ndarray:
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
    within = np.clip(np.nan_to_num(values.astype(np.float32), posinf=top, neginf=0.0), 0, top)
    grey = np.rint(within * (255.0 / top)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)
