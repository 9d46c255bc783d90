"""Work ahead in threads, results in order, never more than a few in memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

DEPTH = 48  # tasks under way or waiting: enough to ride out one slow image


def map_ahead(
    pool: Executor, function: Callable[[T], R], tasks: Iterable[T], depth: int = DEPTH
) -> Iterator[R]:
    """`function(task)` for each task, computed in `pool`, given in the order of the tasks.

    At most `depth` tasks are under way or done and not yet taken. An exception is raised where
    its result would stand; tasks not yet begun are then dropped.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for task in tasks:
            if len(waiting) >= depth:
                yield waiting.popleft().result()
            waiting.append(pool.submit(function, task))
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
