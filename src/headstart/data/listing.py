"""Labelled images without end: listed as they are asked for, few of them held at a time.

A folder of class folders and one at an address are walked, archives of samples and Parquet at an
address read as they come; a table, an archive and a folder with decisions are listed as `dataset`
does it, all at once.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from headstart.data.address import (
    check_address,
    file_name,
    hide,
    parent,
    put_keys_away,
    read_address,
)
from headstart.data.archive import is_archive
from headstart.data.bring import bring
from headstart.data.dataset import gather
from headstart.data.decisions import decisions_file
from headstart.data.folder import ARRANGE, files_in, stream_folder
from headstart.data.given import settle
from headstart.data.item import Item
from headstart.data.places import resolve_source
from headstart.data.remote import list_addresses, list_table, stream_store
from headstart.data.samples import is_braced
from headstart.data.shards import Container, find_containers, find_remote_containers
from headstart.data.source import walk
from headstart.data.split import stream_groups
from headstart.data.table import TABLES
from headstart.errors import DatasetError
from headstart.system.progress import Progress


def stream_labelled(
    source: Any, groups: str | None, warn: Callable[[str], None], *, in_order: bool = False
) -> Iterator[Item]:
    """The labelled images of a source, as `dataset.load` takes them, or of an address; none is
    read. The order is the same in every call while the source is.

    groups: as `load` takes it. in_order: in that of `load`, for which all names in a folder
    are held. Raises DatasetError as `load` does, where that is met.
    """
    items = _stream(source, groups, warn, files_in if in_order else walk)
    return items if groups is None else stream_groups(items, groups, warn)


def list_containers(source: Any) -> list[Container]:
    """The files of many images that a source is made of, in order; none where it is anything else,
    or where single images have been decided about.
    """
    address = read_address(source)
    if address is not None:
        check_address(address)
        return find_remote_containers(address)
    if not isinstance(source, str | os.PathLike):
        return []
    path = Path(os.path.expanduser(source))
    there = path.exists() or is_braced(path)
    return find_containers(path) if there and not decisions_file(path).exists() else []


def _stream(
    source: Any, groups: str | None, warn: Callable[[str], None],
    list_files: Callable[[Path], Iterable[Path]],
) -> Iterator[Item]:  # fmt: skip
    if containers := list_containers(source):
        yield from _stream_containers(containers, groups, warn)
        return
    if (address := read_address(source)) is not None:
        yield from _stream_address(put_keys_away(address), groups, warn)
        return
    if isinstance(source, str | Path) and (listed := list_addresses(Path(source), groups)):
        items, warnings = listed
    else:
        place = settle(source)
        if not place.sides and _is_plain(path := resolve_source(place.place)):
            found = None
            for found in stream_folder(path, warn, list_files):
                yield found
            if found is not None:
                return
        items, _, warnings = gather(place, groups)
    for warning in warnings:
        warn(warning)
    yield from items


def _stream_containers(
    containers: list[Container], groups: str | None, warn: Callable[[str], None]
) -> Iterator[Item]:
    unlabelled = 0
    for container in containers:
        for item in container.stream(groups):
            if item.labels:
                yield item
            else:
                unlabelled += 1
    if unlabelled:
        warn(f"{unlabelled:,} images without a label are left out")


def _stream_address(
    address: str, groups: str | None, warn: Callable[[str], None]
) -> Iterator[Item]:
    if PurePosixPath(file_name(address)).suffix.lower() in TABLES:
        kept = bring(address, Progress())  # as long as it is held
        items, warnings = list_table(kept[1], groups, parent(address))
        for warning in warnings:
            warn(warning)
        yield from items
        return
    found = None
    for found in stream_store(address):
        yield found
    if found is None:
        raise DatasetError(f"expected images below {hide(address)}, found none. {ARRANGE}")


def _is_plain(path: Path) -> bool:
    """Whether it is a folder about whose images nobody has decided anything."""
    return path.is_dir() and not is_archive(path) and not decisions_file(path).exists()
