"""The feature cache: what the frozen extractor said of an image, kept.

One space (a folder) for each extractor fingerprint: an LMDB environment and `space.json`, which
says in words what the numbers are. A key is image content and view; a value is the bytes of a
feature vector behind a checksum. A killed writer loses the transaction it was in and harms
nothing; any number of processes may read and write at once. Compiled extractors lie in the same
cache folder, where `info` counts them and `prune` removes them.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import lmdb
import numpy as np

from headstart.errors import CacheError
from headstart.system.atomic import identity, is_temporary, write_atomically
from headstart.system.lmdb import (
    ADVICE,
    CHECKSUM,
    Damaged,
    Environment,
    acquire,
    cannot,
    release,
    whole,
)
from headstart.system.lock import remove
from headstart.system.places import cache_folder

CANARY = b"canary"
KINDS = ("features", "extractors")
DAY = 86400  # seconds
T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """One folder of the cache.

    name: `features/<fingerprint>`, `features/<fingerprint>.aside-<date>` or `extractors/<digest>`.
    entries: number of vectors, 0 if they cannot be read and for extractors.
    created, last_used: seconds since 1970.
    """

    name: str
    description: dict[str, Any]
    entries: int
    bytes: int
    created: float
    last_used: float


class FeatureCache:
    """All that is kept on this computer, in `folder` (by default the user's cache folder)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()
        self._opened: list[Space] = []

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every space that was opened."""
        while self._opened:
            self._opened.pop().close()

    def space(self, fingerprint: str, description: Mapping[str, Any]) -> "Space":
        """The features of one extractor, made if new.

        Raises CacheError if the folder can be neither read nor written: go on without the cache.
        """
        space = Space(self.folder / "features" / fingerprint, description)
        self._opened.append(space)
        return space

    def info(self) -> list[Kept]:
        """What is kept, the most recently used first."""
        return sorted(map(_kept, self._folders()), key=lambda entry: -entry.last_used)

    def verify(self) -> dict[str, int]:
        """Read every feature: the number of damaged values by name, -1 if unreadable."""
        spaces = [folder for folder in self._folders() if (folder / "data.mdb").exists()]
        return {_name(folder): _examined(folder, _damaged, -1) for folder in spaces}

    def prune(
        self,
        *,
        max_bytes: int | None = None,
        older_than: float | None = None,
        all: bool = False,
    ) -> list[Kept]:
        """Remove what was not used for `older_than` days, then the least recently used until at
        most `max_bytes` are kept; or `all`. What a running process uses stays.

        Returns what was removed.
        """
        now, removed = time.time(), []
        entries = self.info()
        kept = sum(entry.bytes for entry in entries)
        for entry in reversed(entries):
            too_old = older_than is not None and now - entry.last_used > older_than * DAY
            too_much = max_bytes is not None and kept > max_bytes
            if (all or too_old or too_much) and remove(self.folder / entry.name):
                kept -= entry.bytes
                removed.append(entry)
        for folder in self._folders(temporary=True):
            if now - folder.stat().st_mtime > DAY:  # of a process killed long ago
                remove(folder)
        return removed

    def _folders(self, *, temporary: bool = False) -> list[Path]:
        found = []
        for kind in KINDS:
            with suppress(OSError):
                found += [path for path in (self.folder / kind).iterdir() if path.is_dir()]
        return sorted(path for path in found if is_temporary(path) is temporary)


class Space:
    """The features of one extractor. Thread-safe.

    `warnings` says what was found amiss at opening. Raises CacheError if it cannot be opened.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.folder = folder
        self.description = description
        self.warnings: list[str] = []
        self._environment: Environment | None = None
        try:
            self._open()
        except Damaged as damage:
            self.warnings.append(self.set_aside(f"the kept features are damaged ({damage})"))

    def __enter__(self) -> "Space":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._identity = identity(self.folder)
        self._environment = acquire(self.folder)
        self._identity = self._environment.identity
        now = time.time()
        created = _note(self.folder).get("created", now)
        note = {"created": created, "last_used": now, "description": dict(self.description)}
        with suppress(OSError):  # read-only or full: only this use goes unrecorded
            write_atomically(self.folder / "space.json", json.dumps(note, indent=1).encode())

    def close(self) -> None:
        """Leave the environment to its other users, or close it. May be called twice."""
        environment, self._environment = self._environment, None
        if environment is not None:
            release(environment)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Copies of the kept values, None for those missing or damaged."""

        def copied(transaction: Any) -> list[bytes | None]:
            values = ((key, transaction.get(key)) for key in keys)
            return [
                bytes(value[CHECKSUM.size :]) if value is not None and whole(key, value) else None
                for key, value in values
            ]

        return self._read(copied, [None] * len(keys))

    def get_into(self, keys: Sequence[bytes], rows: np.ndarray) -> np.ndarray:
        """Copy the kept values into `rows` (N, bytes) uint8; (N,) bool says which were found.

        Values of another length count as missing. Rows not found are left as they are.
        """
        width = rows.shape[1]

        def copied(transaction: Any) -> np.ndarray:
            found = np.zeros(len(keys), bool)
            for index, key in enumerate(keys):
                value = transaction.get(key)
                if value is None or len(value) != CHECKSUM.size + width or not whole(key, value):
                    continue
                rows[index] = np.frombuffer(value, np.uint8, width, CHECKSUM.size)
                found[index] = True
            return found

        return self._read(copied, np.zeros(len(keys), bool))

    def _read(self, job: Callable[[Any], T], nothing: T) -> T:
        """What `job` reads in a transaction; `nothing` once the space has turned out unusable."""
        environment = self._environment  # another thread may close the space meanwhile
        if environment is None:
            return nothing
        try:
            return environment.read(job)
        except lmdb.Error:  # damaged since it was opened; the next opening will set it aside
            self.close()
            return nothing

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """Keep values, all in one transaction; on return they are on disk.

        Raises CacheError if they cannot be kept (disk full, read-only): what was kept before
        stays, and the caller goes on without keeping.
        """
        environment = self._environment
        if environment is None:
            raise CacheError(f"{self.folder} is closed or could not be read. {ADVICE}")
        try:
            environment.write(items)
        except (lmdb.Error, OSError) as error:
            raise cannot("write", self.folder, error) from error

    def canary(self) -> bytes | None:
        """The extractor's features of its canary image, as they were kept."""
        return self.get([CANARY])[0]

    def set_canary(self, value: bytes) -> None:
        """Keep the canary's features. Raises CacheError as `put` does."""
        self.put({CANARY: value})

    def set_aside(self, reason: str) -> str:
        """Move what is kept out of the way and begin anew; the text tells the user.

        Raises CacheError if it cannot be moved: the space then keeps and returns nothing.
        """
        self.close()
        date = time.strftime("%Y-%m-%d-%H%M%S")
        aside = self.folder.with_name(f"{self.folder.name}.aside-{date}-{secrets.token_hex(2)}")
        try:
            if identity(self.folder) == self._identity:  # else another process was quicker
                os.rename(self.folder, aside)
        except OSError as error:
            raise CacheError(
                f"{reason}, and {self.folder} cannot be set aside ({error.strerror}). {ADVICE}"
            ) from error
        try:
            self._open()
        except Damaged as damage:  # new and already damaged: a disk to be given up
            raise CacheError(f"{self.folder} cannot be used ({damage}). {ADVICE}") from damage
        return (
            f"{reason}: set aside as {aside.name}, to be computed again. "
            "To make room, type: headstart cache prune --older-than 30"
        )


def _examined(folder: Path, job: Callable[[Environment], int], unreadable: int) -> int:
    """`job` of a space's environment, `unreadable` if it is that; nothing is set aside."""
    try:
        environment = acquire(folder)
    except (CacheError, Damaged):
        return unreadable
    try:
        return job(environment)
    except lmdb.Error:
        return unreadable
    finally:
        release(environment)


def _count(environment: Environment) -> int:
    return environment.read(lambda t: t.stat()["entries"] - (t.get(CANARY) is not None))


def _damaged(environment: Environment) -> int:
    return environment.read(lambda t: sum(not whole(key, value) for key, value in t.cursor()))


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _note(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "space.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _files(folder: Path) -> Iterator[os.stat_result]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                yield path.stat()


def _kept(folder: Path) -> Kept:
    note, files, made = _note(folder), list(_files(folder)), folder.stat().st_mtime
    # Whoever uses an extractor reads it: most systems note that, once a day at least.
    used = max((max(file.st_atime, file.st_mtime) for file in files), default=made)
    kept = (folder / "data.mdb").exists()
    return Kept(
        name=_name(folder),
        description=note.get("description", {}),
        entries=_examined(folder, _count, 0) if kept else 0,
        bytes=sum(getattr(file, "st_blocks", -(-file.st_size // 512)) * 512 for file in files),
        created=note.get("created", made),
        last_used=note.get("last_used", used),
    )
