"""Made-up features that several tests learn from."""

import numpy as np

from headstart.heads.examples import Examples
from headstart.metrics.task import MultiLabel, SingleLabel


def features(
    count: int, dimensions: int, classes: int, seed: int = 0, apart: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Correlated, positive, heavy-tailed features, as a network's are, with labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    mixing = rng.normal(size=(12, dimensions))
    hidden = rng.normal(size=(count, 12)) + apart * rng.normal(size=(classes, 12))[labels]
    values = np.maximum(hidden @ mixing + rng.normal(0, 0.5, (count, dimensions)), 0)
    return values.astype("f4"), labels


def examples(
    values: np.ndarray,
    targets: np.ndarray,
    classes: int = 2,
    *,
    groups: np.ndarray | None = None,
    balanced: bool = False,
) -> Examples:
    """Images with (N, D) or (N, V, D) features; in several classes each if targets are (N, C)."""
    kind = MultiLabel if targets.ndim == 2 else SingleLabel
    count = targets.shape[1] if targets.ndim == 2 else classes
    return Examples(
        values=values if values.ndim == 3 else values[:, None],
        targets=targets,
        task=kind(tuple(f"class {number}" for number in range(count))),
        groups=groups,
        balanced=balanced,
    )


def mirrored_letters(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 64, 64, 3) uint8 and (N,) labels: an L (0) or its mirror image (1), in any colour.

    A backbone was trained to see no difference there, and is quickly taught to: fine-tuning pays.
    """
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(0)
    outline = np.array([(-14, -20), (-4, -20), (-4, 10), (14, 10), (14, 20), (-14, 20)], float)
    labels = np.arange(count) % 2
    pictures = []
    for label in labels:
        image = Image.new("RGB", (64, 64), (128, 128, 128))
        angle = rng.uniform(-0.6, 0.6)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        corners = outline * ((-1, 1) if label else (1, 1)) @ turn + 32 + rng.uniform(-5, 5, 2)
        colour = tuple(rng.integers(0, 256, 3).tolist())
        ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners], fill=colour)
        noisy = np.asarray(image) + rng.normal(0, 30, (64, 64, 3))
        pictures.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return np.stack(pictures), labels
