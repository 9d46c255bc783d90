"""What lies at a place: in a folder, a table, an archive, Parquet, at an address; with the labels
that the place tells, or as single images.
"""

import difflib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from headstart.data.address import (
    check_address,
    file_name,
    hide,
    is_web,
    parent,
    read_address,
    to_place,
)
from headstart.data.archive import CONTENT, Unpacked, is_archive, is_kept, reopen, unpack
from headstart.data.bring import bring, bring_listed, find_brought
from headstart.data.cells import TABLE
from headstart.data.decisions import NAME as DECISIONS
from headstart.data.folder import (
    ARRANGE,
    entries_in,
    files_in,
    folder_items,
    is_candidate,
    refuse_run,
)
from headstart.data.given import check_named
from headstart.data.item import Item, change_item, list_first, to_printable
from headstart.data.parquet import find_shards, holds_images, is_parquet, unpack_shards
from headstart.data.remote import ELSEWHERE, Remote, list_table
from headstart.data.samples import find_tars, is_braced, unpack_samples
from headstart.data.table import TABLES, stream_paths, table_items
from headstart.errors import DatasetError
from headstart.system.progress import Progress

IN_MEMORY = Path("the images given in memory")  # what messages call their table


def resolve_source(source: str | Path) -> Path:
    """The place of a source; an address as it is. Raises DatasetError if nothing is there, naming
    what is near, and for an address of no store.
    """
    check_named(source)
    if address := read_address(source):
        check_address(address)
        return to_place(source)
    path = Path(os.path.expanduser(source))  # which leaves an unknown "~name" as it is
    if path.exists() or is_braced(path):
        return path
    if path.name == TABLE and CONTENT in path.parts:
        raise DatasetError(
            f"expected images that had been given in memory, found none in the cache folder ({path}"
            ") any more. Give them again: headstart.train(IMAGES, labels=LABELS)"
        )
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=3)
    hint = f". Near: {', '.join(str(path.parent / name) for name in near)}" if near else ""
    raise DatasetError(
        f"expected a folder, table or archive, found nothing at {path}{hint}. "
        "Give the place where the images are now"
    )


def images_in(sources: Iterable[str | Path]) -> list[Item]:
    """Every image file named or contained in folders and archives, unlabelled, in natural order.

    Raises DatasetError for a path that does not exist.
    """
    items: list[Item] = []
    for source in sources:
        path = resolve_source(source)
        if address := read_address(path):
            items += _images_at(address)
            continue
        refuse_run(path)
        if is_archive(path):
            unpacked = unpack(path)
            for file in files_in(unpacked.folder):
                name = f"{path}/{file.relative_to(unpacked.folder).as_posix()}"
                items.append(Item(file, to_printable(name), hold=unpacked.hold))
        elif path.is_dir() and (files := files_in(path)):
            items += [Item(file, to_printable(str(file))) for file in files]
        elif cells := unpack_cells(path):
            items += cell_items(cells, path)
        elif not path.is_dir():
            items.append(Item(path, to_printable(str(path))))
    return items


def _images_at(address: str) -> list[Item]:
    """The images at an address, brought here and named by it."""
    if is_web(address) and is_candidate(Path(file_name(address))):
        return [Remote(ELSEWHERE, hide(address), address=address).bring()]
    brought, path = bring(address, Progress())
    items = images_in([path])
    return [change_item(item, name=item.name.replace(str(path), hide(address), 1),
                        hold=item.hold or brought.hold) for item in items]  # fmt: skip


def list_here(place: Path, groups: str | None) -> tuple[list[Item], list[str]]:
    address = read_address(place)
    if address is None:
        return list_place(resolve_source(place), groups)
    return list_brought(address, *find_brought(address), groups)


def list_brought(
    address: str,
    brought: Unpacked,
    path: Path,
    groups: str | None,
    progress: Progress | None = None,
) -> tuple[list[Item], list[str]]:
    """The same of what was brought from an address and lies in `path` now."""
    try:
        items, warnings = list_place(path, groups, progress, below=parent(address))
    except DatasetError as error:
        raise DatasetError(str(error).replace(str(path), hide(address))) from error
    warnings = [warning.replace(str(path), hide(address)) for warning in warnings]
    if brought.left_out:
        warnings.append(
            f"{len(brought.left_out):,} files at {hide(address)} are gone, or have names that no "
            f"file here can have, and are left out: {list_first(brought.left_out)}"
        )
    held = [replace(item, hold=brought.hold) if item.hold is None else item for item in items]
    return held, warnings


def list_place(
    path: Path, groups: str | None, progress: Progress | None = None, below: str | None = None
) -> tuple[list[Item], list[str]]:
    """The images as they lie in a folder, table or archive, and warnings; those that a table names
    by their addresses once they are brought. below: the address that its other paths begin at.
    """
    sampled = not path.is_dir() and find_tars(path)
    unpacked = unpack(path) if is_archive(path) and not sampled else Unpacked(path, None)
    table = None if sampled else _table(unpacked.folder, path)
    items, warnings = ([], []) if table or sampled else folder_items(unpacked.folder)
    if not items and (cells := unpack_cells(table or unpacked.folder)):
        unpacked = cells
        told = IN_MEMORY if path.name == TABLE else path
        items, warnings = table_items(cells.folder / TABLE, groups, told=told)
    elif table:
        items, warnings = list_table(table, groups, below if table == path else None)
        if any(isinstance(item, Remote) for item in items):
            items, more = bring_listed(table, items, progress or Progress())
            warnings += more
    if unpacked.again:
        warnings.append(f"unpacked again, for files of it were gone or changed: {path}")
    if unpacked.left_out:
        names = list_first(unpacked.left_out)
        warnings.append(
            f"{len(unpacked.left_out)} members of the archive are neither files nor links to its "
            f"files, and are left out: {names}"
        )
    if unpacked.hold is not None:
        items = [replace(item, hold=unpacked.hold) for item in items]
    return items, warnings


def _table(path: Path, source: Path) -> Path | None:
    """`path` if it is a table; the one at the top of what an archive held; None for a folder."""
    if path.is_file():
        if path.suffix.lower() in TABLES:
            return path
        raise DatasetError(
            f"expected a folder, a table ({', '.join(sorted(TABLES))}) or an archive, "
            f"found the file {path}. {ARRANGE}"
        )
    return _table_in(path) if path != source else None


def _table_in(folder: Path) -> Path | None:
    """The one table at the top of an unpacked archive, or in its one folder."""
    entries = entries_in(folder)
    if len(entries) == 1 and entries[0].is_dir():
        return _table_in(entries[0])
    tables = [
        entry
        for entry in entries
        if entry.is_file() and entry.suffix.lower() in TABLES and entry.name != DECISIONS
    ]
    return tables[0] if len(tables) == 1 else None


def unpack_cells(path: Path) -> Unpacked | None:
    """The images in the cells of a Parquet file, or of those in a folder; those in archives of
    samples; what had been given in memory; None if it is none of these.

    Raises DatasetError for a cell that is no image and for a damaged file, CacheError.
    """
    if path.name == TABLE and is_kept(path.parent):
        return reopen(path.parent)
    if path.is_dir():
        shards = find_shards(path)
    else:
        shards = [path] if is_parquet(path) and holds_images(path) else []
    if shards:
        return unpack_shards(shards, path)
    tars = find_tars(path)
    return unpack_samples(tars, path) if tars else None


def cell_items(cells: Unpacked, source: Path) -> Iterator[Item]:
    """The images that `unpack_cells` found in `source`, unlabelled, named by the file they are in;
    one that could not be there is an item that cannot be read.
    """
    base = source if source.is_dir() else source.parent
    for cell in stream_paths(cells.folder / TABLE):
        yield Item(cells.folder / cell, to_printable(str(base / cell)), hold=cells.hold)
