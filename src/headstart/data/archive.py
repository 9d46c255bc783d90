"""Zip and tar archives: unpacked once into the cache folder, safely, and read from there."""

import hashlib
import json
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from headstart.errors import DatasetError
from headstart.images.size import MOST_FILE
from headstart.system.atomic import FULL
from headstart.system.digest import is_sealed, seal
from headstart.system.json import loads
from headstart.system.lock import Hold, read_and_hold
from headstart.system.places import cache_folder

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_RATIO = 200  # of unpacked to packed bytes, in all
CONTENT = "content"  # the folder of the archive's files, beside the note that names the archive
NOTE = "archive.json"
BY_HAND = "Unpack it by hand and give the folder"


def is_archive(path: Path) -> bool:
    """Whether the name says so; what is inside is seen when it is opened."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


@dataclass(frozen=True)
class Unpacked:
    """The files of an archive, which stay in `folder` while the hold lives.

    hold: None where the cache folder's file system has no locks. left_out: names of members that
    are neither files nor folders within, such as devices and links that lead outside.
    again: whether what had been unpacked before was damaged.
    """

    folder: Path
    hold: Hold | None
    left_out: tuple[str, ...] = ()
    again: bool = False


def unpack(path: Path) -> Unpacked:
    """The archive's files, unpacked on first use.

    Raises DatasetError for a damaged archive, one that would fill the disk, or one with a member
    that is too large; CacheError if the cache folder cannot be written.
    """
    status = path.stat()

    def fill(folder: Path) -> list[str]:
        try:
            left_out = _unpack(path, folder)
            now = path.stat()
            if (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                raise ValueError("one that changed while it was read")
        except Exception as error:  # damaged in whatever way
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            raise DatasetError(
                f"cannot unpack {path}: expected a whole zip or tar archive without a password, "
                f"found: {' '.join(str(error).split())}. {BY_HAND}"
            ) from error
        return left_out

    # "4" is the way an unpacked archive lies in its folder.
    return keep_unpacked(f"4 {describe_state(path)}", str(path.resolve()), fill)


def describe_state(path: Path) -> str:
    """By what it is known that a file has not changed: its place, size and time."""
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def keep_unpacked(identity: str, source: str, fill: Callable[[Path], list[str]]) -> Unpacked:
    """Files in the cache folder, written on first use and then read from there.

    identity: what decides them. source: whose they are, for who looks into the cache. fill: writes
    them into the folder that it is given, and returns what it had to leave out.
    Raises CacheError if the cache folder cannot be written, and what `fill` raises.
    """
    name = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:24]
    target = cache_folder() / "archives" / name

    def make(folder: Path) -> None:
        (folder / CONTENT).mkdir()
        left_out = fill(folder / CONTENT)
        note = {"source": source, "left_out": left_out, **_measure(folder / CONTENT)}
        (folder / NOTE).write_text(json.dumps(seal(note)), encoding="ascii")

    held = read_and_hold(target, NOTE, make, read_note)
    return Unpacked(target / CONTENT, held.hold, tuple(held.content["left_out"]), held.again)


def is_kept(content: Path) -> bool:
    """Whether a folder is one that `keep_unpacked` gave."""
    return content.name == CONTENT and (content.parent / NOTE).is_file()


def reopen(content: Path) -> Unpacked:
    """What `keep_unpacked` gave, held again."""
    try:
        return Unpacked(content, Hold(content.parent))
    except OSError:  # a file system without locks
        return Unpacked(content, None)


def read_note(folder: Path) -> dict[str, Any]:
    """What is known of an unpacked archive. Raises OSError or ValueError if it is not whole: the
    note is damaged, or files are gone or have other lengths.
    """
    note = loads((folder / NOTE).read_bytes())
    if not is_sealed(note):
        raise ValueError(f"a damaged {NOTE}")
    measured = _measure(folder / CONTENT)
    if any(note[name] != value for name, value in measured.items()):
        raise ValueError("unpacked files that are gone or changed")
    return dict(note)


def _measure(folder: Path) -> dict[str, int]:
    """How many files there are, and how many bytes in all."""
    sizes = [os.lstat(os.path.join(place, name)).st_size
             for place, _, names in os.walk(folder) for name in names]  # fmt: skip
    return {"files": len(sizes), "bytes": sum(sizes)}


def _unpack(path: Path, folder: Path) -> list[str]:
    """Unpack it to its very end, where the checksums are; the names of what is left out."""
    room = measure_room(folder, path.stat().st_size)
    unpack = _unpack_zip if path.name.lower().endswith(".zip") else _unpack_tar
    return unpack(path, folder, room)


def measure_room(folder: Path, packed: int) -> int:
    """How many bytes may be unpacked into the folder from so many."""
    return min(shutil.disk_usage(folder).free // 2, max(2**30, MOST_RATIO * packed))


def _unpack_zip(path: Path, folder: Path, room: int) -> list[str]:
    left_out = []
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) != (count := _read_zip_count(path)):
            raise ValueError(f"{len(members):,} of its {count:,} members")
        for member in members:
            room = take(member.filename, member.file_size, room)
            if is_outside(member.filename):
                left_out.append(member.filename)
            elif member.is_dir():
                if member.file_size:
                    raise ValueError(f"a folder {member.filename} with content")
            else:
                archive.extract(member, folder)  # held against its checksum
    return left_out


def _read_zip_count(path: Path) -> int:
    """How many members an archive has by its last record, which `zipfile` does not look at.

    Source: APPNOTE.TXT of PKWARE, 4.3.14 and 4.3.16.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**17))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    (count,) = struct.unpack_from("<H", tail, end + 10)
    if count == 0xFFFF and (larger := tail.rfind(b"PK\6\6", 0, end)) >= 0:
        (count,) = struct.unpack_from("<Q", tail, larger + 32)
    return int(count)


class Member(tarfile.TarInfo):
    """A member of a tar archive whose list does not end for being damaged."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            ends_well = type(error).__name__ == "EOFHeaderError"  # which is not published
            if ends_well or not tarfile_.offset:  # or of another format: the next is tried
                raise
            raise ValueError(f"a damaged or missing part at byte {tarfile_.offset:,}") from error


def _unpack_tar(path: Path, folder: Path, room: int) -> list[str]:
    left_out, links = [], []
    with tarfile.open(path, tarinfo=Member) as archive:
        for entry in archive:
            room = take(entry.name, entry.size, room)
            if is_outside(entry.name) or not (entry.isfile() or entry.isdir() or _is_link(entry)):
                left_out.append(entry.name)
            elif _is_link(entry):
                links.append(entry)
            elif content := archive.extractfile(entry):
                target = folder / entry.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
        assert archive.fileobj is not None
        while rest := archive.fileobj.read(2**20):  # whose checksum stands behind it
            room = take("what is behind its end", len(rest), room)
            if rest.count(0) != len(rest):
                raise ValueError("more behind its end, or a part of zeros within")
    for link in links:
        if not _place_link(link, folder):
            left_out.append(link.name)
    return left_out


def _is_link(entry: tarfile.TarInfo) -> bool:
    return entry.islnk() or entry.issym()


def _place_link(link: tarfile.TarInfo, folder: Path) -> bool:
    """A file that is another member once more; False if it is none of them."""
    base = folder if link.islnk() else (folder / link.name).parent
    target = Path(os.path.normpath(base / link.linkname))
    place = folder / link.name
    if not (target.is_relative_to(folder) and target.is_file()) or place.exists():
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    os.link(target, place)
    return True


def take(name: str, size: int, room: int) -> int:
    """The room that is left. Raises ValueError for what is too large, or does not fit."""
    if size > MOST_FILE:
        raise ValueError(f"{name} has {size:,} bytes, at most {MOST_FILE:,} are taken")
    if size > room:
        raise ValueError(
            f"{name} would not fit, with at most {room:,} bytes left for unpacking (half of the "
            f"disk's room, {MOST_RATIO} times the archive's size). To make room, type: "
            "headstart cache prune --max-mb 1000"
        )
    return room - size


def is_outside(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts
