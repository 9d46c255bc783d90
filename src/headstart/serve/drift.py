"""Whether what comes in is still like what was trained on: a windowed two-sample test.

Of each window of W images the distances from the nearest training image are compared with those of
the training images from each other (Kolmogorov and Smirnov's test), which their classifier carries
to tell "none of these". It is told when images become unlike; not when only the shares of classes
change. Letters: W images of a window, D features, n training images.
"""

import math
import threading
from collections import deque

import numpy as np

from headstart.abstention.novelty import Novelty

WINDOW = 200  # images: a shift that concerns a fifth of them is seen
LEVEL = 0.001  # of an alarm: one in a thousand windows without drift
KEPT = 50  # windows shown


class Drift:
    """Collects features, and compares them once a window is full."""

    def __init__(self, novelty: Novelty, window: int = WINDOW, level: float = LEVEL) -> None:
        self.novelty, self.window, self.level = novelty, window, level
        self.windows = self.alarms = 0
        self.p_values: deque[float] = deque(maxlen=KEPT)
        self._features: list[np.ndarray] = []
        self._lock = threading.Lock()

    @property
    def p_value(self) -> float | None:
        """Of the last window; None before there is one."""
        return self.p_values[-1] if self.p_values else None

    @property
    def is_on(self) -> bool:
        """Whether the last window was unlike the training images."""
        return self.p_value is not None and self.p_value < self.level

    def add(self, features: np.ndarray) -> None:
        """(D,) of one image. Any thread may call."""
        with self._lock:
            self._features.append(features)
            if len(self._features) < self.window:
                return
            full, self._features = self._features, []
            p = self.compare(np.stack(full))
            self.windows += 1
            self.alarms += p < self.level
            self.p_values.append(p)

    def compare(self, features: np.ndarray) -> float:
        """The p-value of (W, D) features being like the training images'."""
        distances = self.novelty.distances(features)
        return kolmogorov_smirnov(distances, self.novelty.scores)


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> float:
    """The two-sided p-value of two samples, (m,) and (n,), being of one distribution: Kolmogorov's
    limit with Stephens' correction for small samples (1970,
    https://doi.org/10.1111/j.2517-6161.1970.tb00821.x).
    """
    first, second = np.sort(first), np.sort(second)
    both = np.concatenate([first, second])
    shares = [np.searchsorted(one, both, side="right") / len(one) for one in (first, second)]
    most = float(np.abs(shares[0] - shares[1]).max())
    root = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    x = (root + 0.12 + 0.11 / root) * most
    if x < 0.2:  # where the series below converges slowly: 1 to 12 digits
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, sum(terms)))
