"""Files and folders that appear whole or not at all."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart.errors import StorageError

_TOLD = re.compile(r"(?:os error |errno = )(\d+)")  # by safetensors, by HDF5
SYNCED_AT_ONCE = 32  # files of a folder
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cannot_write(path: Path, size: int, error: OSError) -> StorageError:
    """The error for `path` that could not be written, of which `size` bytes are known to be needed.

    `errno` is that of `error`.
    """
    full = error.errno in FULL
    needs = f" (at least {_megabytes(size)} MB)" if size else ""
    found = error.strerror or str(error)
    if full:
        found += f", {_free(path)} MB free"
    advice = (
        "Make room (to empty the cache, type: headstart cache prune --max-mb 1000) and type the "
        "same command again" if full else "Allow writing there, or give another place"
    )  # fmt: skip
    result = StorageError(f"expected to write {path}{needs}, found: {found}. {advice}")
    result.errno = error.errno
    return result


def _megabytes(size: int) -> str:
    return f"{-(-size // 10**5) / 10:,.1f}"


def _free(path: Path) -> str:
    there = next(folder for folder in path.absolute().parents if folder.exists())
    return f"{shutil.disk_usage(there).free / 1e6:,.1f}"


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write `content`, whole or in pieces, to `path`: whoever reads it finds the old content or all
    of the new.

    Raises StorageError if it cannot be written; nothing half is left.
    """
    temporary = sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            size = len(content) if isinstance(content, bytes) else 0
            raise cannot_write(path, size, error) from error
        raise


@contextmanager
def file_atomically(path: Path, size: int = 0) -> Iterator[Path]:
    """A file for a library to write, of the name of `path`, that takes its place whole when the
    block ends well.

    size: bytes that there must be room for before the library begins: HDF5 ends the process where
    it could not write a file's end.
    Raises StorageError if it cannot be written, whatever the library makes of that: most speak of
    the system's error by its number.
    """
    folder = sibling(path)
    try:
        folder.mkdir(parents=True)
        if size:
            _claim(folder / path.name, size)
        yield folder / path.name
        _sync(folder)
        os.replace(folder / path.name, path)
    except Exception as error:
        told = _TOLD.search(str(error))
        number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if isinstance(error, StorageError) or number is None:
            raise
        raise cannot_write(path, _size(folder), OSError(number, os.strerror(number))) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _claim(path: Path, size: int) -> None:
    """See that so many bytes can be written there."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
    path.unlink()


@contextmanager
def folder_atomically(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place whole when the block ends well.

    A `target` that was there at the beginning is replaced: the caller has made sure that it may
    be. One that another process put there in the meantime is accepted instead of ours.
    Raises NotADirectoryError if `target` is a file, StorageError if it cannot be written or the
    disk is full before the block ends; nothing half is left.
    """
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "expected a folder, found a file", str(target))
    before = identity(target)
    temporary = sibling(target)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(target, 0, error) from error
    try:
        yield temporary
        _sync(temporary)
        if identity(target) == before:
            _take_place(temporary, target, replace=before is not None)
    except OSError as error:
        if isinstance(error, StorageError) or error.errno not in FULL:
            raise
        raise cannot_write(target, _size(temporary), error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Nothing in the folder is lost from here on, whatever happens to the machine.

    Many files at once: a disk writes those that wait together.
    """
    with ThreadPoolExecutor(SYNCED_AT_ONCE) as pool:
        list(pool.map(_sync_file, filter(Path.is_file, folder.rglob("*"))))


def _sync_file(file: Path) -> None:
    with file.open("rb+") as handle:  # Windows syncs only what is open for writing
        os.fsync(handle.fileno())


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _take_place(temporary: Path, target: Path, *, replace: bool) -> None:
    old = sibling(target)
    if replace:  # no system renames over a full folder: for a moment there is none
        os.rename(target, old)
    try:
        os.rename(temporary, target)
    except OSError:
        if not target.is_dir():
            if replace:
                os.rename(old, target)
            raise  # otherwise another process was quicker by a moment: its folder is accepted
    shutil.rmtree(old, ignore_errors=True)


def is_temporary(path: Path) -> bool:
    """Whether the name is one that this module makes: left over if a process was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def sibling(path: Path) -> Path:
    """A name beside `path` that nobody else takes, and that `is_temporary` knows."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def identity(path: Path) -> tuple[int, int] | None:
    """What stays the same when a file or folder is renamed; None if it is missing."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
