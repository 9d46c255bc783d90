"""Labelled images without end: listed as they are asked for, few of them held at a time.

A folder of class folders and one at an address are walked, archives of samples and Parquet at an
address read as they come; a table, an archive and a folder with decisions are listed as `dataset`
does it, all at once.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from headstart.data.address import (
    check_address,
    expand_address,
    file_name,
    hide,
    is_web,
    parent,
    put_keys_away,
    read_address,
)
from headstart.data.archive import is_archive
from headstart.data.bring import bring, read_classes_at
from headstart.data.containers import read_parquet_images, read_tar
from headstart.data.dataset import gather, resolve_source
from headstart.data.decisions import decisions_file
from headstart.data.elsewhere import open_file, open_stream, told, walk_address
from headstart.data.folder import ARRANGE, stream_folder
from headstart.data.given import settle
from headstart.data.item import Item
from headstart.data.parquet import SUFFIX, find_split, holds_images
from headstart.data.remote import list_addresses, list_table, stream_store
from headstart.data.samples import Names, is_tar
from headstart.data.source import walk
from headstart.data.split import stream_groups
from headstart.data.table import TABLES
from headstart.errors import DatasetError
from headstart.system.progress import Progress


def stream_labelled(source: Any, groups: str | None, warn: Callable[[str], None]) -> Iterator[Item]:
    """The labelled images of a source, as `dataset.load` takes them, or of an address; none is
    read. The order is the same in every call while the source is.

    groups: as `load` takes it. Raises DatasetError as `load` does, where that is met.
    """
    items = _stream(source, groups, warn)
    return items if groups is None else stream_groups(items, groups, warn)


def _stream(source: Any, groups: str | None, warn: Callable[[str], None]) -> Iterator[Item]:
    address = read_address(source)
    if address is not None:
        yield from _stream_address(address, groups, warn)
        return
    if isinstance(source, str | Path) and (listed := list_addresses(Path(source), groups)):
        items, warnings = listed
    else:
        place = settle(source)
        if not place.sides and _is_plain(path := resolve_source(place.place)):
            found = None
            for found in stream_folder(path, warn, walk):
                yield found
            if found is not None:
                return
        items, _, warnings = gather(place, groups)
    for warning in warnings:
        warn(warning)
    yield from items


def _stream_address(
    address: str, groups: str | None, warn: Callable[[str], None]
) -> Iterator[Item]:
    check_address(address)
    address = put_keys_away(address)
    files = expand_address(address)
    if all(map(_is_container, files)):
        yield from _stream_containers({file_name(one): one for one in files}, groups, warn)
    elif PurePosixPath(file_name(address)).suffix.lower() in TABLES:
        kept = bring(address, Progress())  # as long as it is held
        items, warnings = list_table(kept[1], groups, parent(address))
        for warning in warnings:
            warn(warning)
        yield from items
    else:
        found = None
        for found in stream_store(address):
            yield found
        if found is None:
            below = {name: one for name, one in walk_address(address) if _is_container(one)}
            if not below:
                raise DatasetError(f"expected images below {hide(address)}, found none. {ARRANGE}")
            yield from _stream_containers(below, groups, warn)


def _is_container(address: str) -> bool:
    """Whether it is an archive, or Parquet with images in its cells."""
    if is_tar(file_name(address)):
        return True
    if is_web(address) or not file_name(address).lower().endswith(SUFFIX):
        return False
    with told(address), open_file(address) as file:
        return holds_images(file, hide(address))


def _stream_containers(
    containers: Mapping[str, str], groups: str | None, warn: Callable[[str], None]
) -> Iterator[Item]:
    """The images of archives and Parquet, address by name: named as `dataset.load` names them."""
    unlabelled = 0
    classes = read_classes_at(next(iter(containers.values())))
    for name, address in containers.items():
        split = find_split(name.split("/")) if len(containers) > 1 else None
        for item in _read_container(name, address, groups, split, classes, len(containers) == 1):
            if item.labels:
                yield item
            else:
                unlabelled += 1
    if unlabelled:
        warn(f"{unlabelled:,} images without a label are left out")


def _read_container(
    name: str, address: str, groups: str | None, split: str | None, classes: Names, alone: bool
) -> Iterator[Item]:
    if is_tar(name):
        with told(address), open_stream(address) as stream:
            origin = "" if alone else name
            yield from read_tar(stream, origin, groups=groups, split=split, classes=classes)
    else:
        with told(address), open_file(address) as file:
            yield from read_parquet_images(file, name, groups=groups, split=split)


def _is_plain(path: Path) -> bool:
    """Whether it is a folder about whose images nobody has decided anything."""
    return path.is_dir() and not is_archive(path) and not decisions_file(path).exists()
