"""Made-up features that several tests learn from."""

import numpy as np


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
