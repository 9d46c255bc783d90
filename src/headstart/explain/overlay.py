"""A map drawn onto the image that it speaks of. Shapes: images are (H, W, 3) uint8."""

import cv2
import numpy as np

from headstart.images.geometry import Geometry, windows

# Vermillion and blue of Okabe & Ito's palette: told apart by the colour-blind too.
FOR, AGAINST = np.array((213, 94, 0)), np.array((0, 114, 178))
OPAQUE = 0.8  # where the map is strongest
STRONG = 0.5  # of the strongest: outlined, for whoever sees no colours at all
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def overlay(
    image: np.ndarray,
    values: np.ndarray,
    geometry: Geometry | None = None,
    scale: float | None = None,
) -> np.ndarray:
    """The image in grey with a map over it: orange where it spoke for the class, blue where
    against it, an outline around what spoke for it most. What the network did not see is dark.

    image: upright, of any size. values: the map, (height, width) of the network's input. geometry:
    how the image became that input; by default it was squashed. scale: the value that is drawn
    strongest, by default the largest of this map.
    """
    placed = place(values, image.shape[:2], geometry)
    scale = scale or float(np.abs(values).max()) or 1.0
    strength = np.clip(np.nan_to_num(placed) / scale, -1, 1)
    grey = np.repeat((image @ _LUMA)[:, :, None], 3, axis=2) * 0.7 + 70
    grey[np.isnan(placed)] *= 0.35
    colour = np.where(strength[:, :, None] > 0, FOR, AGAINST)
    alpha = OPAQUE * np.abs(strength)[:, :, None]
    drawn = np.clip(grey * (1 - alpha) + colour * alpha, 0, 255).astype(np.uint8)
    outlines, _ = cv2.findContours(
        (strength >= STRONG).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    width = max(1, round(min(image.shape[:2]) / 300))
    cv2.drawContours(drawn, outlines, -1, (0, 0, 0), 3 * width)
    cv2.drawContours(drawn, outlines, -1, (255, 255, 255), width)
    return drawn


def place(
    values: np.ndarray, shape: tuple[int, int], geometry: Geometry | None = None
) -> np.ndarray:
    """A (height, width) map of the network's input on the image of `shape` (H, W) that it was made
    of, float32; nan where the network did not see the image.
    """
    geometry = geometry or Geometry(*values.shape)
    seen, inside = windows(shape, geometry)
    rows, columns = seen
    placed = np.full(shape, np.nan, np.float32)
    placed[seen] = cv2.resize(
        np.ascontiguousarray(values[inside], np.float32),
        (columns.stop - columns.start, rows.stop - rows.start), interpolation=cv2.INTER_LINEAR,
    )  # fmt: skip
    return placed
