"""An engine runs a compiled extractor: uint8 images in, feature vectors out, in order."""

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np


class Engine(Protocol):
    """The one thing the rest of headstart asks of an engine."""

    def run(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """For each (H, W, 3) uint8 image its (D,) float32 vector, in the order of the images.

        Each image is computed on its own, so its numbers do not depend on its neighbours. The
        engine takes images only a few ahead of what it gives, so memory stays flat.
        """
        ...
