"""Files and folders that appear whole or not at all."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`: whoever reads it finds the old content or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = sibling(path)
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
    temporary = sibling(target)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb+") as handle:  # Windows syncs only what is open for writing
                    os.fsync(handle.fileno())
        if identity(target) == before:
            _take_place(temporary, target, replace=before is not None)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, target: Path, *, replace: bool) -> None:
    old = sibling(target)
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


def is_temporary(path: Path) -> bool:
    """Whether the name is one that this module makes: left over if a process was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def sibling(path: Path) -> Path:
    """A name beside `path` that nobody else takes, and that `is_temporary` knows."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def identity(path: Path) -> tuple[int, int] | None:
    """What stays the same when a file or folder is renamed; None if it is missing."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
