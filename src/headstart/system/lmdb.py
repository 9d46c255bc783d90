"""One LMDB environment, opened so that neither damage nor company ends the process.

LMDB trusts its file: a page cut off or overwritten is a crash, not an error. So whoever comes
first walks the tree before LMDB sees it, and every value stands behind a checksum.
"""

import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import lmdb

from headstart.errors import CacheError
from headstart.system.atomic import write_atomically
from headstart.system.lock import Hold

FIRST_MAP = 64 * 2**20  # bytes of address space; doubled when full
READERS = 512  # reading at once, in all processes
LOCK_TABLE = 64 * 2**10  # bytes, more than LMDB's table of READERS needs
CHECKSUM = struct.Struct("<I")
DAMAGE = (
    lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError, lmdb.PageNotFoundError,
)  # fmt: skip
T = TypeVar("T")

ADVICE = "To keep features elsewhere, set HEADSTART_CACHE to a writable folder on a local disk"


def cache_error(do: Literal["use", "write"], folder: Path, error: Exception) -> CacheError:
    reason = getattr(error, "strerror", None) or str(error)
    with suppress(OSError):  # LMDB calls a full disk an input/output error
        reason += f"; {shutil.disk_usage(folder).free // 2**20:,} MB free"
    return CacheError(f"cannot {do} the feature cache {folder} ({reason}). {ADVICE}")


class Damaged(Exception):
    """The data file is not what LMDB wrote."""


class Environment:
    """An open LMDB environment. LMDB must not open one twice in a process, so it is shared.

    One thread at a time: letting the map grow takes it away from under every transaction.
    Raises CacheError if it cannot be opened, Damaged if it must not be.
    """

    def __init__(self, folder: Path, identity: tuple[int, int]) -> None:
        self.identity = identity
        self._process = os.getpid()
        self.users = 0
        self._lock = threading.RLock()
        try:
            self._hold = Hold(folder)
        except OSError as error:
            raise cache_error("use", folder, error) from error
        try:
            if self._hold.alone:
                _check(folder)
            self._lmdb = self._open(folder)
            self._hold.share()
        except BaseException as error:
            self._hold.release()
            if isinstance(error, DAMAGE):
                raise Damaged(str(error)) from error
            if isinstance(error, (lmdb.Error, OSError)):
                raise cache_error("use", folder, error) from error
            raise

    def _open(self, folder: Path) -> Any:
        data, table, writable = folder / "data.mdb", folder / "lock.mdb", self._hold.writable
        if writable and self._hold.alone and not table.exists():
            # LMDB maps a sparse file here: writing to that on a full disk would end the process.
            write_atomically(table, bytes(LOCK_TABLE))
        size = data.stat().st_size if data.exists() else 0
        environment = lmdb.open(
            str(folder), map_size=max(FIRST_MAP, 2 * size), max_readers=READERS, create=False,
            readonly=not writable, lock=writable, metasync=False,
        )  # fmt: skip
        # What lies past the end of a file that was cut short cannot be touched and survived.
        pages = environment.info()["last_pgno"] + 1
        if data.stat().st_size < pages * environment.stat()["psize"]:
            environment.close()
            raise Damaged("the file was cut short")
        if writable:
            environment.reader_check()  # forget readers that were killed
        return environment

    def is_ours(self) -> bool:
        """False in a forked child, which must leave its parent's environment alone."""
        return self._process == os.getpid()

    def close(self) -> None:
        with self._lock:
            if self._hold.writable:
                with suppress(lmdb.Error):
                    self._lmdb.sync(True)
            self._lmdb.close()
            self._hold.release()

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self.is_ours():  # before the lock: a thread of the parent may have held it
            raise lmdb.Error("opened before this process was forked off")
        with self._lock:
            yield

    def read(self, job: Callable[[Any], T]) -> T:
        """`job` of a transaction whose values are memoryviews, valid within."""
        with self._in_turn():
            try:
                transaction = self._lmdb.begin(buffers=True)
            except lmdb.MapResizedError:  # another process let it grow
                self._lmdb.set_mapsize(0)
                transaction = self._lmdb.begin(buffers=True)
            with transaction:
                return job(transaction)

    def write(self, items: Mapping[bytes, bytes]) -> None:
        """Keep all items in one transaction, on disk on return; lmdb.Error if there is no room."""
        with self._in_turn():
            while True:
                try:
                    with self._lmdb.begin(write=True) as transaction:
                        for key, value in items.items():
                            transaction.put(key, CHECKSUM.pack(checksum(key, value)) + value)
                    return
                except lmdb.MapFullError:
                    self._lmdb.set_mapsize(2 * self._lmdb.info()["map_size"])
                except lmdb.MapResizedError:
                    self._lmdb.set_mapsize(0)


_environments: dict[tuple[int, int], Environment] = {}  # by identity: names may change hands
_registry = threading.RLock()


def acquire(folder: Path) -> Environment:
    """The environment of a folder, opened once in this process for all who use it."""
    with _registry:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            status = folder.stat()
        except OSError as error:
            raise cache_error("use", folder, error) from error
        identity = status.st_dev, status.st_ino
        environment = _environments.get(identity)
        if environment is None:
            environment = _environments[identity] = Environment(folder, identity)
        elif not environment.is_ours():
            raise CacheError(
                f"{folder} was opened before this process was forked off. "
                "Open the cache in the new process only, or start it by spawning"
            )
        environment.users += 1
        return environment


def release(environment: Environment) -> None:
    """Close the environment if nobody else in this process uses it."""
    with _registry:
        environment.users -= 1
        if not environment.users and environment.is_ours():
            _environments.pop(environment.identity).close()


def _check(folder: Path) -> None:
    """Walk the tree with no help of LMDB, which trusts it with the life of the process."""
    data = folder / "data.mdb"
    size = data.stat().st_size if data.exists() else 0
    if not size:
        if (folder / "space.json").exists():  # written after the data
            raise Damaged("the file is empty")
        return
    try:
        from lmdb.verify import VerifyError, verify
    except ImportError:  # before lmdb 3
        return
    with suppress(VerifyError):  # LMDB itself will say what it thinks of the first page
        problems = verify(str(data))
        if problems:
            raise Damaged(problems[0])


def checksum(key: bytes, value: bytes | memoryview) -> int:
    return zlib.crc32(value, zlib.crc32(key))


def is_whole(key: bytes, value: memoryview) -> bool:
    if len(value) < CHECKSUM.size:
        return False
    return CHECKSUM.unpack_from(value)[0] == checksum(key, value[CHECKSUM.size :])
