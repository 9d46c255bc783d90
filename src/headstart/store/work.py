"""What a job of any kind is: pieces of a source, a file made of each, by one process or by many
that know nothing of each other.

The files that are there are all the state: a job that was killed, or is given again, makes what is
missing. The source is listed twice, to know what is missing and to make it, and neither its names
nor its images are ever held all at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from headstart.errors import DatasetError, EngineError
from headstart.store.file import SAME, Damaged, File, check_whole
from headstart.store.folder import READERS, Folder
from headstart.store.pieces import NAME, STALE, Piece, Shard
from headstart.system.progress import Progress
from headstart.system.threads import map_ahead

T = TypeVar("T")


class Numbers(Protocol):
    """What a process computes. mark: of the network and how it is run. canary: what it says of one
    fixed image.
    """

    @property
    def mark(self) -> str: ...
    @property
    def canary(self) -> np.ndarray: ...
    def distance(self, canary: np.ndarray) -> float:
        """How far another's numbers are from these, at most, as a share of the largest."""
        ...


@dataclass(frozen=True)
class Made:
    """A file that is there, "" where none was to be. images: that it says something of; bad: left
    out, with reasons. told: what else is told of it at the end.
    """

    digest: str
    file: str
    images: int
    bad: tuple[tuple[str, str], ...] = ()
    told: Any = None


@dataclass(frozen=True)
class Ran:
    """What a job has come to. made: its files, in the order of the source. before: how many images
    were in those that were there. stale: files set aside, since their images have changed or are
    gone.
    """

    made: tuple[Made, ...]
    before: int
    stale: int

    @property
    def images(self) -> int:
        """In all files."""
        return sum(one.images for one in self.made)


class Work(ABC):
    """What a process needs to know to do its share of a job."""

    header: Numbers  # what every process is to compute

    @abstractmethod
    def pieces(self, progress: Progress | None = None) -> Iterator[Piece]:
        """In the order of the source, one at a time."""

    @abstractmethod
    def open(self) -> Callable[[Iterable[Piece]], Iterator[Made]]:
        """What makes pieces in this process, each Made once all of it is there. Raises EngineError
        where this processor computes other numbers.
        """

    def find_made(self, piece: Piece) -> Made | None:
        """What another process has made of a piece; None where nothing is known of it."""
        return None

    def check_computes(self, canary: np.ndarray, where: str) -> None:
        """Raises EngineError unless that processor computes the job's numbers."""
        apart = self.header.distance(canary)
        if apart > SAME:
            raise EngineError(
                f"expected the numbers of the other computers, found that {where}, which has come "
                f"later, computes others (apart by {apart:.2%} of the largest). What is done is "
                "kept: type the same command again, which leaves it out or pins the precision"
            )


class Files(Work):
    """A job that makes files."""

    kind: ClassVar[str]  # what its files hold, in messages
    stage: ClassVar[str]  # what it is called while it goes on
    shard: Shard
    folder: Folder

    @abstractmethod
    def read(self, file: File, digest: str) -> tuple[Any, Made]:
        """What a file says of itself. Raises Damaged where that is nothing of ours."""

    @abstractmethod
    def check_same(self, name: str, about: Any) -> None:
        """Raises DatasetError where the file of that name, which says so of itself, is of another
        job.
        """

    def file(self, piece: Piece) -> File:
        """Where what is made of a piece is, or will be."""
        return File(self.folder, piece.name(self.shard))

    def find_made(self, piece: Piece) -> Made | None:
        """None where there is no whole file of it."""
        file = self.file(piece)
        if not file.folder.has(file.name):
            return None
        try:
            return self.read(file, piece.digest)[1]
        except Damaged:
            return None


def run(work: Files, make: Callable[[set[str], int], Iterator[Made]], progress: Progress) -> Ran:
    """All pieces of a job. make: makes those of the digests given, of a source of so many images.

    Raises DatasetError where another process is at it, or the folder holds files of another job.
    """
    with work.folder.alone(str(work.shard)) as alone:
        if not alone:
            raise DatasetError(
                f"expected to make shard {work.shard} in {work.folder} alone, found another "
                "process at it. Wait until it has ended, or give each process its own --shard K/N"
            )
        with progress.stage("dataset"):
            pieces = [replace(piece, items=(), container=None) for piece in work.pieces(progress)]
            made, stale = _settle(work, pieces, progress)
        before = sum(one.images for one in made.values())
        images = sum(piece.size for piece in pieces)
        known = all(piece.size for piece in pieces)
        with progress.stage(work.stage, images if known else None, "images"):
            progress.advance(sum(piece.size for piece in pieces if piece.digest in made))
            missing = {piece.digest for piece in pieces} - made.keys()
            if missing:
                for one in make(missing, images):
                    made[one.digest] = one
                    missing.discard(one.digest)
    if missing:
        progress.warn(
            f"{len(missing):,} files were not made, for the images changed in the meantime. Type "
            "the same command again"
        )
    if stale:
        progress.warn(
            f"{stale:,} files of {work.kind} in {work.folder}, whose images have changed or are "
            f"gone, are set aside under names that begin with {STALE} and count no more"
        )
    there = (made.get(piece.digest) for piece in pieces)
    return Ran(tuple(one for one in there if one is not None), before, stale)


def count(answers: Iterable[T], progress: Progress) -> Iterator[T]:
    """The same, each of them told."""
    for answer in answers:
        progress.advance()
        yield answer


# --- what is there ------------------------------------------------------------------------
def _settle(work: Files, pieces: list[Piece], progress: Progress) -> tuple[dict[str, Made], int]:
    """The pieces that are done, by digest, and how many files hold none of these any more, which
    are set aside; damaged ones are removed.

    Raises DatasetError where the folder holds files of other shards or of another job.
    """
    names, wanted = work.folder.names(), {piece.digest: piece for piece in pieces}
    _check_shards(work, names)
    found, stale = [], 0
    for name in names:
        parts = NAME.fullmatch(name.removeprefix(STALE))
        if parts is None or (int(parts[1]), int(parts[2])) != (work.shard.number, work.shard.of):
            continue
        piece = wanted.get(parts[4])
        if piece is None:
            if not name.startswith(STALE):
                work.folder.move(name, STALE + name)
                stale += 1
            continue
        if name != (now := piece.name(work.shard)):  # it was set aside, or pieces before it changed
            work.folder.move(name, now)
            name = now
        found.append((File(work.folder, name), parts[4]))
    with ThreadPoolExecutor(READERS, "footers") as pool:
        checked = list(map_ahead(pool, lambda one: _check(work, *one, progress), found))
    return {one.digest: one for one in checked if one is not None}, stale


def _check_shards(work: Files, names: Iterable[str]) -> None:
    """Raises DatasetError for files of another division, and those of another job."""
    first = True
    for name in names:
        parts = NAME.fullmatch(name)
        if parts is None:
            continue
        if int(parts[2]) != work.shard.of:
            raise DatasetError(
                f"expected files of {work.shard.of} shards in {work.folder}, found {name}, one of "
                f"{parts[2]}. Type: --shard K/{parts[2]}, or give a new folder"
            )
        if first and int(parts[1]) != work.shard.number:  # one for all the others
            first = False
            try:
                about, _ = work.read(File(work.folder, name), parts[4])
            except Damaged:
                continue
            work.check_same(name, about)


def _check(work: Files, file: File, digest: str, progress: Progress) -> Made | None:
    try:
        about, made = work.read(file, digest)
        if work.folder.is_here:  # a store keeps its own checksums
            check_whole(file)
    except Damaged as error:
        progress.warn(f"made again, for it was damaged: {file} ({error})")
        work.folder.remove(file.name)
        return None
    work.check_same(file.name, about)
    return made
