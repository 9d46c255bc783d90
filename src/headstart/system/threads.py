"""Work ahead in threads, results in order, never more than a few in memory; and how many threads
the linear algebra takes.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

SMALL = 2**22  # numbers of a matrix up to which linear algebra is quicker, or hardly slower, alone
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


@contextmanager
def algebra_for(numbers: int) -> Iterator[None]:
    """Linear algebra in one thread where a matrix has so few numbers: threads that wait for each
    other at every step take ten times as long as soon as anything else runs on the computer.
    """
    if numbers > SMALL:
        yield
        return
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _libraries() -> Any:
    """Those of linear algebra in this process, looked for once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
