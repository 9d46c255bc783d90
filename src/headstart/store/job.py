"""Images -> files of their features, by one process or by many that know nothing of each other.

The files that are there are all the state: a job that was killed, or is given again, makes what is
missing. A shard is the images whose names have the same remainder under a hash, so no process reads
what another one does.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headstart.backbones.cut import AUTO
from headstart.data.dataset import gather
from headstart.data.given import settle
from headstart.data.item import Item, list_first
from headstart.data.remote import Remote, list_addresses, list_store, read_address
from headstart.data.split import assign_groups
from headstart.errors import DatasetError, RecipeError
from headstart.features.extract import extract, open_cache
from headstart.features.extractor import open_extractor
from headstart.recipe import Recipe, load_recipe
from headstart.store.file import (
    DTYPES,
    SAME,
    Damaged,
    Header,
    check_whole,
    find_base,
    identify,
    import_parquet,
    read_header,
    read_items,
    write,
)
from headstart.system.atomic import cannot_write, write_atomically
from headstart.system.lock import held_alone
from headstart.system.places import cache_folder
from headstart.system.progress import Progress, choose_progress
from headstart.system.threads import map_ahead

ROWS = 2000  # of a file: what a killed job can lose
BROUGHT = 2**29  # bytes of images from a network that end a file before
CACHED = 20_000  # images of a job up to which the cache is asked and filled: more would lie twice
NAME = re.compile(r"(\d+)-of-(\d+)-(\d+)\.parquet")
READERS = 16  # threads that read images ahead, or bring them here, to know their contents
OTHER = "Pin what all processors compute alike with --precision f32, in a new folder"


@dataclass(frozen=True)
class Shard:
    """The images number K of N; 1 of 1 are all."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Of "3/64". Raises RecipeError for anything else."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise RecipeError(
                f"expected --shard as 3/64, the third of 64, found {text!r}. Type: --shard 1/64"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"

    def holds(self, name: str) -> bool:
        """Whether an image of that name is one of its own."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little") % self.of == self.number - 1


@dataclass(frozen=True)
class Done:
    """What a job has left. images: with features in `folder`; computed: of these by this call.
    bad: images left out, each with its reason; table: where these are listed. gone: images whose
    features are there though the source has them no more.
    """

    folder: Path
    images: int
    computed: int
    files: int
    bad: tuple[tuple[str, str], ...]
    gone: int
    table: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        bad = [{"image": name, "reason": reason} for name, reason in self.bad]
        return {"folder": str(self.folder), "images": self.images, "computed": self.computed,
                "files": self.files, "unreadable": bad, "gone": self.gone}  # fmt: skip


def write_features(
    source: Any,
    to: str | Path,
    recipe: str | Path | Recipe = "quick",
    *,
    shard: str | Shard = "1/1",
    dtype: str = "f32",
    cache: bool = True,
    progress: Progress | bool | None = None,
    **choices: Any,
) -> Done:
    """The features of labelled images as Parquet files in the folder `to`, some 2,000 in each.

    source, recipe, choices: as `train` takes them; a cut that is left open is the last layer.
    shard: "K/N" for the K-th of N parts, made by as many calls on any machines. dtype: "f32" or
    "f16". cache: whether features that are in the cache folder are taken from there and new ones
    kept there too, which is done for up to 20,000 images.
    Raises DatasetError where other features are in the folder, RecipeError, MissingExtra.
    """
    import_parquet()
    progress = choose_progress(progress)
    shard = shard if isinstance(shard, Shard) else Shard.parse(shard)
    recipe = _check_recipe(load_recipe(recipe, **choices), dtype, progress)
    folder = _make(Path(to))
    items = _list(source, recipe, shard, progress)
    with progress.stage("extractor"):
        extractor = open_extractor(recipe)
    header = replace(
        Header.of(extractor, recipe, dtype),
        base="" if any(isinstance(item, Remote) for item in items) else find_base(items),
    )
    with _alone(folder, shard), _spool() as spool:
        files = _check_files(folder, shard, header, progress)
        known = _read_known(files)
        number = max(files, default=0)
        bad: list[tuple[str, str]] = []
        computed, there = 0, len(known)
        with progress.stage("features", len(items), "images"):
            small = cache and len(items) <= CACHED
            space = open_cache(extractor, progress) if small else None
            for chunk in _ahead(_batch(_list_missing(items, known, spool, progress), spool)):
                found = extract(chunk, extractor, space, progress=progress)
                bad += [(item.name, reason) for item, reason in found.bad]
                if found.items:
                    number += 1
                    files[number] = folder / f"{shard}-{number:05}.parquet"
                    write(files[number], header, found.items, found.values[:, 0])
                    computed += len(found.items)
                _let_go(chunk, spool)
    table = folder / f"_{shard}-unreadable.csv"  # which tools that read the folder pass over
    _write_bad(table, bad, progress)
    gone = _list_gone(known, items)
    if gone:
        progress.warn(
            f"{len(gone):,} images have features in {folder} and are no more in the source: "
            f"{list_first(gone)}. To be rid of these, type the command with a new folder"
        )
    images = there - len(known) + computed
    return Done(folder, images, computed, len(files), tuple(bad), len(gone), table)


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


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, 0, error) from error
    return folder


def _list(source: Any, recipe: Recipe, shard: Shard, progress: Progress) -> list[Item]:
    """The images of the shard, none of them read."""
    with progress.stage("dataset"):
        items, warnings = _find(source, recipe.groups)
        if recipe.groups is not None:
            items, more = assign_groups(items, recipe.groups)
            warnings += more
        items = [item for item in items if shard.holds(item.name)]
    for warning in warnings:
        progress.warn(warning)
    return items


def _find(source: Any, groups: str | None) -> tuple[list[Item], list[str]]:
    address = read_address(source)
    if address is not None:
        return list_store(address)
    if isinstance(source, str | Path) and (listed := list_addresses(Path(source), groups)):
        return listed
    items, _, warnings = gather(settle(source), groups)
    return items, warnings


@contextmanager
def _alone(folder: Path, shard: Shard) -> Iterator[None]:
    """While no other process makes the same shard. Raises DatasetError if one does."""
    lock = folder / f".{shard}.lock"
    lock.touch()
    with held_alone(lock) as alone:
        if not alone:
            raise DatasetError(
                f"expected to make shard {shard} in {folder} alone, found another process at it. "
                "Wait until it has ended, or give each process its own --shard K/N"
            )
        yield


def _check_files(folder: Path, shard: Shard, header: Header, progress: Progress) -> dict[int, Path]:
    """The files of the shard by number, once damaged ones are removed.

    Raises DatasetError where the folder holds files of other shards or of other features.
    """
    files, first = {}, True
    for path in sorted(folder.glob("*.parquet")):
        name = NAME.fullmatch(path.name)
        if not name:
            continue
        if int(name[2]) != shard.of:
            raise DatasetError(
                f"expected files of {shard.of} shards in {folder}, found {path.name}, one of "
                f"{name[2]}. Type: --shard K/{name[2]}, or give a new folder"
            )
        own = int(name[1]) == shard.number
        if not own and not first:
            continue
        try:
            if own:
                check_whole(path)
            before = read_header(path)
        except Damaged as error:
            if own:
                progress.warn(f"made again, for it was damaged: {path} ({error})")
                path.unlink()
            continue
        first = False
        if before is not None:
            _check_same(path, before, header)
        if own:
            files[int(name[3])] = path
    return files


def _check_same(path: Path, before: Header, header: Header) -> None:
    if (before.extractor, before.dtype) != (header.extractor, header.dtype):
        raise DatasetError(
            f"expected features of {_describe(header)} in {path.parent}, found others in "
            f"{path.name}: {_describe(before)}. Give a new folder"
        )
    if before.distance(header.canary) > SAME:
        raise DatasetError(
            f"expected the numbers of {path}, found that this processor or library gives others "
            f"(apart by {before.distance(header.canary):.2%} of the largest). {OTHER}"
        )


def _describe(header: Header) -> str:
    about = header.description
    return (
        f"{about['backbone']} up to {' + '.join(about['cuts'])}, {about['precision']}, kept in "
        f"{header.dtype}, {header.extractor}"
    )


def _read_known(files: dict[int, Path]) -> dict[tuple[object, ...], int]:
    """Whose features are there, with the number of the file."""
    return {identify(item): number for number in sorted(files)
            for item in read_items(files[number])}  # fmt: skip


def _list_missing(
    items: Sequence[Item], known: dict[tuple[object, ...], int], spool: Path, progress: Progress
) -> Iterator[Item]:
    """The images without features; what is there is taken out of `known`. Each is read once ahead,
    which tells its content; what lies on a network is brought into the folder `spool`.
    """

    def read(numbered: tuple[int, Item]) -> Item:
        number, item = numbered
        if isinstance(item, Remote):
            item = item.bring(spool, number)
        _ = item.content_hash
        return item

    there = 0
    with ThreadPoolExecutor(READERS, "read") as pool:
        for item in map_ahead(pool, read, enumerate(items)):
            if known.pop(identify(item), None) is not None:
                _let_go([item], spool)
                there += 1
                continue
            progress.advance(there)
            there = 0
            yield item
    progress.advance(there)


def _list_gone(known: dict[tuple[object, ...], int], items: Sequence[Item]) -> list[str]:
    """Names of images that were there before; one that has changed is there, and its later row
    counts.
    """
    now = {item.name for item in items}
    return [str(name) for name, *_ in known if name not in now]


def _batch(items: Iterable[Item], spool: Path) -> Iterator[list[Item]]:
    """Items for a file each."""
    chunk: list[Item] = []
    brought = 0
    for item in items:
        chunk.append(item)
        if item.path.parent == spool:
            brought += item.path.stat().st_size if item.path.is_file() else 0
        if len(chunk) == ROWS or brought > BROUGHT:
            yield chunk
            chunk, brought = [], 0
    if chunk:
        yield chunk


def _ahead(chunks: Iterator[list[Item]]) -> Iterator[list[Item]]:
    """The chunks, the next one always made while one is worked on."""
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk


@contextmanager
def _spool() -> Iterator[Path]:
    """A folder for images that are brought here, gone with the block."""
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".brought.", suffix=".tmp", dir=root) as folder:
        yield Path(folder)


def _let_go(items: Iterable[Item], spool: Path) -> None:
    for item in items:
        if item.path.parent == spool:
            item.path.unlink(missing_ok=True)


def _write_bad(table: Path, bad: Sequence[tuple[str, str]], progress: Progress) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("image", "reason"), *bad])
    write_atomically(table, text.getvalue().encode("utf-8", "replace"))
    if bad:
        name, reason = bad[0]
        more = f" and {len(bad) - 1:,} more, all in {table}" if len(bad) > 1 else ""
        progress.warn(f"left out {name}: {reason}{more}")
