"""How large an image may be, and by what it is reduced before it is resized.

Shapes: pixels are (H, W, 3) uint8.
"""

import cv2
import numpy as np

from headstart.errors import BadImage

# Several images are decoded at once in our own threads: OpenCV's would fight with them.
cv2.setNumThreads(1)

MOST_FILE = 400 * 2**20  # bytes of a file: more than any image of MOST_PIXELS has to have
# Decided on the header, before anything is decoded. Behind each: the most memory a pixel takes on
# its way, as measured, into 400 MB.
MOST_PIXELS = 50_000_000
MOST_BUFFERED = 30_000_000  # JPEGs whose coefficients must all be kept: 10 to 12 bytes
MOST_WEBP = 22_000_000  # 16 bytes
MOST_AVIF = 35_000_000  # 10 bytes
MOST_BY_PYTHON = 4_000_000  # decoders that Pillow has in Python only: about a second
MOST_STORED = 300_000_000  # a JPEG decoded row by row at reduced scale: about two seconds
MOST_READS = 3_000_000  # by decoders in Python, some of which look byte by byte: a few seconds
MOST_SCANNED = 1_000_000_000  # pixels x scans of a JPEG: a second of passing over them


def check_size(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise BadImage(f"too many pixels ({width}x{height}, at most {most // 10**6} million)")


def choose_reduction(height: int, width: int, at_least: tuple[int, int] | None) -> int:
    """The largest of 8, 4, 2, 1 that leaves both sides as large as asked."""
    if at_least is not None:
        for factor in (8, 4, 2):
            if -(-height // factor) >= at_least[0] and -(-width // factor) >= at_least[1]:
                return factor
    return 1


def reduce_to(pixels: np.ndarray, at_least: tuple[int, int] | None) -> np.ndarray:
    """What a JPEG of these pixels would be reduced to, by the mean of each block."""
    height, width = pixels.shape[:2]
    factor = choose_reduction(height, width, at_least)
    if factor == 1:
        return pixels
    size = (-(-width // factor), -(-height // factor))
    result: np.ndarray = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return result
