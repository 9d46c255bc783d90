"""Work ahead in threads, results in order, never more than a few in memory; and how many threads
the linear algebra takes.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

SMALL = 2**22  # numbers of a matrix up to which linear algebra is quicker, or hardly slower, alone
_most = 0  # processors, where there is a limit
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


def limit_cores(most: int) -> None:
    """From now on this process uses so many processors at most, of those that it may use."""
    global _most
    _most = most


def cores() -> int:
    """Processors this process may use."""
    return min(_count_cores(), _most) if _most else _count_cores()


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def algebra_for(numbers: int) -> Iterator[bool]:
    """Linear algebra in one thread where a matrix has so few numbers: threads that wait for each
    other at every step take ten times as long as soon as anything else runs on the computer.

    Gives whether it is in one.
    """
    if numbers > SMALL:
        yield False
        return
    _ALONE.enter()
    try:
        yield True
    finally:
        _ALONE.leave()


class _Alone:
    """The number of threads is the process's: the first who enters sets it to one, the last who
    leaves sets it back.
    """

    def __init__(self) -> None:
        self.lock, self.inside = Lock(), 0
        self.libraries: Any = None  # of linear algebra, looked for once
        self.limit: Any = None

    def enter(self) -> None:
        with self.lock:
            if not self.inside:
                if self.libraries is None:
                    from threadpoolctl import ThreadpoolController

                    self.libraries = ThreadpoolController()
                self.limit = self.libraries.limit(limits=1, user_api="blas")
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.limit.restore_original_limits()


_ALONE = _Alone()
