"""A folder that is watched: images as they come, each once, and only when they are complete."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from headstart.data.item import Item, to_printable
from headstart.data.source import walk
from headstart.predictions.once import hash_name

LOOKS = 1.0  # seconds between two looks, or as long as a look takes
STILL = 2.0  # seconds for which a complete file has not changed
BATCH = 1000  # images that are handed over at once
PARTIAL = {".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp"}


def watch(
    folder: Path,
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Iterator[list[Item]]:
    """Images of a folder and those below, as they come; a list, perhaps an empty one, each look.

    A file counts as complete when it has not changed for STILL seconds, by its own time or, where
    that is ahead of ours, between looks. Ends never. Raises DatasetError if the folder cannot be
    listed.
    """
    seen: set[int] = set()
    changing: dict[int, tuple[tuple[int, int], float]] = {}  # size and time, since when
    while True:
        began, still_changing, ready = clock(), {}, []
        for path in walk(folder):
            key = hash_name(to_printable(str(path)))
            if key in seen or path.suffix.lower() in PARTIAL:
                continue
            try:
                status = path.stat()
            except OSError:
                continue  # gone again
            state = status.st_size, status.st_mtime_ns
            before, since = changing.get(key, (state, began))
            since = since if before == state else began
            if max(began - status.st_mtime, began - since) < STILL:
                still_changing[key] = state, since
                continue
            seen.add(key)
            ready.append(Item(path, to_printable(str(path))))
            if len(ready) == BATCH:
                yield ready
                ready = []
        changing = still_changing
        yield ready
        sleep(max(LOOKS, clock() - began))
