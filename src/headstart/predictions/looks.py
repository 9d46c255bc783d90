"""What a classifier says of images view by view, as measuring needs it: here or on Ray."""

import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import Classifier, Prediction, load
from headstart.data.item import Item
from headstart.data.listing import stream_labelled
from headstart.errors import StorageError
from headstart.predictions.rows import Asked
from headstart.store.folder import READERS
from headstart.store.pieces import Piece, Shard, cut
from headstart.store.work import Made, Numbers, Work
from headstart.system.progress import Progress, Silent
from headstart.system.threads import map_ahead


@dataclass(frozen=True)
class Look:
    """At one image. key: of its content. probabilities: (V, C) of its views, None where it cannot
    be used; error: why. said: what is said of it, where an answer may be taken back.
    """

    key: bytes
    error: str
    probabilities: np.ndarray | None
    said: Prediction | None = None


def look(
    classifier: Classifier, items: Iterable[Item], asked: Asked, progress: Progress
) -> Iterator[Look]:
    """One for each image, in order; memory stays flat."""
    items, again = tee(items)
    silence = classifier.silence(asked.accuracy, asked.reject)
    rows = classifier.look(items, asked.tta, features=asked.reject is not None)
    for item, (name, error, probabilities, features) in zip(again, rows, strict=True):
        progress.advance()
        said = None
        if probabilities is not None and asked.silent:
            said = silence(classifier.decide(name, probabilities.mean(axis=0)), features)
        yield Look(item.content_hash, error or "", probabilities, said)


@dataclass(frozen=True)
class Looks(Work):
    """The same as a job. run: where the classifier is."""

    run: Path
    source: Any
    asked: Asked
    header: Numbers

    def pieces(self, progress: Progress | None = None) -> Iterator[Piece]:
        """See `Work`."""
        warn = (progress or Silent()).warn
        return cut(stream_labelled(self.source, None, warn, in_order=True), Shard())

    def open(self) -> Callable[[Iterable[Piece]], Iterator[Made]]:
        """See `Work`."""
        classifier = load(self.run)
        self.check_computes(classifier.canary(), socket.gethostname())
        return partial(self.look, classifier)

    def look(self, classifier: Classifier, pieces: Iterable[Piece]) -> Iterator[Made]:
        """At each of the pieces."""
        with ThreadPoolExecutor(READERS, "bring") as pool:
            for piece in pieces:
                brought = map_ahead(pool, lambda item: item.bring(), piece.items)
                looks = tuple(look(classifier, brought, self.asked, Silent()))
                yield Made(piece.digest, "", piece.size, told=looks)


@contextmanager
def look_on_ray(
    on: str, run: Path, source: Any, asked: Asked, progress: Progress
) -> Iterator[Iterator[Look]]:
    """The same for each image of a source, in its order, by a cluster. Raises EngineError where it
    cannot, StorageError where it does not go on, DatasetError where it does not see the images.
    """
    from headstart.predictions.pieces import compute
    from headstart.store.on_ray import choose_alike, cluster, find_nodes, make_on_ray

    with cluster(on) as ray:
        header, alike, others = choose_alike(find_nodes(ray, partial(compute, run)), progress)
        job = Looks(run, source, asked, header)
        order = [piece.digest for piece in job.pieces()]
        made = make_on_ray(ray, job, set(order), alike, others, progress)
        yield _put_in_order(order, made)


def _put_in_order(order: Iterable[str], made: Iterator[Made]) -> Iterator[Look]:
    """What pieces have come to, as they come, in the order of their digests."""
    early: dict[str, tuple[Look, ...]] = {}
    for digest in order:
        while digest not in early:
            one = next(made, None)
            if one is None:
                raise StorageError(
                    "expected the images as they were listed, found that some changed in the "
                    "meantime. Type the same command again"
                )
            early[one.digest] = one.told
        yield from early.pop(digest)
