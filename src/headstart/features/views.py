"""Views drawn anew every epoch, for a head that is trained on them.

They are computed by the extractor in a thread while the head trains on the ones before. What an
epoch gives depends on the seed, the image and the epoch alone, so a resumed training sees what an
unbroken one sees. Letters: D features, B images of a batch.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue

import numpy as np

from headstart.data.item import Item
from headstart.errors import BadImage, DatasetError
from headstart.features.extractor import Extractor
from headstart.images.augment import Augmentation, make_view
from headstart.system.threads import cores, map_ahead

WAITING = 4  # batches computed and not yet taken


@dataclass(frozen=True)
class FreshViews:
    """Batches of features of views drawn anew every epoch: view `epoch + 1` of each image."""

    items: Sequence[Item]
    extractor: Extractor
    augmentation: Augmentation
    seed: int
    batch_size: int

    def __call__(self, epoch: int, order: np.ndarray) -> Iterator[np.ndarray]:
        """The (B, D) batches of an epoch, images in the given order."""
        queue: Queue[np.ndarray | BaseException | None] = Queue(WAITING)
        stop = threading.Event()

        def give(value: np.ndarray | BaseException | None) -> None:
            while not stop.is_set():
                with suppress(Full):
                    queue.put(value, timeout=0.1)
                    return

        def produce() -> None:
            try:
                with closing(self._batches(epoch, order)) as batches:
                    for batch in batches:
                        give(batch)
                        if stop.is_set():
                            return
                give(None)
            except BaseException as error:  # raised again where the batch would be taken
                give(error)

        producer = threading.Thread(target=produce, name="fresh views", daemon=True)
        producer.start()
        try:
            while True:
                try:
                    value = queue.get(timeout=1)
                except Empty:
                    continue
                if value is None:
                    return
                if isinstance(value, BaseException):
                    raise value
                yield value
        finally:
            stop.set()
            producer.join()

    def _batches(self, epoch: int, order: np.ndarray) -> Generator[np.ndarray, None, None]:
        def draw(index: int) -> np.ndarray:
            item = self.items[index]
            try:
                pixels = item.prepare(self.extractor.geometry)
            except (BadImage, OSError) as error:  # it was usable when the training began
                raise DatasetError(
                    f"expected the images with which the training began, found {item.name}: "
                    f"{error}. Restore it, then go on: headstart train --resume RUN"
                ) from error
            return make_view(
                pixels,
                self.augmentation,
                seed=self.seed,
                image_hash=item.content_hash,
                view=epoch + 1,
            )

        with ThreadPoolExecutor(cores(), "draw") as pool:
            rows: list[np.ndarray] = []
            for vector in self.extractor.run(map_ahead(pool, draw, order.tolist())):
                rows.append(vector)
                if len(rows) == self.batch_size:
                    yield np.stack(rows)
                    rows = []
            if rows:
                yield np.stack(rows)
