"""Large arrays that lie in a file: room is claimed first, and memory let go of after use."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.array_utils import byte_bounds

from headstart.system.atomic import cannot_write

AT_ONCE = 64  # rows of a file, far from each other, that are read before others are let go of
ZEROS = 2**22  # bytes written at a time where the system cannot claim room


def allocate_in_file(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array of zeros in a file without a name, gone with the array.

    Raises StorageError if the disk has no room for it: a file that has not got all of its blocks
    would end the process where one is missing.
    """
    size = 4 * int(np.prod(shape, dtype=np.int64))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for start in range(0, size, ZEROS):
                    file.write(bytes(min(ZEROS, size - start)))
                file.flush()
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        raise cannot_write(folder / "features", size, error) from error


def iterate_blocks(values: np.ndarray, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Some rows after the other, with their numbers; memory is let go of after each."""
    for start in range(0, len(values), size):
        rows = slice(start, min(start + size, len(values)))
        yield rows, values[rows]
        release(values[rows])


def take_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A copy of some rows, by their numbers. Each that is read of a file brings many around it into
    memory: they are let go of meanwhile.
    """
    result = np.empty((len(rows), *values.shape[1:]), values.dtype)
    for start in range(0, len(rows), AT_ONCE):
        result[start : start + AT_ONCE] = values[rows[start : start + AT_ONCE]]
        release(values)
    return result


def release(values: np.ndarray) -> None:
    """Let go of the memory of rows that lie in a file: asked for again, they are read again.

    Of rows in memory alone it does nothing.
    """
    file = getattr(values, "_mmap", None)  # numpy gives no other way to it
    if not isinstance(file, mmap.mmap) or not hasattr(file, "madvise") or not values.size:
        return
    origin = np.frombuffer(file, np.uint8, 1).__array_interface__["data"][0]
    first, last = (int(place) - origin for place in byte_bounds(values))  # also of every tenth row
    start = first // mmap.PAGESIZE * mmap.PAGESIZE
    file.madvise(mmap.MADV_DONTNEED, start, last - start)
