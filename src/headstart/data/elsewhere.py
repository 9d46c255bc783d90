"""What lies at an address: listed, and opened for reading."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from headstart.data.address import (
    clean,
    expand_address,
    file_name,
    hide,
    is_web,
    join,
    parent,
)
from headstart.data.item import natural_key
from headstart.data.remote import is_hidden, open_address
from headstart.data.web import ask_web, check_whole, open_web
from headstart.errors import DatasetError, StorageError

T = TypeVar("T")
BLOCK = 2**20
AGAIN = "What is here is kept: type the same command again"
CHECK = "Check the address, and that its credentials are where the store's own program finds them"
NO_HEAD = (403, 405, 501)  # of servers that only send, and addresses signed for that


@dataclass(frozen=True)
class Entry:
    """A file at an address. name: below what was listed. size: bytes, None where that is not told.
    state: by what it is known that it has not changed.
    """

    name: str
    address: str
    size: int | None
    state: str


def list_files(address: str) -> tuple[list[Entry], bool]:
    """The files at an address and all below it, in the order of their names; and whether it is a
    folder. Braces stand for several files.

    Raises DatasetError where there is nothing, or nobody answers; MissingExtra.
    """
    if len(names := expand_address(address)) > 1:
        return [_only(*list_files(name)) for name in names], False
    if is_web(address):
        return [_ask_web(address)], False
    files, top = open_address(address)
    import pyarrow.fs as fs

    info = _ask(address, files, top)
    if info.is_file and not address.partition("?")[0].endswith("/"):
        return [_entry(file_name(address), address, info, files)], False
    if is_hub(address):
        entries = _list_hub(address, files, top)
    else:
        found = _ask(address, files, fs.FileSelector(top, recursive=True, allow_not_found=True))
        entries = [_entry(name, join(address, name), one, files) for one in found
               if one.is_file and (name := one.path[len(top) :].lstrip("/"))]  # fmt: skip
    if not entries:
        raise DatasetError(f"expected files at {hide(address)}, found none. {CHECK}")
    return sorted(entries, key=lambda entry: entry.name), True


def is_hub(address: str) -> bool:
    """Whether Hugging Face has it."""
    return address.startswith("hf:")


def _list_hub(address: str, files: Any, top: str) -> list[Entry]:
    """All files below an address there."""
    with _told_listing(address):
        found = files.handler.fs.find(top, detail=True)
    return [_hub_entry(name, join(address, name), info) for path, info in found.items()
            if (name := path[len(top) :].lstrip("/"))]  # fmt: skip


def _hub_entry(name: str, address: str, info: Any) -> Entry:
    """It tells contents in the place of times."""
    return Entry(name, address, info["size"], f"{info['size']} {info['blob_id']}")


def walk_address(address: str) -> Iterator[tuple[str, str]]:
    """Name and address of each file below an address, or of itself, in natural order; what is
    hidden is passed over. The names of one folder are held at a time.

    Raises DatasetError where there is nothing, or nobody answers.
    """
    files, top = open_address(address)
    import pyarrow.fs as fs

    def walk(folder: str) -> Iterator[tuple[str, str]]:
        found = _ask(address, files, fs.FileSelector(folder))
        for info in sorted(found, key=lambda info: natural_key(info.base_name)):
            if is_hidden(info.base_name):
                continue
            if info.is_file:
                name = info.path[len(top) :].lstrip("/")
                yield name, join(address, name)
            else:
                yield from walk(info.path)

    info = _ask(address, files, top)
    if info.is_file:
        yield file_name(address), address
    elif info.type == fs.FileType.NotFound:
        raise DatasetError(f"expected images at {hide(address)}, found nothing. {CHECK}")
    else:
        yield from walk(top)


def _ask(address: str, files: Any, what: Any) -> Any:
    with _told_listing(address):
        return files.get_file_info(what)


@contextmanager
def _told_listing(address: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise DatasetError(
            f"expected to list {hide(address)}, found: {clean(error)}. {CHECK}"
        ) from error


def _only(entries: list[Entry], is_folder: bool) -> Entry:
    if is_folder:
        raise DatasetError(
            f"expected files where braces stand for several, found the folder "
            f"{hide(parent(entries[0].address))}. Give the folder alone"
        )
    return entries[0]


def _entry(name: str, address: str, info: Any, files: Any) -> Entry:
    if is_hub(address):
        return _hub_entry(name, address, files.handler.fs.info(info.path))
    return Entry(name, address, info.size, f"{info.size} {info.mtime_ns}")


def _ask_web(address: str) -> Entry:
    """What a server says of a file without sending it."""

    try:
        told = ask_web(address)
    except urllib.error.HTTPError as error:
        if error.code not in NO_HEAD:
            raise DatasetError(_no_file(address, error)) from error
        told = {}
    except OSError as error:
        raise DatasetError(_no_file(address, error)) from error
    size = told.get("Content-Length")
    size = int(size) if size and size.isdigit() and not told.get("Content-Encoding") else None
    state = told.get("ETag") or told.get("Last-Modified") or ""
    return Entry(file_name(address), address, size, f"{size} {state}")


def _no_file(address: str, error: OSError) -> str:
    return f"expected a file at {hide(address)}, found: {clean(error)}. Check the address"


@contextmanager
def open_stream(address: str) -> Iterator[Any]:
    """The file at an address, to be read from its beginning to its end.

    Raises FileNotFoundError, and other OSErrors where it cannot be reached.
    """
    if is_web(address):
        with open_web(address) as source:
            yield source
        return
    files, path = open_address(address)
    with files.open_input_stream(path) as source:
        yield source


@contextmanager
def open_file(address: str) -> Iterator[Any]:
    """The same, to be read here and there, as Parquet is; of a store alone."""
    files, path = open_address(address)
    with files.open_input_file(path) as source:
        yield source


def read_blocks(address: str) -> Iterator[bytes]:
    """The bytes of the file at an address, some at a time.

    Raises StorageError; its cause is a FileNotFoundError where there is no such file.
    """
    with told(address), open_stream(address) as source:
        while block := source.read(BLOCK):
            yield block
        check_whole(source)


@contextmanager
def told(address: str, advice: str = AGAIN) -> Iterator[None]:
    """What cannot be reached while the block runs is told by its address, as a StorageError."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        failed = StorageError(f"expected to read {hide(address)}, found: {clean(error)}. {advice}")
        failed.errno = error.errno
        raise failed from error
