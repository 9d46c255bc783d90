"""Images without end: what is to be predicted, listed as it is asked for and never all at once.

A source is an image, a folder, a pattern (`photos/**/*.jpg`), an archive, several tar archives
(`photos-{000..099}.tar`), a table with a column of paths, a text file with a path a line, "-" for
such lines on standard input, or the address of any of these.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from headstart.data.address import (
    check_address,
    expand_address,
    file_name,
    hide,
    is_web,
    join,
    parent,
    put_keys_away,
    read_address,
    to_place,
    with_keys,
)
from headstart.data.archive import is_archive, unpack
from headstart.data.bring import bring
from headstart.data.containers import read_parquet_images, read_tar
from headstart.data.elsewhere import open_file, open_stream, told, walk_address
from headstart.data.folder import PASSED_OVER, cannot_list, is_candidate
from headstart.data.item import Item, natural_key, to_printable
from headstart.data.parquet import SUFFIX, holds_images
from headstart.data.places import cell_items, images_in, resolve_source, unpack_cells
from headstart.data.remote import ELSEWHERE, Remote
from headstart.data.samples import find_tars, is_braced, is_tar
from headstart.data.table import TABLES, stream_paths
from headstart.system.files import BLOCK
from headstart.system.progress import Progress

LISTS = {".txt", ".list"}
STANDARD_INPUT = "-"
SORTED = 10_000  # entries of a folder up to which it is listed in natural order


def stream_items(sources: Iterable[str | Path], given: BinaryIO | None = None) -> Iterator[Item]:
    """An item for each image of the sources, unlabelled, in order; duplicates stay.

    Of a folder at most SORTED names are held: a larger one comes in the order of the file system.
    Paths in a table or list are relative to its folder, those on standard input to the current
    one; where no file is, there is an item all the same, which cannot be read.
    given: what stands for standard input.
    Raises DatasetError for a source that does not exist and for a table that cannot be read, where
    that is met.
    """
    for source in sources:
        if address := read_address(source):
            check_address(address)
            yield from stream_address(put_keys_away(address))
        elif str(source) == STANDARD_INPUT:
            yield from _listed(given or sys.stdin.buffer, Path())
        elif is_pattern(source):
            yield from match(Path(source))
        else:
            yield from _stream(resolve_source(source))


def _stream(path: Path) -> Iterator[Item]:
    suffix = path.suffix.lower()
    if is_archive(path):
        unpacked = unpack(path)
        for file in walk(unpacked.folder):
            name = f"{path}/{file.relative_to(unpacked.folder).as_posix()}"
            yield Item(file, to_printable(name), hold=unpacked.hold)
    elif path.is_dir():
        files = walk(path)
        first = next(files, None)
        if first is not None:
            yield from map(_item, chain([first], files))
        elif tars := find_tars(path):
            yield from _read_tars(tars)
        elif cells := unpack_cells(path):
            yield from cell_items(cells, path)
    elif is_braced(path):
        yield from _read_tars(find_tars(path))
    elif suffix == SUFFIX and (cells := unpack_cells(path)):
        yield from cell_items(cells, path)
    elif suffix in TABLES:
        for cell in stream_paths(path):
            yield _named(cell, path.parent)
    elif suffix in LISTS:
        with path.open("rb") as lines:
            yield from _listed(lines, path.parent)
    else:
        yield _item(path)


def _read_tars(tars: Iterable[Path]) -> Iterator[Item]:
    """The images in archives, one after the other; none is unpacked."""
    for tar in tars:
        with tar.open("rb") as file:
            yield from read_tar(file, str(tar))


def _item(path: Path) -> Item:
    return Item(path, to_printable(str(path)))


def walk(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Every candidate image below a folder; links are followed, loops are not.

    Raises DatasetError for a folder that may not be listed.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _scan(folder, _is_visible):
        path = folder / entry.name
        if _is_dir(entry):
            yield from walk(path, above | {real})
        elif is_candidate(path):
            yield path


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: no image can be read there, as its row will say
        return False


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in PASSED_OVER


def _scan(folder: Path, wanted: Callable[[str], bool]) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder whose names are wanted: in natural order if they are not too many."""
    try:
        with os.scandir(folder) as scanned:
            entries = (entry for entry in scanned if wanted(entry.name))
            first = list(islice(entries, SORTED))
            following = next(entries, None)
            if following is None:
                first.sort(key=lambda entry: natural_key(entry.name))
            yield from first
            if following is not None:
                yield following
                yield from entries
    except OSError as error:
        raise cannot_list(folder, error) from error


# --- addresses ----------------------------------------------------------------------------
def stream_address(address: str) -> Iterator[Item]:
    """The images at an address, of which no more is brought here than is asked for: one file, all
    below a folder, those in a tar archive, those in the cells of Parquet, those that a table or a
    list names. Braces stand for several archives.

    A zip is brought into the cache folder first, and a table. Raises DatasetError where there is
    nothing, StorageError where a store cannot be reached half-way.
    """
    if len(names := expand_address(address)) > 1:
        for one in names:
            yield from stream_address(one)
        return
    name = file_name(address).lower()
    suffix = PurePosixPath(name).suffix
    if is_tar(name):
        with told(address), open_stream(address) as file:
            yield from read_tar(file, hide(address))
    elif suffix in LISTS:
        with told(address), open_stream(address) as lines:
            yield from _listed(lines, Path(), parent(address))
    elif suffix == SUFFIX and not is_web(address) and _holds_images(address):
        with told(address), open_file(address) as file:
            yield from read_parquet_images(file, hide(address))
    elif suffix in TABLES:
        kept = bring(address, Progress())  # as long as it is held
        for cell in stream_paths(kept[1]):
            yield _named(cell, Path(), parent(address))
    elif name.endswith(".zip"):
        yield from images_in([to_place(address)])
    elif is_web(address):
        yield Remote(ELSEWHERE, to_printable(hide(address)), address=with_keys(address))
    else:
        yield from _stream_store(address)


def _holds_images(address: str) -> bool:
    with told(address), open_file(address) as file:
        return holds_images(file, hide(address))


def _stream_store(address: str) -> Iterator[Item]:
    """A file, or all below a folder: the images, or where there is none its archives."""
    shards, some = [], False
    for name, one in walk_address(address):
        if is_candidate(Path(name)):
            some = True
            yield Remote(ELSEWHERE, to_printable(hide(one)), address=with_keys(one))
        elif is_tar(name) or name.lower().endswith(SUFFIX):
            shards.append(one)
    for one in [] if some else shards:
        yield from stream_address(one)


# --- patterns -----------------------------------------------------------------------------
def is_pattern(source: str | Path) -> bool:
    """Whether a name has `*`, `?` or `[` in it and no file or folder is called so."""
    return any(letter in str(source) for letter in "*?[") and not os.path.lexists(source)


def match(pattern: Path) -> Iterator[Item]:
    """The images that a pattern names, `**` any folders between; folders stand for theirs.

    As a shell does it, hidden names are matched only by a pattern that begins with a dot.
    """
    pattern = Path(os.path.expanduser(pattern))
    start = Path(pattern.anchor)
    parts = pattern.parts[1:] if pattern.anchor else pattern.parts
    for path in _match(start, parts):
        if path.is_dir():
            yield from map(_item, walk(path))
        elif is_candidate(path):
            yield _item(path)


def holds(source: str, folder: Path) -> bool:
    """Whether images that are put into class folders of `folder` belong to the source as well."""
    place, rest = _places(source)
    inside = _parts_below(folder, place)
    if inside is None or not place.is_dir():
        return False
    for part, name in zip(rest, inside, strict=False):
        if part == "**":
            return True
        if not fnmatch(name, part):
            return False
    return True


def lies_in(source: str, folder: Path) -> bool:
    """Whether a folder that is a source is `folder`, or one in it, where images may be put."""
    place, _ = _places(source)
    return place.is_dir() and _parts_below(place, folder) is not None


def outside(source: str, name: str) -> Path:
    """A folder of that name beside the source."""
    place = Path(os.path.normpath(_places(source)[0] / ".."))
    return place / (name if holds(source, place / name) is False else "predicted")


def _places(source: str) -> tuple[Path, tuple[str, ...]]:
    """The folder where a source begins, and the rest of it if it is a pattern."""
    path = Path(os.path.expanduser(source))
    if not is_pattern(source):
        return path, ()
    parts = path.parts
    fixed = next(n for n, part in enumerate(parts) if any(letter in part for letter in "*?["))
    return Path(*parts[:fixed]), parts[fixed:]


def _parts_below(folder: Path, above: Path) -> tuple[str, ...] | None:
    real, top = Path(os.path.realpath(folder)), Path(os.path.realpath(above))
    return real.relative_to(top).parts if real.is_relative_to(top) else None


def _match(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    part, *others = parts
    rest = tuple(others)
    if part == "**":
        yield from _match(folder, rest) if rest else [folder]
        if rest:
            for entry in _scan(folder, _is_visible):
                if entry.is_dir(follow_symlinks=False):  # a loop has no end
                    yield from _match(folder / entry.name, parts)
        return
    if not any(letter in part for letter in "*?["):
        path = folder / part
        if path.is_dir() if rest else path.exists():
            yield from _match(path, rest) if rest else [path]
        return

    def wanted(name: str) -> bool:
        return fnmatch(name, part) and (part.startswith(".") or _is_visible(name))

    for entry in _scan(folder, wanted):
        path = folder / entry.name
        if not rest:
            yield path
        elif _is_dir(entry):
            yield from _match(path, rest)


# --- lists --------------------------------------------------------------------------------
def _named(name: str, base: Path, below: str | None = None) -> Item:
    """What a table or list names. base: the folder, below: the address that its paths begin at."""
    address = read_address(name)
    if address is None and below is not None:
        address = join(below, name)
    if address is not None:
        return Remote(ELSEWHERE, to_printable(hide(address)), address=with_keys(address))
    return Item(base / os.path.expanduser(name), to_printable(name))


def _listed(file: BinaryIO, base: Path, below: str | None = None) -> Iterator[Item]:
    """A path or address a line; lines end with a zero where the first block has one
    (`find -print0`).
    """
    for line in _split(file):
        name = os.fsdecode(line)
        if name.strip():
            yield _named(name, base, below)


def _split(file: BinaryIO) -> Iterator[bytes]:
    read = getattr(file, "read1", file.read)  # which gives what a pipe has by now
    rest, end = b"", None
    while block := read(BLOCK):
        end = end or (b"\0" if b"\0" in block else b"\n")
        *lines, rest = (rest + block).split(end)
        for line in lines:
            yield line.removesuffix(b"\r") if end == b"\n" else line
    yield rest
