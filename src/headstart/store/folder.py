"""A folder of files, on this computer or in a store on a network, whose files appear whole or not
at all.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from headstart.data.address import STORES, clean, hide, read_address
from headstart.data.remote import open_address
from headstart.errors import DatasetError, StorageError
from headstart.system.atomic import cannot_write, write_atomically
from headstart.system.lock import held_alone

READERS = 16  # threads that read what is small, or lies on a network


class Folder:
    """One on this computer."""

    is_here = True

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The last part of its place."""
        return PurePosixPath(str(self).replace("\\", "/")).name

    def show(self, name: str) -> str:
        """A file in it, as messages name it."""
        return str(self.path / name)

    def make(self) -> None:
        """Raises StorageError if it cannot be made."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, 0, error) from error

    def names(self) -> list[str]:
        """Of its files, sorted; none where there is no such folder."""
        if not self.path.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(self.path) if entry.is_file())

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).is_file()

    def folders(self) -> list["Folder"]:
        """Those in it, sorted by name."""
        if not self.path.is_dir():
            return []
        found = sorted(entry.name for entry in os.scandir(self.path) if entry.is_dir())
        return [Folder(self.path / name) for name in found if not name.startswith(".")]

    def open(self, name: str) -> Any:
        """What pyarrow reads the file from. Raises OSError."""
        return self.path / name

    def read(self, name: str) -> bytes:
        """All of a file. Raises OSError."""
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Raises StorageError if it cannot be written."""
        write_atomically(self.path / name, content)

    def move(self, old: str, new: str) -> None:
        """Give a file another name."""
        shutil.move(self.path / old, self.path / new)

    def remove(self, name: str) -> None:
        """A file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Whether no other process is in the same block, as far as that can be known."""
        lock = self.path / f".{name}.lock"
        lock.touch()
        with held_alone(lock) as alone:
            yield alone


class Bucket(Folder):
    """One at an address, which pyarrow speaks with."""

    is_here = False

    def __init__(self, address: str) -> None:
        self.address = address
        self.files, self.top = open_address(address)

    def __reduce__(self) -> tuple[Any, ...]:
        return Bucket, (self.address,)

    def __str__(self) -> str:
        return hide(self.address)

    def show(self, name: str) -> str:
        return f"{str(self).rstrip('/')}/{name}"

    def make(self) -> None:
        with self._told("make"):
            self.files.create_dir(self.top)

    def names(self) -> list[str]:
        return sorted(info.base_name for info in self._list() if info.is_file)

    def has(self, name: str) -> bool:
        with self._told(f"look for {name} in"):
            return bool(self.files.get_file_info(f"{self.top}/{name}").is_file)

    def folders(self) -> list[Folder]:
        base, sign, query = self.address.partition("?")
        found = sorted(info.base_name for info in self._list() if not info.is_file)
        return [Bucket(f"{base.rstrip('/')}/{name}{sign}{query}") for name in found]

    def open(self, name: str) -> Any:
        return self.files.open_input_file(f"{self.top}/{name}")

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return bytes(file.read())

    def write(self, name: str, content: bytes) -> None:
        with self._told(f"write {name} in"):
            # Not in a with block, which would make an object of what a failure left of it.
            file = self.files.open_output_stream(f"{self.top}/{name}")
            file.write(content)
            file.close()

    def move(self, old: str, new: str) -> None:
        with self._told(f"move {old} in"):
            self.files.move(f"{self.top}/{old}", f"{self.top}/{new}")

    def remove(self, name: str) -> None:
        with self._told(f"remove {name} in"):
            self.files.delete_file(f"{self.top}/{name}")

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        yield True  # a store knows no locks: two jobs would write the same files twice

    def _list(self) -> list[Any]:
        import pyarrow.fs as fs

        with self._told("list"):
            selector = fs.FileSelector(self.top, allow_not_found=True)
            return list(self.files.get_file_info(selector))

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            told = StorageError(
                f"expected to {doing} {self}, found: {clean(error).rstrip('.')}. Check the "
                "address and its credentials. What is done is kept: type the same command again"
            )
            told.errno = error.errno
            raise told from error


def open_folder(place: str | Path) -> Folder:
    """Of a path or an address (s3://, gs://, abfs://). Raises DatasetError for other addresses,
    MissingExtra without pyarrow.
    """
    address = read_address(place)
    if address is None:
        return Folder(Path(place))
    scheme = address.partition(":")[0]
    if scheme not in STORES:
        raise DatasetError(
            f"expected a folder, or an address that begins with {', '.join(STORES[:-1])}, found "
            f"{hide(address)}. Give one of these"
        )
    return Bucket(address)
