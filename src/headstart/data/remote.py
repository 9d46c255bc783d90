"""Images in stores on a network: listed with their labels, and brought here as they are needed.

pyarrow speaks with the stores (s3://, gs://, abfs://) and finds the credentials where their own
programs do; https:// is Python's own. Nothing of an address but the name of an image is kept.
"""

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from headstart.data.folder import ARRANGE, PASSED_OVER, is_candidate
from headstart.data.item import Item, to_class_name, to_printable
from headstart.data.split import SPLIT_NAMES
from headstart.data.table import TABLES, read_table, table_items
from headstart.errors import DatasetError, MissingExtra, StorageError

ADDRESS = re.compile(r"([a-z][a-z0-9+]+):/+(.+)", re.IGNORECASE)  # Path makes one slash of two
WEB = ("http", "https")
STORES = ("s3", "gs", "gcs", "abfs", "abfss", "file")
TRIES, PATIENCE = 3, 60  # of a web server; seconds without an answer


@dataclass(frozen=True)
class Remote(Item):
    """An image that is not here yet: `path` is no place. address: where it is."""

    address: str = field(default="", kw_only=True)

    def bring(self, folder: Path, number: int) -> Item:
        """The image as a file in `folder`, or one that cannot be read where there is no such image.

        Raises StorageError where its store cannot be reached.
        """
        place = folder / f"{number}{PurePosixPath(self.name).suffix}"
        try:
            _fetch(self.address, place)
        except FileNotFoundError:
            place.unlink(missing_ok=True)
        except OSError as error:
            place.unlink(missing_ok=True)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            told = StorageError(
                f"expected to read {hide(self.address)}, found: {reason}. What is done is kept: "
                "type the same command again"
            )
            told.errno = error.errno
            raise told from error
        return Item(place, self.name, self.labels, self.split, self.group)


def read_address(source: object) -> str | None:
    """The address that a source is; None for a place on this computer."""
    found = ADDRESS.fullmatch(str(source)) if isinstance(source, str | Path) else None
    return None if found is None else f"{found[1].lower()}://{found[2]}"


def hide(address: str) -> str:
    """The address as it may be shown: without what stands after a question mark or before an @,
    where keys are written.
    """
    return re.sub(r"//[^/@]*@", "//", address).partition("?")[0]


def list_store(address: str) -> tuple[list[Item], list[str]]:
    """The images below an address, by class folders as in a folder here, and warnings.

    Raises DatasetError where there are none, or the store cannot be asked; MissingExtra.
    """
    scheme = address.partition(":")[0]
    if scheme not in STORES:
        raise DatasetError(
            f"expected an address that begins with {', '.join(STORES[:-1])}, found "
            f"{hide(address)}. For single files, give a table with their addresses as paths"
        )
    import pyarrow.fs as fs

    try:
        files, top = _open(address)
        found = files.get_file_info(fs.FileSelector(top, recursive=True))
    except OSError as error:
        raise DatasetError(
            f"expected to list {hide(address)}, found: {str(error).splitlines()[0]}. Check the "
            "address, and that its credentials are where the store's own program finds them"
        ) from error
    names = sorted(info.path[len(top) :].lstrip("/") for info in found if info.is_file)
    base, sign, query = address.partition("?")
    items = [
        Remote(Path("elsewhere"), to_printable(name), (to_class_name(folders[-1]),), split,
               address=f"{base.rstrip('/')}/{name}{sign}{query}")
        for name, folders, split in _arrange(names)
    ]  # fmt: skip
    if not items:
        raise DatasetError(f"expected images below {hide(address)}, found none. {ARRANGE}")
    return list(items), []


def _arrange(names: list[str]) -> Iterator[tuple[str, list[str], str | None]]:
    """Name, folders up to the class, and split of each image that is in the folder of a class."""
    kept = [name for name in names if is_candidate(Path(name)) and not _is_hidden(name)]
    divided = any(SPLIT_NAMES.get(name.split("/")[0].lower()) == "train" for name in kept)
    for name in kept:
        parts = name.split("/")[:-1]
        split = SPLIT_NAMES.get(parts[0].lower()) if divided and parts else None
        folders = parts[:2] if divided else parts[:1]
        if len(folders) == (2 if divided else 1) and (split or not divided):
            yield name, folders, split


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in PASSED_OVER for part in name.split("/"))


def list_addresses(table: Path, groups: str | None) -> tuple[list[Item], list[str]] | None:
    """The images of a table whose paths are addresses, and warnings; None for another source.

    Raises DatasetError as `read_table` does.
    """
    if table.suffix.lower() not in TABLES or not table.is_file():
        return None
    written = {table.parent / row.path: row.path for row in read_table(table, groups)}
    if not any(map(read_address, written.values())):
        return None
    items, warnings = table_items(table, groups, is_there=lambda path: True)
    remote: dict[str, Item] = {}
    for item in items:
        address = read_address(written[item.path]) or item.path.absolute().as_uri()
        name = shown = hide(item.name)
        while name in remote:  # what tells them apart is not shown
            name = f"{shown}#{len(remote)}"
        remote[name] = Remote(
            Path("elsewhere"), name, item.labels, item.split, item.group, address=address
        )
    return list(remote.values()), warnings


def _fetch(address: str, place: Path) -> None:
    if address.partition(":")[0] in WEB:
        _fetch_web(address, place)
        return
    files, path = _open(address)
    with files.open_input_stream(path) as source, place.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)


def _fetch_web(address: str, place: Path) -> None:
    for attempt in range(TRIES):
        try:
            with (
                urllib.request.urlopen(address, timeout=PATIENCE) as source,
                place.open("wb") as target,
            ):
                shutil.copyfileobj(source, target, 2**20)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise FileNotFoundError(error.code, "no such image") from error
            if attempt == TRIES - 1 or error.code < 500:
                raise
        except OSError:
            if attempt == TRIES - 1:
                raise


def _open(address: str) -> tuple[Any, str]:
    """The store, opened once for each bucket, and the path in it."""
    base, sign, query = address.partition("?")
    scheme, _, rest = base.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme == "file":
        return _open_store("file:///", ""), f"/{rest.lstrip('/')}"
    return _open_store(f"{scheme}://{bucket}", sign + query), f"{bucket}/{key}".rstrip("/")


@lru_cache(maxsize=64)
def _open_store(bucket: str, query: str) -> Any:
    try:
        import pyarrow.fs as fs
    except ImportError as error:
        raise MissingExtra("reading from a store on a network", "parquet") from error
    try:
        return fs.FileSystem.from_uri(f"{bucket}{query}")[0]
    except ValueError as error:  # pyarrow's own
        raise DatasetError(
            f"expected an address of {', '.join(STORES[:-1])}, found {hide(bucket)}: "
            f"{str(error).splitlines()[0]}. Correct it"
        ) from error
