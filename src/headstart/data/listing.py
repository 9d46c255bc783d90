"""Labelled images without end: listed as they are asked for, few of them held at a time.

A folder of class folders and one at an address are walked; a table, an archive and a folder with
decisions are listed as `dataset` does it, all at once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headstart.data.address import read_address
from headstart.data.archive import is_archive
from headstart.data.dataset import gather, resolve_source
from headstart.data.decisions import decisions_file
from headstart.data.folder import stream_folder
from headstart.data.given import settle
from headstart.data.item import Item
from headstart.data.remote import list_addresses, stream_store
from headstart.data.source import walk
from headstart.data.split import stream_groups


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
        yield from stream_store(address)
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


def _is_plain(path: Path) -> bool:
    """Whether it is a folder about whose images nobody has decided anything."""
    return path.is_dir() and not is_archive(path) and not decisions_file(path).exists()
