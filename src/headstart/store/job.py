"""Images -> files of their features, by one process or by many that know nothing of each other."""

import csv
import io
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from headstart.backbones.cut import AUTO
from headstart.data.item import Item
from headstart.data.listing import list_containers, stream_labelled
from headstart.data.remote import Remote
from headstart.errors import DatasetError, RecipeError
from headstart.features.cache import Space
from headstart.features.extract import extract, open_cache, stream
from headstart.features.extractor import Extractor, open_extractor
from headstart.recipe import Choices, Recipe, load_recipe, show_choices
from headstart.store.file import (
    DTYPES,
    SAME,
    Damaged,
    File,
    Header,
    encode,
    find_base,
    import_parquet,
    read_footer,
)
from headstart.store.folder import READERS, Folder, open_folder
from headstart.store.pieces import ROWS, Piece, Shard, cut, cut_containers
from headstart.store.work import Files, Made, Ran, count, run
from headstart.system.progress import Progress, Silent, choose_progress
from headstart.system.threads import map_ahead

CACHED = 20_000  # images of a job up to which the cache is asked and filled: more would lie twice
OTHER = "Pin what all processors compute alike with --precision f32, in a new folder"


@dataclass(frozen=True)
class Job(Files):
    """Features as files. rows: of a file, about."""

    kind, stage = "features", "features"
    source: Any
    recipe: Recipe
    shard: Shard
    folder: Folder
    header: Header
    rows: int

    def pieces(self, progress: Progress | None = None) -> Iterator[Piece]:
        """See `Files`."""
        warn = (progress or Silent()).warn
        if containers := list_containers(self.source):
            return cut_containers(containers, self.shard)
        items = stream_labelled(self.source, self.recipe.groups, warn)
        return cut(items, self.shard, self.rows)

    def open(self) -> Callable[[Iterable[Piece]], Iterator[Made]]:
        """See `Files`."""
        extractor = open_extractor(self.recipe)
        self.check_computes(extractor.canary(), socket.gethostname())
        return lambda pieces: make_pieces(self, pieces, extractor, Silent())

    def read(self, file: File, digest: str) -> tuple[Header, Made]:
        """See `Files`."""
        header, images = read_footer(file)
        if header is None:
            raise Damaged("no description of its features")
        return header, Made(digest, file.name, images, header.bad)

    def check_same(self, name: str, about: Header) -> None:
        """See `Files`."""
        header, folder = self.header, self.folder
        if (about.extractor, about.dtype) != (header.extractor, header.dtype):
            raise DatasetError(
                f"expected features of {_describe(header)} in {folder}, found others in {name}: "
                f"{_describe(about)}. Give a new folder"
            )
        if (apart := about.distance(header.canary)) > SAME:
            raise DatasetError(
                f"expected the numbers of {folder.show(name)}, found that this processor or "
                f"library gives others (apart by {apart:.2%} of the largest). {OTHER}"
            )


def _describe(header: Header) -> str:
    about = header.description
    return (
        f"{about['backbone']} up to {' + '.join(about['cuts'])}, {about['precision']}, kept in "
        f"{header.dtype}, {header.extractor}"
    )


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


@show_choices
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
    **choices: Unpack[Choices],
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

    >>> headstart.write_features("photos/", "features").images
    48
    >>> run = headstart.train("features/")
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

    return finish(job, run(job, make, progress), progress)


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
            "the features of the last layer. To measure on a sample which cut serves best, type: "
            "--sample 2000"
        )
    return recipe.changed(cut=[str(cut) for cut in recipe.cuts])


# --- what is made -------------------------------------------------------------------------
def make_here(
    job: Job, missing: set[str], extractor: Extractor, space: Space | None, progress: Progress
) -> Iterator[Made]:
    """Each missing piece, once its file is there."""
    pieces = (piece for piece in job.pieces() if piece.digest in missing)
    if space is not None:
        for piece in pieces:
            if piece.container or any(isinstance(item, Remote) for item in piece.items):
                yield from make_pieces(job, [piece], extractor, progress)
                continue
            found = extract(piece.items, extractor, space, progress=progress)
            progress.advance(len(found.bad))
            rows = zip(found.items, found.values[:, 0], strict=True)
            yield _keep(job, [(piece, item, row) for item, row in [*rows, *found.bad]])
        return
    yield from make_pieces(job, pieces, extractor, progress)


def make_pieces(
    job: Job, pieces: Iterable[Piece], extractor: Extractor, progress: Progress
) -> Iterator[Made]:
    """Each of the pieces, once its file is there; the network never waits for the next one, nor
    for the disk.
    """
    pieces = iter(pieces)
    first = list(islice(pieces, 1))
    afar = any(isinstance(item, Remote) for piece in first for item in piece.items)
    pairs = ((piece, item) for piece in chain(first, pieces)
             for item in piece.stream(job.recipe.groups))  # fmt: skip
    with ThreadPoolExecutor(1, "write") as writer:
        answers = count(stream(pairs, extractor, readers=READERS if afar else 1), progress)
        whole = (list(some) for _, some in groupby(answers, key=lambda answer: answer[0].number))
        yield from map_ahead(writer, lambda answered: _keep(job, answered), whole, depth=1)


def _keep(job: Job, answered: list[tuple[Piece, Item, np.ndarray | str]]) -> Made:
    """The file of a piece, written."""
    piece = answered[0][0]
    bad = [(item.name, why) for _, item, why in answered if isinstance(why, str)]
    there = [(item, row) for _, item, row in answered if not isinstance(row, str)]
    if piece.container is not None:  # of a table it is known before which have no label
        bad += [(item.name, "no label") for item, _ in there if not item.labels]
        there = [(item, row) for item, row in there if item.labels]
    rows = np.empty((len(there), job.header.dimensions), np.float32)
    for number, (_, row) in enumerate(there):
        rows[number] = row
    header = replace(job.header, base=find_base(piece.items), bad=tuple(bad))
    file = job.file(piece)
    file.folder.write(file.name, encode(header, [item for item, _ in there], rows))
    return Made(piece.digest, file.name, len(there), tuple(bad))


def finish(job: Job, ran: Ran, progress: Progress) -> Done:
    """What the job has left, once the images left out are listed beside its files."""
    bad = tuple(one for file in ran.made for one in file.bad)
    name = f"_{job.shard}-unreadable.csv"  # which tools that read the folder pass over
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("image", "reason"), *bad])
    job.folder.write(name, text.getvalue().encode("utf-8", "replace"))
    if bad:
        first, reason = bad[0]
        more = f" and {len(bad) - 1:,} more, all in {job.folder.show(name)}" if bad[1:] else ""
        progress.warn(f"left out {first}: {reason}{more}")
    computed, table = ran.images - ran.before, job.folder.show(name)
    return Done(str(job.folder), ran.images, computed, len(ran.made), bad, ran.stale, table)
