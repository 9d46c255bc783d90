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
