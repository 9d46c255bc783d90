"""Folders that stay while they are used.

A folder in use is held by a shared lock (flock) on the file `lock` in it; whoever wants it gone
needs that lock alone. The system drops the locks of a killed process, so none is ever left over.
Windows has no flock and needs none: a folder with open files cannot be moved there.
"""

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

from headstart.system.atomic import identity, sibling

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = "lock"
PATIENCE = 60  # seconds that another process may take to check a folder or to remove it
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


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
        leaving = sibling(folder)
        os.rename(folder, leaving)
    except OSError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    shutil.rmtree(leaving, ignore_errors=True)
    return True


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
