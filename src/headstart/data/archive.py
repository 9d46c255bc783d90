"""Zip and tar archives: unpacked once into the cache folder, safely, and read from there."""

import hashlib
import json
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from headstart.errors import DatasetError
from headstart.system.lock import Hold, make_and_hold
from headstart.system.places import cache_folder

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_BYTES = 500 * 2**20  # of one member: no image file is larger
MOST_RATIO = 200  # of unpacked to packed bytes, in all
CONTENT = "content"  # the folder of the archive's files, beside the note that names the archive
NOTE = "archive.json"
BY_HAND = "Unpack it by hand and give the folder"


def is_archive(path: Path) -> bool:
    """Whether the name says so; what is inside is seen when it is opened."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def unpack(path: Path) -> tuple[Path, Hold | None]:
    """The folder with the archive's files, unpacked on first use; it stays while the hold lives.

    The hold is None where the cache folder's file system has no locks.
    Raises DatasetError for a damaged archive, one that would fill the disk, or one with a member
    that is too large; CacheError if the cache folder cannot be written.
    """
    status = path.stat()
    # "2" is the way an unpacked archive lies in its folder.
    identity = f"2 {path.resolve()} {status.st_size} {status.st_mtime_ns}"
    name = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:24]
    target = cache_folder() / "archives" / name

    def make(folder: Path) -> None:
        (folder / CONTENT).mkdir()
        try:
            _unpack(path, folder / CONTENT)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError,
                NotImplementedError, RuntimeError) as error:  # fmt: skip
            raise DatasetError(
                f"cannot unpack {path}: expected a whole zip or tar archive without a password, "
                f"found: {error}. {BY_HAND}"
            ) from error
        note = {"source": str(path.resolve())}
        (folder / NOTE).write_text(json.dumps(note), encoding="ascii")

    hold = make_and_hold(target, NOTE, make)
    return target / CONTENT, hold


def _unpack(path: Path, folder: Path) -> None:
    room = shutil.disk_usage(folder).free // 2
    room = min(room, max(2**30, MOST_RATIO * path.stat().st_size))
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                room = _take(member.filename, member.file_size, room)
                if not member.is_dir() and not _outside(member.filename):
                    archive.extract(member, folder)
        return
    with tarfile.open(path) as archive:
        for entry in archive:
            room = _take(entry.name, entry.size, room)
            content = archive.extractfile(entry) if entry.isfile() else None
            if content is not None and not _outside(entry.name):
                target = folder / entry.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)


def _take(name: str, size: int, room: int) -> int:
    if size > MOST_BYTES:
        raise ValueError(f"{name} has {size:,} bytes, at most {MOST_BYTES:,} are taken")
    if size > room:
        raise ValueError(
            f"{name} would not fit, with at most {room:,} bytes left for unpacking (half of the "
            f"disk's room, {MOST_RATIO} times the archive's size). To make room, type: "
            "headstart cache prune --max-mb 1000"
        )
    return room - size


def _outside(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts
