"""Reading files of which nothing is known: only regular ones, and never without a limit."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")
BLOCK = 2**20  # bytes read at a time
NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # else opening a named pipe waits for a writer
BINARY = getattr(os, "O_BINARY", 0)  # Windows
KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


class Unreadable(OSError):
    """A file that is not to be read: no regular one, or a larger one than asked for."""


@contextmanager
def open_regular(path: Path, most: int) -> Iterator[BinaryIO]:
    """The open file, which is a regular one of at most `most` bytes.

    What it is is asked of the open file, so that nothing can take its place in between.
    Raises Unreadable if it is anything else, OSError if it cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDONLY | NO_WAITING | BINARY)
    except ValueError as error:  # a zero in the name, as a table may have it
        raise Unreadable(errno.EINVAL, "not the name of a file") from error
    try:
        _check(os.fstat(handle), most)
    except BaseException:
        os.close(handle)
        raise
    with os.fdopen(handle, "rb", buffering=0) as file:
        yield file


def _check(status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise Unreadable(errno.EINVAL, f"not a regular file but {kind}")
    if status.st_size > most:
        raise too_large(most)


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file. Raises as `open_regular` does."""
    with open_regular(path, most) as file:
        return b"".join(_blocks(file, most))


def digest_regular(path: Path, most: int, update: Callable[[bytes], object]) -> None:
    """Hand a regular file's bytes to `update`, some at a time. Raises as `open_regular` does."""
    with open_regular(path, most) as file:
        for block in _blocks(file, most):
            update(block)


def _blocks(file: BinaryIO, most: int) -> Iterator[bytes]:
    """All there is, up to the limit: some files grow, some of the system's have no end."""
    taken = 0
    while block := file.read(BLOCK):
        taken += len(block)
        if taken > most:
            raise too_large(most)
        yield block


def too_large(most: int) -> Unreadable:
    """The error for a file of more bytes than are taken."""
    return Unreadable(errno.EFBIG, f"larger than {most // 2**20:,} MB")
