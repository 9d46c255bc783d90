"""All that lies in the cache folder: listed, checked, removed.

An entry is what can be removed alone: the folder of an extractor's features, an extractor, an
unpacked archive, a job's files of features, the outcome of a search, an address, a file of weights.
All but weights are made again when they are needed. Weights need a network, or a person who brings
them: they go only when everything is to go.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.backbones.download import fits, known_files
from headstart.errors import CacheError
from headstart.features.cache import count_damaged, count_vectors
from headstart.features.graph import read
from headstart.system.atomic import identity, is_temporary
from headstart.system.digest import is_sealed
from headstart.system.json import loads
from headstart.system.lock import LOCK, remove
from headstart.system.places import KINDS, cache_folder

DAY = 86400  # seconds
NOTES = {"features": "space.json", "extractors": "extractor.json", "archives": "archive.json"}


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache folder.

    name: path below the cache folder: `features/<fingerprint>`, `weights/<file>` and the like.
    description: what is known of it: an extractor's words, an archive's source, the backbone that
    weights are for. vectors: how many features; 0 if they cannot be read, and for other kinds.
    bytes: on disk. created, last_used: seconds since 1970.
    """

    name: str
    description: dict[str, Any]
    vectors: int
    bytes: int
    created: float
    last_used: float

    @property
    def kind(self) -> str:
        """One of places.KINDS."""
        return self.name.partition("/")[0]


def list_entries(folder: Path | None = None) -> list[CacheEntry]:
    """What is in a cache folder (the user's, if not given), the most recently used first."""
    folder = folder or cache_folder()
    entries = []
    for path in _paths(folder):
        with suppress(FileNotFoundError):  # removed by another process in this very moment
            entries.append(_describe(path))
    return sorted(entries, key=lambda entry: -entry.last_used)


def measure_usage(folder: Path | None = None) -> int:
    """Bytes on disk of all that is in a cache folder, unfinished and unknown things included."""
    return sum(map(_blocks, _walk(folder or cache_folder())))


def verify(folder: Path | None = None) -> dict[str, str]:
    """Read all there is: what is wrong with each entry by name, "" where nothing is.

    Features are held against their checksums, weights against that which Keras publishes. Of the
    rest it is known only whether it can be read.
    """
    folder = folder or cache_folder()
    checks: dict[str, Callable[[Path], str]] = {
        "features": _check_features,
        "extractors": _check_extractor,
        "archives": _check_archive,
        "files": _check_readable,
        "selections": _check_sealed,
        "addresses": _check_json,
        "weights": _check_weights,
    }
    problems = {}
    for path in _paths(folder):
        before = identity(path)
        try:
            with _without_trace(path):
                problem = checks[path.parent.name](path)
        except (OSError, ValueError, RuntimeError) as error:  # OpenVINO's are RuntimeErrors
            problem = f"cannot be read ({str(error).strip().splitlines()[-1]})"
        # What another process removes or replaces meanwhile is not damaged.
        if path.is_symlink() or before == identity(path) is not None:
            problems[_name(path)] = problem
    return problems


def prune(
    folder: Path | None = None,
    *,
    max_bytes: float | None = None,
    older_than: float | None = None,
    everything: bool = False,
) -> list[CacheEntry]:
    """Remove what was not used for `older_than` days, then the least recently used until at most
    `max_bytes` are left; or `everything`. What a running process uses stays.

    Weights count but stay, unless `everything` is to go. Returns what was removed.
    Raises CacheError for a limit that is negative or no number.
    """
    _check_limit(older_than, "--older-than", "days", "30")
    _check_limit(None if max_bytes is None else max_bytes / 1e6, "--max-mb", "megabytes", "2000")
    folder, now, removed = folder or cache_folder(), time.time(), []
    entries = list_entries(folder)
    left = sum(entry.bytes for entry in entries)
    for entry in reversed(entries):
        too_old = older_than is not None and now - entry.last_used > older_than * DAY
        too_much = max_bytes is not None and left > max_bytes
        goes = everything or ((too_old or too_much) and entry.kind != "weights")
        if goes and remove(folder / entry.name):
            left -= entry.bytes
            removed.append(entry)
    for path in _paths(folder, unfinished=True):
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > DAY:  # of a process killed long ago
                remove(path)
    return removed


def _check_limit(limit: float | None, option: str, unit: str, example: str) -> None:
    if limit is not None and not (math.isfinite(limit) and limit >= 0):
        raise CacheError(
            f"expected a number of {unit}, 0 or more, found {limit:g}. "
            f"Type: headstart cache prune {option} {example}. To remove everything: --all"
        )


def _paths(folder: Path, *, unfinished: bool = False) -> list[Path]:
    """Every entry; or what is being made, or was left over when a process was killed."""
    paths: list[Path] = []
    for kind in KINDS:
        with suppress(OSError):
            paths += (folder / kind).iterdir()
    if unfinished:  # shards too, which are written inside their entry
        paths += (folder / "features").glob("*/.*")
    return sorted(
        path
        for path in paths
        if _is_unfinished(path) is unfinished and (unfinished or not path.name.startswith("."))
    )


def _is_unfinished(path: Path) -> bool:
    part_of_download = path.parent.name == "weights" and path.name.endswith((".part", ".part.etag"))
    return is_temporary(path) or part_of_download


def _describe(path: Path) -> CacheEntry:
    made = path.stat().st_mtime
    kind, note = path.parent.name, _read_note(path)
    parts = list(_walk(path))
    if kind == "weights":
        backbone, _ = known_files(path.parents[1]).get(path.name, (None, None))
        note = {"description": {"backbone": backbone} if backbone else {}}
    return CacheEntry(
        name=_name(path),
        description=note.get("description", {}) if kind in ("features", "weights") else note,
        vectors=count_vectors(path) if kind == "features" else 0,
        bytes=sum(map(_blocks, parts)),
        created=note.get("created", made),
        last_used=note.get("last_used", _find_last_use(path)),
    )


def _find_last_use(path: Path) -> float:
    """Seconds since 1970, for what has no note of it."""
    with suppress(OSError):
        return (path / LOCK).stat().st_mtime  # touched by each who opens it
    if path.parent.name == "addresses":  # read by us, to tell what weights are for
        return path.stat().st_mtime
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    times = [file.stat() for file in files if file.name not in NOTES.values()]
    # Whoever uses a thing reads it: most systems note that, once a day at least.
    return max((max(t.st_atime, t.st_mtime) for t in times), default=path.stat().st_mtime)


@contextmanager
def _without_trace(path: Path) -> Iterator[None]:
    """Reading a file within the block does not make it one that was used just now."""
    before = path.stat()
    yield
    if path.is_file():
        with suppress(OSError):
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _read_note(path: Path) -> dict[str, Any]:
    """What lies beside the content to describe it; nothing if there is none or it is damaged."""
    try:
        note = json.loads((path / NOTES[path.parent.name]).read_text(encoding="utf-8"))
    except (KeyError, OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _walk(path: Path) -> Iterator[os.stat_result]:
    """Of a file or folder and all below it; links are not followed."""
    paths = [str(path)]
    for folder, folders, files in os.walk(path):
        paths += [os.path.join(folder, name) for name in (*folders, *files)]
    for part in paths:
        with suppress(FileNotFoundError):
            yield os.lstat(part)


def _blocks(status: os.stat_result) -> int:
    """Bytes on disk, as `du` counts them."""
    return int(getattr(status, "st_blocks", -(-status.st_size // 512))) * 512


def _check_features(path: Path) -> str:
    damaged = count_damaged(path)
    return f"{damaged} damaged files" if damaged else ""


def _check_extractor(path: Path) -> str:
    read(path)
    return ""


def _check_archive(path: Path) -> str:
    return _check_sealed(path / NOTES["archives"]) or _check_readable(path)


def _check_sealed(path: Path) -> str:
    return "" if is_sealed(loads(path.read_bytes())) else "not what was written"


def _check_json(path: Path) -> str:
    loads(path.read_bytes())
    return ""


def _check_readable(path: Path) -> str:
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    for file in files:
        with file.open("rb") as content:
            while content.read(2**20):
                pass
    return ""


def _check_weights(path: Path) -> str:
    _, checksum = known_files(path.parents[1]).get(path.name, (None, None))
    if checksum is None or path.is_dir():
        return _check_readable(path)
    return "" if fits(path, checksum) else f"expected {checksum}, found another file"
