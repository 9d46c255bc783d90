"""An engine for tests: features that can be worked out by hand, and a count of images seen."""

from collections.abc import Iterable, Iterator

import numpy as np


class FakeEngine:
    """Features are the mean red, green and blue of the image, 0..1; no network, no OpenVINO."""

    def __init__(self) -> None:
        self.seen = 0

    def run(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The (3,) mean colour of each (H, W, 3) uint8 image."""
        for image in images:
            self.seen += 1
            yield (image.reshape(-1, 3).mean(axis=0) / 255).astype(np.float32)
