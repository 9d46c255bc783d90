"""The feature cache: what the frozen extractor said of an image, kept.

One space (a folder) for each extractor fingerprint: `space.json`, which says in words what the
numbers are, and shards, files of some hundred feature vectors each. A shard appears whole under its
name and is never changed: a killed writer loses what it had not handed over, any number of
processes may read and write at once, on a network folder too, and what is damaged is missing and
computed again. Every vector stands behind a checksum with its key, which is image content and view.
`housekeeping` counts and removes what is kept.
"""

import hashlib
import json
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import CacheError, StorageError
from headstart.system.atomic import cannot_write, write_atomically
from headstart.system.lock import Hold
from headstart.system.memory import release
from headstart.system.places import cache_folder

SUFFIX = ".features"
MAGIC = b"hs-feat1"
HEADER = struct.Struct("<8sIII")  # magic, vectors, bytes of one, checksum of the index
ENTRY = struct.Struct("<24sI")  # of the index: key, checksum of key and vector
ADVICE = "or set HEADSTART_CACHE to another folder"
OLD = ("data.mdb", "lock.mdb")  # how features were kept before shards


class Damaged(Exception):
    """A shard that is not what was written."""


class Space:
    """The features of one extractor as one processor computes them. Thread-safe.

    folder: of this extractor. canary: its features of one fixed image. Another processor or library
    may give other numbers under the same description: what it kept lies beside ours, and neither
    sees the other's. warn: is told what is found amiss.
    Raises CacheError if the folder cannot be used: go on without the cache.
    """

    def __init__(
        self,
        folder: Path,
        description: Mapping[str, Any],
        canary: np.ndarray,
        warn: Callable[[str], None],
    ) -> None:
        self.folder, self.warn = folder, warn
        self.sign = hashlib.blake2b(canary.tobytes(), digest_size=4).hexdigest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cache_error(cannot_write(folder, 0, error)) from error
        self._hold = None
        with suppress(OSError):  # a file system without locks: nothing keeps others from removing
            self._hold = Hold(folder)
        for name in OLD:
            with suppress(OSError):
                (folder / name).unlink()
        now = time.time()
        created = _read_note(folder).get("created", now)
        note = {"created": created, "last_used": now, "description": dict(description)}
        with suppress(OSError):  # read-only or full: only this use goes unrecorded
            write_atomically(folder / "space.json", json.dumps(note, indent=1).encode())
        if list_shards(folder) and not list_shards(folder, self.sign):
            warn(
                "this processor or library gives other numbers than those that are kept: they are "
                "computed again and kept beside them"
            )

    def get_into(self, keys: Sequence[bytes], rows: np.ndarray) -> np.ndarray:
        """Copy the kept vectors into `rows` (N, D) float32; (N,) bool says which were found.

        Rows that were not found may hold anything.
        """
        wanted: dict[bytes, int] = {}
        first = [wanted.setdefault(key, place) for place, key in enumerate(keys)]
        found = np.zeros(len(keys), bool)
        damaged = 0
        for shard in list_shards(self.folder, self.sign):
            try:
                with shard.open("rb", buffering=0) as file:
                    for key, place in _copy_wanted(file, wanted, rows):
                        found[place] = True
                        del wanted[key]
                release(rows)
            except OSError:  # removed by another process, or not to be read now: it may be whole
                continue
            except Damaged:
                damaged += 1
                with suppress(OSError):
                    shard.unlink()
        for place, before in enumerate(first):
            if place != before and found[before]:  # the same image again
                rows[place], found[place] = rows[before], True
        if damaged:
            self.warn(f"{damaged} damaged files of kept features: they are computed again")
        return found

    def list_keys(self) -> set[bytes]:
        """Of all vectors that are kept; none of damaged shards."""
        keys: set[bytes] = set()
        for shard in list_shards(self.folder, self.sign):
            with suppress(Damaged, OSError), shard.open("rb", buffering=0) as file:
                keys |= {key for key, _ in ENTRY.iter_unpack(_read_index(file)[2])}
        return keys

    def put(self, keys: Sequence[bytes], values: np.ndarray) -> None:
        """Keep vectors (N, D) float32 in one shard; on return they are on disk.

        Raises CacheError if they cannot be kept (disk full, read-only): what was kept before
        stays, and the caller goes on without keeping.
        """
        rows = np.ascontiguousarray(values, np.float32)
        index = b"".join(
            ENTRY.pack(key, _checksum(key, row)) for key, row in zip(keys, rows, strict=True)
        )
        header = HEADER.pack(MAGIC, len(rows), rows.itemsize * rows.shape[1], zlib.crc32(index))
        shard = self.folder / f"{self.sign}-{secrets.token_hex(8)}{SUFFIX}"
        try:
            write_atomically(shard, header + index + rows.tobytes())
        except StorageError as error:
            raise _cache_error(error) from error


def open_space(
    fingerprint: str, description: Mapping[str, Any], canary: np.ndarray,
    warn: Callable[[str], None], folder: Path | None = None,
) -> Space:  # fmt: skip
    """The space of one extractor in `folder` (by default the user's cache folder), made if new."""
    root = folder or cache_folder()
    return Space(root / "features" / fingerprint, description, canary, warn)


def list_shards(folder: Path, sign: str = "") -> list[Path]:
    """The shards in a space, or those of one processor's numbers."""
    return sorted(folder.glob(f"{sign}*{SUFFIX}"))


def count_vectors(folder: Path) -> int:
    """How many vectors a space holds, whoever's numbers they are; damaged shards hold none."""
    total = 0
    for shard in list_shards(folder):
        with suppress(Damaged, OSError), shard.open("rb", buffering=0) as file:
            total += _read_header(file)[0]
    return total


def count_damaged(folder: Path) -> int:
    """How many shards of a space are damaged, after reading them all."""
    total = 0
    for shard in list_shards(folder):
        with suppress(FileNotFoundError), shard.open("rb", buffering=0) as file:
            try:
                _, width, index = _read_index(file)
                for key, checksum in ENTRY.iter_unpack(index):
                    if _checksum(key, file.read(width)) != checksum:
                        raise Damaged
            except Damaged:
                total += 1
    return total


def _copy_wanted(
    file: FileIO, wanted: Mapping[bytes, int], rows: np.ndarray
) -> Iterator[tuple[bytes, int]]:
    """Copy what a shard has of the wanted keys into their rows, and give each key with its row."""
    _, width, index = _read_index(file)
    if width != rows.itemsize * rows.shape[1]:
        return
    start = HEADER.size + len(index)
    for number, (key, checksum) in enumerate(ENTRY.iter_unpack(index)):
        place = wanted.get(key)
        if place is None:
            continue
        file.seek(start + number * width)
        row = rows[place]
        if file.readinto(memoryview(row).cast("B")) != width or _checksum(key, row) != checksum:
            raise Damaged
        yield key, place


def _read_header(file: FileIO) -> tuple[int, int, int]:
    head = file.read(HEADER.size)
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise Damaged
    _, count, width, checksum = HEADER.unpack(head)
    return count, width, checksum


def _read_index(file: FileIO) -> tuple[int, int, bytes]:
    count, width, checksum = _read_header(file)
    index = file.read(count * ENTRY.size)
    if len(index) != count * ENTRY.size or zlib.crc32(index) != checksum:
        raise Damaged
    return count, width, index


def _checksum(key: bytes, vector: Any) -> int:
    return zlib.crc32(vector, zlib.crc32(key))


def _cache_error(error: StorageError) -> CacheError:
    return CacheError(f"{error}, {ADVICE}")


def _read_note(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads((folder / "space.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
