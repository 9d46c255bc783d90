"""Images in stores on a network: listed with their labels, and brought here as they are needed.

pyarrow speaks with the stores (s3://, gs://, abfs://) and finds the credentials where their own
programs do; https:// is Python's own. Nothing of an address but the name of an image is kept.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from headstart.data.address import (
    AZURE,
    STORES,
    clean,
    hide,
    is_web,
    join,
    read_address,
    unescape,
    with_keys,
)
from headstart.data.folder import PASSED_OVER, is_candidate
from headstart.data.item import (
    Held,
    Item,
    content_hash,
    natural_key,
    to_class_name,
    to_printable,
)
from headstart.data.split import SPLIT_NAMES
from headstart.data.table import TABLES, is_file, stream_paths, table_items
from headstart.data.web import fetch_web
from headstart.errors import DatasetError, MissingExtra, StorageError
from headstart.images.size import MOST_FILE
from headstart.system.files import Unreadable, too_large

ELSEWHERE = Path("elsewhere")  # the path of what is at no place here


@dataclass(frozen=True)
class Remote(Item):
    """An image that is not here yet: `path` is no place. address: where it is. state: what its
    store says of it, its size and time, as far as it does so; another state is another content.
    """

    address: str = field(default="", kw_only=True, repr=False)
    state: str = field(default="", kw_only=True)

    def read(self) -> bytes:
        """The bytes, brought here. Raises FileNotFoundError where there is no such image,
        Unreadable where it is too large for one, StorageError where its store cannot be reached.
        """
        try:
            return _fetch(self.address)
        except FileNotFoundError as error:
            raise FileNotFoundError(error.errno, "no such image") from error
        except Unreadable:
            raise
        except OSError as error:
            told = StorageError(
                f"expected to read {hide(self.address)}, found: {clean(error)}. What is done is "
                "kept: type the same command again"
            )
            told.errno = error.errno
            raise told from error

    @cached_property
    def content_hash(self) -> bytes:
        """16 bytes of the content; of the address where there is no such image."""
        try:
            return content_hash(self.read())
        except (FileNotFoundError, Unreadable):
            return content_hash(b"unreadable " + self.address.encode("utf-8", "replace"))

    def bring(self) -> Item:
        """The image with its bytes, or with the reason why there are none."""
        data, missing = None, ""
        try:
            data = self.read()
        except (FileNotFoundError, Unreadable) as error:
            missing = error.strerror or str(error)
        return Held(self.path, self.name, self.labels, self.split, self.group, data=data,
                    missing=missing)  # fmt: skip


def stream_store(address: str) -> Iterator[Item]:
    """The images below an address, by class folders as in a folder here; the names of one folder
    are held at a time. None where there are no class folders with images.

    Raises DatasetError where the store cannot be asked; MissingExtra.
    """
    address = with_keys(address)
    if address.partition(":")[0] not in STORES:
        raise DatasetError(
            f"expected an address that begins with {', '.join(STORES[:-1])}, found "
            f"{hide(address)}. For single files, give a table with their addresses as paths"
        )
    for names, split in _class_folders(address):
        for name, label, state in names:
            yield Remote(
                ELSEWHERE, to_printable(name), (label,), split, state=state,
                address=join(address, name),
            )  # fmt: skip


def _class_folders(
    address: str,
) -> Iterator[tuple[Iterator[tuple[str, str, str]], str | None]]:
    """Of each class's folder the names, with label and state of each, and the split."""
    files, top = open_address(address)
    folders = _list_folders(files, top, address)
    sides = {folder: SPLIT_NAMES.get(_base(folder).lower()) for folder in folders}
    pairs: list[tuple[str, str | None]]
    if "train" in sides.values():
        pairs = [(inner, split) for folder, split in sides.items() if split
                 for inner in _list_folders(files, folder, address)]  # fmt: skip
    else:
        pairs = [(folder, None) for folder in folders]
    for folder, split in pairs:
        yield _list_images(files, folder, top, address), split


def _list_folders(files: Any, folder: str, address: str) -> list[str]:
    """The folders in a folder, in natural order."""
    found = [info.path for info in _ask(files, folder, address) if not info.is_file]
    return sorted((path for path in found if not is_hidden(_base(path))),
                  key=lambda path: natural_key(_base(path)))  # fmt: skip


def _list_images(files: Any, folder: str, top: str, address: str) -> Iterator[tuple[str, str, str]]:
    """Name, label and state of each image anywhere in a class's folder."""
    label = to_class_name(_base(folder))
    infos = [info for info in _ask(files, folder, address, recursive=True) if info.is_file]
    for info in sorted(infos, key=lambda info: natural_key(info.path)):
        name = info.path[len(top) :].lstrip("/")
        if is_candidate(Path(name)) and not any(map(is_hidden, name.split("/"))):
            yield name, label, f"{info.size}-{info.mtime_ns}"


def _ask(files: Any, folder: str, address: str, *, recursive: bool = False) -> list[Any]:
    import pyarrow.fs as fs

    try:
        return list(files.get_file_info(fs.FileSelector(folder, recursive=recursive)))
    except OSError as error:
        raise DatasetError(
            f"expected to list {hide(address)}, found: {clean(error)}. Check the "
            "address, and that its credentials are where the store's own program finds them"
        ) from error


def _base(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is passed over."""
    return name.startswith(".") or name.lower() in PASSED_OVER


def list_table(
    table: Path, groups: str | None, below: str | None = None
) -> tuple[list[Item], list[str]]:
    """The images of a table, those at addresses as Remote, and warnings. below: the address that
    its other paths begin at, if that is not its folder.

    Raises DatasetError as `table_items` does.
    """
    addresses: dict[Path, str] = {}

    def is_there(path: Path, written: str) -> bool:
        address = read_address(written)
        if address is None and below is not None:
            address = join(with_keys(below), written)
        if address is not None:
            addresses[path] = address
        return address is not None or is_file(path)

    items, warnings = table_items(table, groups, is_there=is_there)
    named: dict[str, Item] = {}
    for item in items:
        address = addresses.get(item.path)
        if address is not None:
            item = Remote(ELSEWHERE, hide(item.name), item.labels, item.split, item.group,
                          address=address)  # fmt: skip
            while item.name in named:  # what tells them apart is not shown
                item = replace(item, name=f"{hide(item.name)}#{len(named)}")
        named[item.name] = item
    return list(named.values()), warnings


def list_addresses(table: Path, groups: str | None) -> tuple[list[Item], list[str]] | None:
    """The images of a table of which some are at addresses, and warnings; None for another source.

    Raises DatasetError as `table_items` does.
    """
    if table.suffix.lower() not in TABLES or not table.is_file():
        return None
    if not any(map(read_address, stream_paths(table))):
        return None
    return list_table(table, groups)


def _fetch(address: str) -> bytes:
    if is_web(address):
        return fetch_web(address, _take)
    files, path = open_address(address)
    with files.open_input_file(path) as source:  # which knows the size: no room for more is taken
        if source.size() > MOST_FILE:
            raise too_large(MOST_FILE)
        return bytes(source.read(source.size()))


def _take(source: Any) -> bytes:
    data: bytes = source.read(MOST_FILE + 1)
    if len(data) > MOST_FILE:
        raise too_large(MOST_FILE)
    return data


def open_address(address: str) -> tuple[Any, str]:
    """The store, opened once for each bucket, and the path in it. Raises MissingExtra, DatasetError
    for the address of no store.
    """
    base, sign, query = with_keys(address).partition("?")
    scheme, _, rest = base.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme == "file":
        return _open_store("file:///", ""), f"/{unescape(rest).lstrip('/')}"
    if scheme == "hf":
        return _open_hub(), unescape(rest).rstrip("/")
    if scheme == "az":
        scheme, account = "abfs", os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        bucket = f"{account}@{bucket}" if account and "@" not in bucket else bucket
    files = _open_store(f"{scheme}://{bucket}", sign + query)
    who, at, bucket = bucket.rpartition("@")
    if scheme in AZURE and at and "." in bucket:  # the container stands before a host's name
        bucket = who.partition(":")[0]
    return files, f"{bucket}/{unescape(key)}".rstrip("/")


@lru_cache(maxsize=64)
def _open_store(bucket: str, query: str) -> Any:
    fs = _import_fs()
    try:
        if bucket.startswith("s3://anonymous@"):  # which pyarrow knows of gs:// alone
            options = dict(parse_qsl(query.lstrip("?")))
            if not options.keys() & {"region", "endpoint_override"}:
                options["region"] = fs.resolve_s3_region(bucket.partition("@")[2])
            return fs.S3FileSystem(anonymous=True, **options)
        return fs.FileSystem.from_uri(f"{bucket}{query}")[0]
    except (ValueError, TypeError, OSError) as error:  # pyarrow's own
        raise DatasetError(
            f"expected an address of {', '.join(STORES[:-1])}, found {hide(bucket)}: "
            f"{clean(error)}. Correct it"
        ) from error


@lru_cache(maxsize=1)
def _open_hub() -> Any:
    """Hugging Face's data sets, as pyarrow sees a store."""
    fs = _import_fs()
    try:
        from huggingface_hub import HfFileSystem
    except ImportError as error:
        raise MissingExtra("reading from hf://", "hub") from error
    return fs.PyFileSystem(fs.FSSpecHandler(HfFileSystem()))


def _import_fs() -> Any:
    try:
        import pyarrow.fs as fs
    except ImportError as error:
        raise MissingExtra("reading from a store on a network", "parquet") from error
    return fs
