"""Images -> files of their features, by one process or by many that know nothing of each other.

The files that are there are all the state: a job that was killed, or is given again, makes what is
missing. The source is listed twice, to know what is missing and to make it, and neither its names
nor its images are ever held all at once.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headstart.backbones.cut import AUTO
from headstart.data.item import Item
from headstart.data.remote import Remote
from headstart.errors import DatasetError, RecipeError
from headstart.features.cache import Space
from headstart.features.extract import extract, open_cache, stream
from headstart.features.extractor import Extractor, open_extractor
from headstart.recipe import Recipe, load_recipe
from headstart.store.file import (
    DTYPES,
    SAME,
    Damaged,
    File,
    Header,
    check_whole,
    encode,
    find_base,
    import_parquet,
    read_footer,
)
from headstart.store.folder import READERS, Folder, open_folder
from headstart.store.pieces import NAME, ROWS, STALE, Piece, Shard, cut
from headstart.system.progress import Progress, Silent, choose_progress
from headstart.system.threads import map_ahead

T = TypeVar("T")

CACHED = 20_000  # images of a job up to which the cache is asked and filled: more would lie twice
OTHER = "Pin what all processors compute alike with --precision f32, in a new folder"


@dataclass(frozen=True)
class Job:
    """What a process needs to know to make pieces of it. rows: of a file, about."""

    source: Any
    recipe: Recipe
    shard: Shard
    folder: Folder
    header: Header
    rows: int

    def pieces(self, progress: Progress | None = None) -> Iterator[Piece]:
        """In the order of the source, one at a time."""
        warn = (progress or Silent()).warn
        return cut(self.source, self.recipe.groups, self.shard, warn, self.rows)

    def file(self, piece: Piece) -> File:
        """Where its features are, or will be."""
        return File(self.folder, piece.name(self.shard))

    def find_made(self, piece: Piece) -> "Made | None":
        """What another process has made of a piece; None where there is no whole file of it."""
        file = self.file(piece)
        if not file.folder.has(file.name):
            return None
        try:
            header, images = read_footer(file)
        except Damaged:
            return None
        return None if header is None else Made(piece.digest, file.name, images, header.bad)


@dataclass(frozen=True)
class Made:
    """A file that is there. images: with features; bad: left out, with reasons."""

    digest: str
    file: str
    images: int
    bad: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Done:
    """What a job has left. images: with features in `folder`; computed: of these by this call.
    bad: images left out, each with its reason; table: where these are listed. stale: files set
    aside, since their images have changed or are gone.
    """

    folder: str
    images: int
    computed: int
    files: int
    bad: tuple[tuple[str, str], ...]
    stale: int
    table: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        bad = [{"image": name, "reason": reason} for name, reason in self.bad]
        return {"folder": self.folder, "images": self.images, "computed": self.computed,
                "files": self.files, "unreadable": bad, "stale": self.stale}  # fmt: skip


def write_features(
    source: Any,
    to: str | Path,
    recipe: str | Path | Recipe = "quick",
    *,
    shard: str | Shard = "1/1",
    dtype: str = "f32",
    cache: bool = True,
    on: str | None = None,
    progress: Progress | bool | None = None,
    **choices: Any,
) -> Done:
    """The features of labelled images as Parquet files in the folder `to`, some 2,000 in each.

    source, recipe, choices: as `train` takes them, and addresses of stores; a cut that is left open
    is the last layer. to: a folder, or an address of a store. shard: "K/N" for the K-th of N parts,
    made by as many calls on any machines. dtype: "f32" or "f16". cache: whether features that are
    in the cache folder are taken from there and new ones kept there too, which is done for up to
    20,000 images of this computer. on: "ray", or the address of a Ray cluster, whose computers make
    them together, and must all see `source` and `to` under these names.
    Raises DatasetError where other features are in the folder, RecipeError, StorageError,
    MissingExtra.
    """
    import_parquet()
    progress = choose_progress(progress)
    shard = shard if isinstance(shard, Shard) else Shard.parse(shard)
    recipe = _check_recipe(load_recipe(recipe, **choices), dtype, progress)
    folder = open_folder(to)
    folder.make()
    if on is not None:
        from headstart.store.on_ray import write_on_ray

        return write_on_ray(on, source, folder, recipe, shard, dtype, progress)
    with progress.stage("extractor"):
        extractor = open_extractor(recipe)
    job = Job(source, recipe, shard, folder, Header.of(extractor, recipe, dtype), ROWS)

    def make(missing: set[str], images: int) -> Iterator[Made]:
        space = open_cache(extractor, progress) if cache and images <= CACHED else None
        return make_here(job, missing, extractor, space, progress)

    return run(job, make, progress)


def run(job: Job, make: Callable[[set[str], int], Iterator[Made]], progress: Progress) -> Done:
    """All pieces of a job. make: makes those of the digests given, of a source of so many images.

    Raises DatasetError where another process is at it, and as `write_features` does.
    """
    with job.folder.alone(str(job.shard)) as alone:
        if not alone:
            raise DatasetError(
                f"expected to make shard {job.shard} in {job.folder} alone, found another process "
                "at it. Wait until it has ended, or give each process its own --shard K/N"
            )
        with progress.stage("dataset"):
            pieces = [replace(piece, items=()) for piece in job.pieces(progress)]
            made, stale = _settle(job, pieces, progress)
        before = sum(one.images for one in made.values())
        images = sum(piece.size for piece in pieces)
        with progress.stage("features", images, "images"):
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
    return _finish(job, made, before, stale, progress)


def _check_recipe(recipe: Recipe, dtype: str, progress: Progress) -> Recipe:
    """With every choice made that shapes the numbers."""
    if dtype not in DTYPES:
        raise RecipeError(f"expected a dtype of f32 or f16, found {dtype!r}. Type: --dtype f32")
    if recipe.precision == "int8":
        raise RecipeError(
            "expected a precision of auto, bf16 or f32 for features in files, found 'int8', which "
            "is made to the measure of a run's own images. Type: --precision auto"
        )
    if recipe.cut == (AUTO,):
        progress.say(
            "the features of the last layer. To measure which cut serves best, train on a sample "
            "and type: --recipe RUN/recipe.toml"
        )
    return recipe.changed(cut=[str(cut) for cut in recipe.cuts])


# --- what is there ------------------------------------------------------------------------
def _settle(job: Job, pieces: list[Piece], progress: Progress) -> tuple[dict[str, Made], int]:
    """The pieces that are done, by digest, and how many files hold none of these any more, which
    are set aside; damaged ones are removed.

    Raises DatasetError where the folder holds files of other shards or of other features.
    """
    names, wanted = job.folder.names(), {piece.digest: piece for piece in pieces}
    _check_shards(job, names)
    found, stale = [], 0
    for name in names:
        parts = NAME.fullmatch(name.removeprefix(STALE))
        if parts is None or (int(parts[1]), int(parts[2])) != (job.shard.number, job.shard.of):
            continue
        piece = wanted.get(parts[4])
        if piece is None:
            if not name.startswith(STALE):
                job.folder.move(name, STALE + name)
                stale += 1
            continue
        if name != (now := piece.name(job.shard)):  # it was set aside, or pieces before it changed
            job.folder.move(name, now)
            name = now
        found.append((File(job.folder, name), parts[4]))
    with ThreadPoolExecutor(READERS, "footers") as pool:
        checked = list(map_ahead(pool, lambda one: _check(job, *one, progress), found))
    return {one.digest: one for one in checked if one is not None}, stale


def _check_shards(job: Job, names: Iterable[str]) -> None:
    """Raises DatasetError for files of another division, and those of other features."""
    first = True
    for name in names:
        parts = NAME.fullmatch(name)
        if parts is None:
            continue
        if int(parts[2]) != job.shard.of:
            raise DatasetError(
                f"expected files of {job.shard.of} shards in {job.folder}, found {name}, one of "
                f"{parts[2]}. Type: --shard K/{parts[2]}, or give a new folder"
            )
        if first and int(parts[1]) != job.shard.number:  # one for all the others
            first = False
            try:
                header, _ = read_footer(File(job.folder, name))
            except Damaged:
                continue
            if header is not None:
                _check_same(name, header, job)


def _check(job: Job, file: File, digest: str, progress: Progress) -> Made | None:
    try:
        header, images = read_footer(file)
        if header is None:
            raise Damaged("no description of its features")
        if job.folder.is_here:  # a store keeps its own checksums
            check_whole(file)
    except Damaged as error:
        progress.warn(f"made again, for it was damaged: {file} ({error})")
        job.folder.remove(file.name)
        return None
    _check_same(file.name, header, job)
    return Made(digest, file.name, images, header.bad)


def _check_same(name: str, before: Header, job: Job) -> None:
    header, folder = job.header, job.folder
    if (before.extractor, before.dtype) != (header.extractor, header.dtype):
        raise DatasetError(
            f"expected features of {_describe(header)} in {folder}, found others in {name}: "
            f"{_describe(before)}. Give a new folder"
        )
    if before.distance(header.canary) > SAME:
        raise DatasetError(
            f"expected the numbers of {folder.show(name)}, found that this processor or library "
            f"gives others (apart by {before.distance(header.canary):.2%} of the largest). {OTHER}"
        )


def _describe(header: Header) -> str:
    about = header.description
    return (
        f"{about['backbone']} up to {' + '.join(about['cuts'])}, {about['precision']}, kept in "
        f"{header.dtype}, {header.extractor}"
    )


# --- what is made -------------------------------------------------------------------------
def make_here(
    job: Job, missing: set[str], extractor: Extractor, space: Space | None, progress: Progress
) -> Iterator[Made]:
    """Each missing piece, once its file is there."""
    pieces = (piece for piece in job.pieces() if piece.digest in missing)
    if space is not None:
        for piece in pieces:
            if any(isinstance(item, Remote) for item in piece.items):
                yield from make_pieces(job, [piece], extractor, progress)
                continue
            found = extract(piece.items, extractor, space, progress=progress)
            bad = [(item.name, reason) for item, reason in found.bad]
            progress.advance(len(bad))
            yield _keep(job, piece, found.items, list(found.values[:, 0]), bad)
        return
    yield from make_pieces(job, pieces, extractor, progress)


def make_pieces(
    job: Job, pieces: Iterable[Piece], extractor: Extractor, progress: Progress
) -> Iterator[Made]:
    """Each of the pieces, once its file is there; the network never waits for the next one."""
    with ThreadPoolExecutor(READERS, "bring") as pool:
        answers = _count(stream(_bring_ahead(pool, pieces), extractor), progress)
        for _, some in groupby(answers, key=lambda answer: answer[0].number):
            answered = list(some)
            items: list[Item] = []
            values: list[np.ndarray] = []
            bad: list[tuple[str, str]] = []
            for _, item, answer in answered:
                if isinstance(answer, str):
                    bad.append((item.name, answer))
                else:
                    items.append(item)
                    values.append(answer)
            yield _keep(job, answered[0][0], items, values, bad)


def _count(answers: Iterable[T], progress: Progress) -> Iterator[T]:
    for answer in answers:
        progress.advance()
        yield answer


def _bring_ahead(pool: ThreadPoolExecutor, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Item]]:
    """Each image behind its piece; what lies on a network is brought while others are looked at."""

    def remote(piece: Piece) -> Iterator[tuple[Piece, Item]]:
        for item in map_ahead(pool, lambda item: item.bring(), piece.items, 4 * READERS):
            yield piece, item

    for piece in pieces:
        if any(isinstance(item, Remote) for item in piece.items):
            yield from remote(piece)
        else:
            yield from ((piece, item) for item in piece.items)


def _keep(
    job: Job, piece: Piece, items: Sequence[Item], values: list[np.ndarray],
    bad: Sequence[tuple[str, str]],
) -> Made:  # fmt: skip
    rows = np.stack(values) if values else np.empty((0, job.header.dimensions), np.float32)
    header = replace(job.header, base=find_base(piece.items), bad=tuple(bad))
    file = job.file(piece)
    file.folder.write(file.name, encode(header, items, rows))
    return Made(piece.digest, file.name, len(items), tuple(bad))


def _finish(job: Job, made: dict[str, Made], before: int, stale: int, progress: Progress) -> Done:
    bad = tuple(one for file in made.values() for one in file.bad)
    name = f"_{job.shard}-unreadable.csv"  # which tools that read the folder pass over
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("image", "reason"), *bad])
    job.folder.write(name, text.getvalue().encode("utf-8", "replace"))
    if bad:
        first, reason = bad[0]
        more = f" and {len(bad) - 1:,} more, all in {job.folder.show(name)}" if bad[1:] else ""
        progress.warn(f"left out {first}: {reason}{more}")
    if stale:
        progress.warn(
            f"{stale:,} files of features in {job.folder}, whose images have changed or are gone, "
            f"are set aside under names that begin with {STALE} and count no more"
        )
    images = sum(one.images for one in made.values())
    table = job.folder.show(name)
    return Done(str(job.folder), images, images - before, len(made), bad, stale, table)
