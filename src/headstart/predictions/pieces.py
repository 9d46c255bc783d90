"""Predictions of pieces of a source: a Parquet file for each, by one process, by many that know
nothing of each other, or by a Ray cluster. The files are the state, as those of features are.
"""

import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headstart import __version__
from headstart.classifier import Classifier, load
from headstart.data.item import Item
from headstart.data.source import STANDARD_INPUT, stream_items
from headstart.errors import ClassifierError, DatasetError
from headstart.predictions.once import predict_once
from headstart.predictions.output import Table
from headstart.predictions.rows import Asked, Tally
from headstart.predictions.summary import Summary
from headstart.store.file import SAME, Damaged, File, measure_distance, read_note
from headstart.store.folder import Folder, open_folder
from headstart.store.pieces import ROWS, Piece, Shard, cut
from headstart.store.work import Files, Made, count, run
from headstart.system.json import dumps, loads
from headstart.system.progress import Progress, Silent, choose_progress

NOTE = b"headstart predictions"  # of a file's metadata
FORMAT = 1


@dataclass(frozen=True)
class Sayer:
    """Which classifier a process has, and what it says of one fixed image."""

    mark: str
    canary: np.ndarray

    @classmethod
    def of(cls, classifier: Classifier) -> "Sayer":
        """As it is on this processor."""
        return cls(classifier.fingerprint(), classifier.canary())

    def distance(self, canary: np.ndarray) -> float:
        """See `Numbers`."""
        return measure_distance(self.canary, canary)


@dataclass(frozen=True)
class Answers(Files):
    """Predictions as files. run: where the classifier is. header: what it is to say."""

    kind, stage = "predictions", "predict"
    run: Path
    sources: tuple[str, ...]
    asked: Asked
    shard: Shard
    folder: Folder
    header: Sayer
    rows: int = ROWS

    def pieces(self, progress: Progress | None = None) -> Iterator[Piece]:
        """See `Files`."""
        return cut(stream_items(self.sources), self.shard, self.rows)

    def open(self) -> Callable[[Iterable[Piece]], Iterator[Made]]:
        """See `Files`."""
        classifier = load(self.run)
        self.check_computes(classifier.canary(), socket.gethostname())
        return lambda pieces: answer(self, pieces, classifier, Silent())

    def read(self, file: File, digest: str) -> tuple[dict[str, Any], Made]:
        """See `Files`."""
        try:
            note = loads(read_note(file, NOTE))
            if note["format"] > FORMAT:
                raise Damaged(f"format {note['format']}, of a newer headstart")
            tally, summary = Tally(), Summary.parse(note["summary"])
            tally.counts.update(note["tally"])
            note["canary"] = np.array(note["canary"], np.float32)
            note["asked"] = dict(note["asked"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Damaged(f"no description of its predictions ({error})") from error
        return note, Made(digest, file.name, tally.images, told=(tally, summary))

    def check_same(self, name: str, about: dict[str, Any]) -> None:
        """See `Files`."""
        asked, apart = self.describe(), self.header.distance(about["canary"])
        wrong = [key for key in asked if about["asked"].get(key) != asked[key]]
        if wrong:
            told = "; ".join(f"{key} {about['asked'].get(key)}, not {asked[key]}" for key in wrong)
            raise DatasetError(
                f"expected the predictions in {self.folder} to be of this classifier with the same "
                f"options, found in {name} {told}. Give a new folder, or the options it was begun "
                "with"
            )
        if apart > SAME:
            raise DatasetError(
                f"expected the numbers of {self.folder.show(name)}, found that this processor or "
                f"library gives others (apart by {apart:.2%} of the largest). Go on where it was "
                "begun, or give a new folder"
            )

    def describe(self) -> dict[str, Any]:
        """What must be the same when it is gone on with."""
        return {"classifier": self.header.mark, **asdict(self.asked)}


@dataclass(frozen=True)
class Answered:
    """What a job has left in `folder`. new: how many of the images were predicted by this call."""

    folder: str
    files: int
    new: int
    tally: Tally
    summary: Summary

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "folder": self.folder, "files": self.files, "images": self.tally.images,
            "new": self.new, "failed": self.tally.failed, **self.tally.usable,
            "labels": dict(self.summary.counts.most_common()),
        }  # fmt: skip


def predict_pieces(
    run_folder: str | Path,
    sources: Iterable[str | Path],
    to: str | Path,
    asked: Asked,
    *,
    shard: str | Shard = "1/1",
    on: str | None = None,
    progress: Progress | bool | None = None,
) -> Answered:
    """What a classifier says of the images of some sources, as Parquet files in the folder `to`,
    some 2,000 in each, in the form in which `predict --out FILE.parquet` writes them.

    to: a folder, or an address of a store. shard: "K/N" for the K-th of N parts, made by as many
    calls on any machines. on: "ray", or the address of a Ray cluster, whose computers must see the
    run, the images and `to` under the same names. Files that are there are not made again.
    Raises ClassifierError, DatasetError where other predictions are in the folder, EngineError,
    StorageError, MissingExtra.
    """
    progress, classifier = choose_progress(progress), load(run_folder)
    classifier.silence(asked.accuracy, asked.reject)  # refused before anything slow
    form = asked.form(classifier)
    asked = Asked(form.top_k, asked.tta, asked.accuracy, asked.reject)
    Table(form)
    shard = shard if isinstance(shard, Shard) else Shard.parse(shard)
    places = tuple(map(str, sources))
    if STANDARD_INPUT in places:
        raise DatasetError(
            "expected images that can be listed twice, found - for a list on standard input. "
            "Write it into a file, and give LIST.txt"
        )
    folder = open_folder(to)
    folder.make()
    work = partial(Answers, Path(run_folder), places, asked, shard, folder, rows=ROWS)
    if on is not None:
        return _predict_on_ray(on, Path(run_folder), work, progress)
    own = work(Sayer.of(classifier))

    def make(missing: set[str], images: int) -> Iterator[Made]:
        pieces = (piece for piece in own.pieces() if piece.digest in missing)
        return answer(own, pieces, classifier, progress)

    return _finish(own, make, progress)


def _predict_on_ray(
    on: str, run_folder: Path, work: Callable[[Sayer], Answers], progress: Progress
) -> Answered:
    from headstart.store.on_ray import choose_alike, cluster, find_nodes, make_on_ray

    with cluster(on) as ray:
        with progress.stage("classifier"):
            nodes = find_nodes(ray, partial(compute, run_folder))
            header, alike, others = choose_alike(nodes, progress)
        assert isinstance(header, Sayer)
        own = work(header)

        def make(missing: set[str], images: int) -> Iterator[Made]:
            return make_on_ray(ray, own, missing, alike, others, progress)

        return _finish(own, make, progress)


def compute(run_folder: Path) -> Sayer:
    """What a computer of the cluster says. Raises ClassifierError where it does not see the run."""
    if not run_folder.exists():
        raise ClassifierError(
            f"expected the run on every computer of the cluster, found that {socket.gethostname()} "
            f"sees no {run_folder}. Put it in a folder that all share"
        )
    return Sayer.of(load(run_folder))


def answer(
    work: Answers, pieces: Iterable[Piece], classifier: Classifier, progress: Progress
) -> Iterator[Made]:
    """Each of the pieces, once its file is there; the network never waits for the next one."""
    asked, table = work.asked, Table(work.asked.form(classifier))
    ask = partial(classifier.stream, views=asked.tta, accuracy=asked.accuracy, reject=asked.reject)
    begun: deque[Piece] = deque()

    def items() -> Iterator[Item]:
        for piece in pieces:
            begun.append(piece)
            yield from piece.items

    rows: list[list[Any]] = []
    tally, summary = Tally(), Summary()
    for _, prediction in count(predict_once(ask, items()), progress):
        rows.append(table.cells(prediction))
        tally.add(prediction)
        summary.add(prediction)
        if len(rows) == begun[0].size:
            yield _keep(work, begun.popleft(), table, rows, tally, summary)
            rows, tally, summary = [], Tally(), Summary()


def _keep(
    work: Answers, piece: Piece, table: Table, rows: list[list[Any]], tally: Tally, summary: Summary
) -> Made:
    note = dumps({
        "format": FORMAT, "headstart": __version__, "asked": work.describe(),
        "canary": [float(f"{number:.9g}") for number in work.header.canary],
        "tally": dict(tally.counts), "summary": summary.to_dict(),
    })  # fmt: skip
    built = table.build(rows).replace_schema_metadata({NOTE: note.encode()})
    sink = table.arrow.BufferOutputStream()
    table.arrow.parquet.write_table(built, sink, write_page_checksum=True)
    file = work.file(piece)
    file.folder.write(file.name, bytes(sink.getvalue()))
    return Made(piece.digest, file.name, len(rows), told=(tally, summary))


def _finish(
    work: Answers, make: Callable[[set[str], int], Iterator[Made]], progress: Progress
) -> Answered:
    ran = run(work, make, progress)
    tally, summary = Tally(), Summary()
    for one in ran.made:
        some, told = one.told
        tally.counts.update(some.counts)
        summary.merge(told)
    if not ran.made and work.shard.of == 1:
        raise DatasetError(
            f"expected images in {' '.join(work.sources)}, found none. Give images, or folders and "
            "archives that hold some"
        )
    return Answered(str(work.folder), len(ran.made), ran.images - ran.before, tally, summary)
