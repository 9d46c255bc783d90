"""The feature cache: what the frozen extractor said of an image, kept.

One folder for each extractor fingerprint: an LMDB environment (crash-safe: a killed writer loses
its last transaction and harms nothing; many readers beside one writer, in any number of
processes) and `space.json`, which says in words what the numbers are. A key is image content and
view, a value is the bytes of a feature vector behind a checksum.
"""

import json
import os
import shutil
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from headstart.errors import CacheError
from headstart.files import write_atomically
from headstart.folders import cache_folder

CANARY = b"canary"
FIRST_MAP = 64 * 2**20  # bytes; doubled when full
CHECKSUM = struct.Struct("<I")
PAGE = 4096
ASIDE = ".aside-"


@dataclass(frozen=True)
class SpaceInfo:
    """What one folder of the cache holds; times in seconds since 1970."""

    name: str
    description: dict[str, Any]
    entries: int
    bytes: int
    last_used: float


class FeatureCache:
    """All features kept on this computer, in `folder` (by default the user's cache folder)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or cache_folder()) / "features"
        self._open: list[Space] = []

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every space that was opened."""
        while self._open:
            self._open.pop().close()

    def space(self, fingerprint: str, description: Mapping[str, Any]) -> "Space":
        """The features of one extractor, made if new.

        Raises CacheError if the folder can be neither read nor written.
        """
        space = Space(self.folder / fingerprint, description)
        self._open.append(space)
        return space

    def info(self) -> list[SpaceInfo]:
        """What is kept, the most recently used first."""
        found = []
        for folder in self._folders():
            found.append(_info(folder))
        return sorted(found, key=lambda info: -info.last_used)

    def verify(self) -> dict[str, int]:
        """Read everything: the number of damaged values by folder, -1 if it cannot be read."""
        damaged = {}
        for folder in self._folders():
            try:
                with Space(folder, None) as space:
                    damaged[folder.name] = -1 if space.warnings else space.damaged()
            except CacheError:
                damaged[folder.name] = -1
        return damaged

    def prune(
        self, *, max_bytes: int | None = None, older_than: float | None = None
    ) -> list[SpaceInfo]:
        """Remove the least recently used spaces until at most `max_bytes` are kept, and all not
        used for `older_than` days. Spaces in use by a running process stay.
        """
        kept = sum(info.bytes for info in self.info())
        now, removed = time.time(), []
        for info in reversed(self.info()):
            too_old = older_than is not None and now - info.last_used > older_than * 86400
            too_much = max_bytes is not None and kept > max_bytes
            if (too_old or too_much) and _remove(self.folder / info.name):
                kept -= info.bytes
                removed.append(info)
        return removed

    def _folders(self) -> list[Path]:
        try:
            return [path for path in sorted(self.folder.iterdir()) if path.is_dir()]
        except OSError:
            return []


# LMDB must not open one environment twice in a process: those open are shared and counted.
_environments: dict[Path, tuple[Any, int]] = {}
_lock = threading.RLock()


class Space:
    """The features of one extractor. Thread-safe. `warnings` tells what was found amiss.

    Raises CacheError if the folder cannot be opened.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any] | None) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self._description = description
        self._writable = True
        self._begin()

    def __enter__(self) -> "Space":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writable = os.access(self.folder, os.W_OK)
            self._refuse_short_file()
            self._environment = self._acquire()
            self._usable()
        except CacheError:
            raise
        except Exception as error:  # LMDB's own, or a file cut short under it
            if isinstance(error, OSError) and not self.folder.is_dir():
                raise CacheError(
                    f"cannot make the cache folder {self.folder}: {error.strerror}. "
                    "Set HEADSTART_CACHE to a folder that can be written"
                ) from error
            self.close()
            self.warnings.append(self.set_aside(f"the kept features are damaged ({error})"))
        if self._description is not None and self._writable:
            self._note()

    def _note(self) -> None:
        """Keep the description beside the data, and the time of use as the file's own."""
        text = json.dumps(self._description, indent=1, sort_keys=True)
        try:
            write_atomically(self.folder / "space.json", text.encode())
        except OSError:
            self._writable = False  # full or read-only: reading goes on

    def _refuse_short_file(self) -> None:
        """A data file shorter than LMDB believes would kill the process at the first access."""
        file = self.folder / "data.mdb"
        if not file.exists() or file.stat().st_size == 0:
            return
        size = file.stat().st_size
        head = file.open("rb").read(2 * PAGE)
        pages = 0
        for start in (0, PAGE):
            meta = head[start + 16 : start + 160]
            if len(meta) < 144 or struct.unpack_from("<I", meta)[0] != 0xBEEFC0DE:
                raise ValueError("not an LMDB file")
            # magic, version, address, map size, two databases of 48 bytes, last page, transaction
            last_page, transaction = struct.unpack_from("<QQ", meta, 24 + 96)
            pages = max(pages, last_page + 1) if transaction else pages
        if size < pages * PAGE:
            raise ValueError("cut short")

    def _acquire(self) -> Any:
        import lmdb

        with _lock:
            environment, users = _environments.get(self.folder, (None, 0))
            if environment is None:
                try:
                    size = (self.folder / "data.mdb").stat().st_size
                except OSError:
                    size = 0
                map_size = max(FIRST_MAP, 2 * size)
                try:
                    environment = lmdb.open(
                        str(self.folder), map_size=map_size, readonly=not self._writable,
                        lock=self._writable, max_readers=512, metasync=False,
                    )  # fmt: skip
                except lmdb.ReadonlyError as error:
                    raise CacheError(f"{self.folder} cannot be read: {error}") from error
            _environments[self.folder] = (environment, users + 1)
        return environment

    def _usable(self) -> None:
        with self._reading() as transaction:
            transaction.stat()

    def close(self) -> None:
        """Leave the environment to its other users, or close it. May be called twice."""
        with _lock:
            if getattr(self, "_environment", None) is None:
                return
            environment, users = _environments[self.folder]
            if users > 1:
                _environments[self.folder] = (environment, users - 1)
            else:
                del _environments[self.folder]
                environment.close()
            self._environment = None

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        import lmdb

        try:
            transaction = self._environment.begin()
        except lmdb.MapResizedError:  # another process let it grow
            self._environment.set_mapsize(0)
            transaction = self._environment.begin()
        with transaction:
            yield transaction

    def get_into(self, keys: Sequence[bytes], rows: np.ndarray) -> np.ndarray:
        """Copy the kept values into `rows` (N, bytes) uint8; (N,) bool says which were found."""
        found = np.zeros(len(keys), bool)
        width = rows.shape[1]
        with self._reading() as transaction:
            for index, key in enumerate(keys):
                value = transaction.get(key)
                if value is not None and len(value) == width + CHECKSUM.size and _whole(value):
                    rows[index] = np.frombuffer(value, np.uint8, width, CHECKSUM.size)
                    found[index] = True
        return found

    def get(self, key: bytes) -> bytes | None:
        """One kept value, or None."""
        with self._reading() as transaction:
            value = transaction.get(key)
        return value[CHECKSUM.size :] if value is not None and _whole(value) else None

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """Keep values; on return they are on disk, all of them.

        Raises CacheError if they cannot be kept (disk full, read-only): nothing older is lost.
        """
        import lmdb

        if not self._writable:
            raise CacheError(f"{self.folder} cannot be written")
        try:
            self._growing(lambda: self._put(items))
        except (lmdb.Error, OSError) as error:
            raise CacheError(f"{self.folder}: {error}") from error

    def _put(self, items: Mapping[bytes, bytes]) -> None:
        with self._environment.begin(write=True) as transaction:
            for key, value in items.items():
                transaction.put(key, CHECKSUM.pack(zlib.crc32(value)) + value)

    def _growing(self, write: Callable[[], None]) -> None:
        import lmdb

        while True:
            try:
                return write()
            except lmdb.MapFullError:
                size = self._environment.info()["map_size"]
                if shutil.disk_usage(self.folder).free < size // 8:
                    raise
                self._environment.set_mapsize(2 * size)
            except lmdb.MapResizedError:
                self._environment.set_mapsize(0)

    def canary(self) -> bytes | None:
        """The extractor's features of its canary image, as they were kept."""
        return self.get(CANARY)

    def set_canary(self, value: bytes) -> None:
        """Keep the canary's features. Raises CacheError as `put` does."""
        self.put({CANARY: value})

    def damaged(self) -> int:
        """How many values do not fit their checksum; reads everything."""
        with self._reading() as transaction:
            return sum(not _whole(value) for _, value in transaction.cursor())

    def set_aside(self, reason: str) -> str:
        """Move what is kept out of the way and begin anew; the text tells the user.

        Raises CacheError if the folder cannot be moved.
        """
        aside = self.folder.with_name(f"{self.folder.name}{ASIDE}{time.strftime('%Y%m%d-%H%M%S')}")
        with _lock:
            self.close()
            try:
                os.rename(self.folder, aside)
            except OSError as error:
                raise CacheError(
                    f"{reason}, and {self.folder} cannot be moved: {error.strerror}"
                ) from error
        description, self._description = self._description, self._description or {}
        self._begin()
        self._description = description
        return f"{reason}: kept features set aside in {aside}, computing them again"


def _whole(value: bytes) -> bool:
    if len(value) < CHECKSUM.size:
        return False
    (checksum,) = CHECKSUM.unpack_from(value)
    return checksum == zlib.crc32(memoryview(value)[CHECKSUM.size :])


def _info(folder: Path) -> SpaceInfo:
    try:
        description = json.loads((folder / "space.json").read_text(encoding="utf-8"))
        last_used = (folder / "space.json").stat().st_mtime
    except (OSError, ValueError):
        description, last_used = {}, folder.stat().st_mtime
    try:
        with Space(folder, None) as space, space._reading() as transaction:
            entries = transaction.stat()["entries"] - (transaction.get(CANARY) is not None)
    except CacheError:
        entries = 0
    size = sum(file.stat().st_blocks * 512 for file in folder.iterdir() if file.is_file())
    return SpaceInfo(folder.name, description, entries, size, last_used)


def _remove(folder: Path) -> bool:
    """Whether nobody uses the folder; then it is gone."""
    with _lock:
        if folder in _environments:
            return False
        try:
            with Space(folder, None) as space:
                # Readers of other processes stand in LMDB's own table; the dead are cleared first.
                space._environment.reader_check()
        except CacheError:
            pass
        shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
