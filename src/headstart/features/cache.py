"""The feature cache: what the frozen extractor said of an image, kept.

One space (a folder) for each extractor fingerprint: an LMDB environment and `space.json`, which
says in words what the numbers are. A key is image content and view; a value is the bytes of a
feature vector behind a checksum. A killed writer loses the transaction it was in and harms
nothing; any number of processes may read and write at once.
`housekeeping` counts and removes what is kept.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import lmdb
import numpy as np

from headstart.errors import CacheError
from headstart.system.atomic import identity, write_atomically
from headstart.system.lmdb import (
    ADVICE,
    CHECKSUM,
    Damaged,
    Environment,
    acquire,
    cache_error,
    is_whole,
    release,
)
from headstart.system.places import cache_folder

CANARY = b"canary"  # the key under which the extractor's own features of its canary image lie
T = TypeVar("T")


class FeatureCache:
    """The features kept in `folder` (by default the user's cache folder), a space an extractor."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()
        self._spaces: list[Space] = []

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every space that was opened."""
        while self._spaces:
            self._spaces.pop().close()

    def space(self, fingerprint: str, description: Mapping[str, Any]) -> "Space":
        """The features of one extractor, made if new.

        Raises CacheError if the folder can be neither read nor written: go on without the cache.
        """
        space = Space(self.folder / "features" / fingerprint, description)
        self._spaces.append(space)
        return space


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
        created = _read_note(self.folder).get("created", now)
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

        def copy(transaction: Any) -> list[bytes | None]:
            values = ((key, transaction.get(key)) for key in keys)
            return [
                bytes(value[CHECKSUM.size :])
                if value is not None and is_whole(key, value)
                else None
                for key, value in values
            ]

        return self._read(copy, [None] * len(keys))

    def get_into(self, keys: Sequence[bytes], rows: np.ndarray) -> np.ndarray:
        """Copy the kept values into `rows` (N, bytes) uint8; (N,) bool says which were found.

        Values of another length count as missing. Rows not found are left as they are.
        """
        width = rows.shape[1]

        def copy(transaction: Any) -> np.ndarray:
            present = np.zeros(len(keys), bool)
            for index, key in enumerate(keys):
                value = transaction.get(key)
                if value is None or len(value) != CHECKSUM.size + width or not is_whole(key, value):
                    continue
                rows[index] = np.frombuffer(value, np.uint8, width, CHECKSUM.size)
                present[index] = True
            return present

        return self._read(copy, np.zeros(len(keys), bool))

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
            raise cache_error("write", self.folder, error) from error

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


def _read_note(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads((folder / "space.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
