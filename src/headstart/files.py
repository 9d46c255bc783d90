"""Files and folders that appear whole or not at all, and folders that stay while they are used.

A folder in use is held by a shared lock (flock) on the file `lock` in it; whoever wants it gone
needs that lock alone. The system drops the locks of a killed process, so none is ever left over.
Windows has no flock and needs none: a folder with open files cannot be moved there.
"""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = "lock"
PATIENCE = 60  # seconds that another process may take to check a folder or to remove it
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`: whoever reads it finds the old content or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def folder_atomically(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place whole when the block ends well.

    A `target` that was there at the beginning is replaced: the caller has made sure that it may
    be. One that another process put there in the meantime is accepted instead of ours.
    Raises NotADirectoryError if `target` is a file.
    """
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "expected a folder, found a file", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    before = identity(target)
    temporary = _sibling(target)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb+") as opened:  # Windows syncs only what is open for writing
                    os.fsync(opened.fileno())
        if identity(target) == before:
            _take_place(temporary, target, replace=before is not None)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, target: Path, *, replace: bool) -> None:
    old = _sibling(target)
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


class Hold:
    """A folder, made if missing, that `remove` leaves in place until `release`.

    `writable`: whether files can be made in it. `alone`: nobody else holds it, and nobody else
    can before `share` (always False where the system has no flock).

    Raises OSError if the folder cannot be made or its file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        patience = time.monotonic() + PATIENCE
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._handle, self.writable = _open_lock(folder)
            except FileNotFoundError:
                continue  # removed in this very moment
            try:
                if self._locked() and self._still(folder):
                    return
            except BaseException:
                self.release()
                raise
            self.release()  # being checked or removed by another process: try again
            if time.monotonic() > patience:
                raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked", str(folder))
            time.sleep(0.01)

    def _locked(self) -> bool:
        if fcntl is None or self._handle is None:
            self.alone = False
            return True
        self.alone = _lock(self._handle, fcntl.LOCK_EX)
        return self.alone or _lock(self._handle, fcntl.LOCK_SH)

    def _still(self, folder: Path) -> bool:
        """Whether what we locked has not been moved away since."""
        if self._handle is None:
            return True
        opened = os.fstat(self._handle)
        return identity(folder / LOCK) == (opened.st_dev, opened.st_ino)

    def share(self) -> None:
        """Let others hold the folder too."""
        if self.alone:
            fcntl.flock(self._handle, fcntl.LOCK_SH)
            self.alone = False

    def release(self) -> None:
        """Hold no longer. May be called twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def remove(folder: Path) -> bool:
    """Remove a folder that nobody holds, whole; False if it is held or cannot be removed."""
    handle = None
    try:
        if fcntl is not None:
            handle, _ = _open_lock(folder)
            if handle is not None and not _lock(handle, fcntl.LOCK_EX):
                return False
        leaving = _sibling(folder)
        os.rename(folder, leaving)
    except OSError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    shutil.rmtree(leaving, ignore_errors=True)
    return True


def is_temporary(path: Path) -> bool:
    """Whether the name is one that this module makes: left over if a process was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def identity(path: Path) -> tuple[int, int] | None:
    """What stays the same when a file or folder is renamed; None if it is missing."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _open_lock(folder: Path) -> tuple[int | None, bool]:
    """A handle on the folder's lock file, None in a read-only folder without; and: writable?"""
    try:
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666), True
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
    try:
        return os.open(folder / LOCK, os.O_RDONLY), False
    except OSError:
        return None, False


def _lock(handle: int, kind: int) -> bool:
    """Lock without waiting; False if another process stands against it."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
