"""Folders that stay while they are used.

A folder in use is held by a shared lock (flock) on the file `lock` in it; whoever wants it gone
needs that lock alone. The system drops the locks of a killed process, so none is ever left over.
Windows has no flock and needs none: a folder with open files cannot be moved there.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from headstart.errors import CacheError, StorageError
from headstart.system.atomic import cannot_write, folder_atomically, identity, sibling

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = "lock"
T = TypeVar("T")
PATIENCE = 60  # seconds that another process may take to remove a folder
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class Hold:
    """A folder, made if missing, that `remove` leaves in place until `release`, at the latest until
    nobody refers to the hold any more. Others may hold it too; a copy of a hold, here or in another
    process, is one more.

    Raises OSError if the folder cannot be made or its file system has no locks.
    """

    _handle: int | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        patience = time.monotonic() + PATIENCE
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._handle = _open_lock(folder)
            except FileNotFoundError:
                continue  # removed in this very moment
            try:
                if self._take() and self._is_in_place():
                    return
            except BaseException:
                self.release()
                raise
            self.release()  # being removed by another process: try again
            if time.monotonic() > patience:
                raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked", str(folder))
            time.sleep(0.01)

    def _take(self) -> bool:
        return fcntl is None or self._handle is None or _lock(self._handle, fcntl.LOCK_SH)

    def _is_in_place(self) -> bool:
        """Whether what we locked has not been moved away since."""
        if self._handle is None:
            return True
        status = os.fstat(self._handle)
        return identity(self.folder / LOCK) == (status.st_dev, status.st_ino)

    def release(self) -> None:
        """Hold no longer. May be called twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.release()

    def __reduce__(self) -> tuple[type["Hold"], tuple[Path]]:
        return Hold, (self.folder,)  # never the handle: its number is another file elsewhere


@dataclass(frozen=True)
class Held(Generic[T]):
    """What was read of a folder that is held.

    hold: None where the folder's file system has no locks: it is there, and nothing keeps others
    from removing it. again: whether it was damaged and has been made again.
    """

    content: T
    hold: Hold | None
    again: bool


def read_and_hold(
    folder: Path, name: str, make: Callable[[Path], None], read: Callable[[Path], T]
) -> Held[T]:
    """Hold a folder and read it; one that lacks `name`, or is damaged, is first made by `make`.

    make: fills the temporary folder that it is given, `name` included. read: raises OSError,
    ValueError or RuntimeError for a folder that is not whole.
    Raises CacheError if the folder cannot be written, or is damaged while another has it in use.
    """
    hold = _make_and_hold(folder, name, make)
    try:
        return Held(read(folder), hold, again=False)
    except (OSError, ValueError, RuntimeError) as damage:
        if hold is not None:
            hold.release()
        if not remove(folder):
            reason = (str(damage).strip().splitlines() or [type(damage).__name__])[-1]
            raise CacheError(
                f"expected a whole folder {folder}, found: {reason}. Another process has it in "
                "use, or it may not be removed: let that end, or remove it by hand, and type the "
                "same command"
            ) from damage
    hold = _make_and_hold(folder, name, make)
    return Held(read(folder), hold, again=True)


def _make_and_hold(folder: Path, name: str, make: Callable[[Path], None]) -> Hold | None:
    while True:
        if not (folder / name).exists():
            try:
                with folder_atomically(folder) as temporary:
                    make(temporary)
            except OSError as error:
                failed = error if isinstance(error, StorageError) else (
                    cannot_write(folder, 0, error))  # fmt: skip
                raise CacheError(f"{failed}, or set HEADSTART_CACHE to another folder") from error
        try:
            hold = Hold(folder)
        except OSError:
            hold = None
        if (folder / name).exists():  # else it was removed before we held it
            with suppress(OSError):
                os.utime(folder / LOCK)  # when it was last used: not every system notes reading
            return hold
        if hold is not None:
            hold.release()


def remove(path: Path) -> bool:
    """Remove a file, or a folder that nobody holds, whole; False if it is held or cannot be."""
    if path.is_symlink() or not path.is_dir():
        return _remove_file(path)
    folder, handle = path, None
    try:
        if fcntl is not None:
            handle = _open_lock(folder)
            if handle is not None and not _lock(handle, fcntl.LOCK_EX):
                return False
        leaving = sibling(folder)
        os.rename(folder, leaving)
    except OSError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    shutil.rmtree(leaving, ignore_errors=True)
    return True


def _remove_file(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


@contextmanager
def held_alone(file: Path) -> Iterator[bool]:
    """Hold a file's lock while the block runs; False if another process, or this one, holds it.

    True without a lock where the system, or the file's own, has none. Raises OSError if the file
    cannot be opened for writing.
    """
    if fcntl is None:
        yield True
        return
    handle = os.open(file, os.O_RDWR)
    try:
        try:
            alone = _lock(handle, fcntl.LOCK_EX)
        except OSError:
            alone = True
        yield alone
    finally:
        os.close(handle)


def _open_lock(folder: Path) -> int | None:
    """A handle on the folder's lock file, None in a read-only folder without."""
    try:
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
    try:
        return os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None


def _lock(handle: int, kind: int) -> bool:
    """Lock without waiting; False if another process stands against it."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
