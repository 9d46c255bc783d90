"""Threads that decode and predict, behind a queue that has an end.

Images that are quickly decoded never wait for large or unusual ones: these have threads of their
own. Whatever is refused is refused before any work is done on it.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Busy(Exception):
    """There is no room for so many images now, or it was not their turn in time."""


class Job(Generic[T]):
    """A function to be called in a thread, and since when it has been."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.began: float | None = None

    def __call__(self) -> T:
        """In the thread."""
        self.began = time.monotonic()
        return self.function()


class Lane:
    """Some threads, and how many images may be with them, waiting or under way."""

    def __init__(self, name: str, threads: int, most: int) -> None:
        self.most = most
        self.accepted = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def reserve(self, count: int) -> None:
        """Room for so many jobs. Raises Busy where there is none for all."""
        with self._lock:
            if self.accepted + count > self.most:
                raise Busy
            self.accepted += count

    def release(self, count: int = 1) -> None:
        """Give reserved room back."""
        with self._lock:
            self.accepted -= count

    def start(self, job: Job[T]) -> "asyncio.Future[T]":
        """A job for which there is room reserved; it is given back when the job has really come to
        its end, not when somebody stops waiting.
        """
        future = self._pool.submit(job)
        future.add_done_callback(lambda _: self.release())
        return asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what was accepted, and end the threads."""
        self._pool.shutdown()


async def gather(
    jobs: Sequence[tuple[Lane, Job[T]]], late: Callable[[int], T], each: float, deadline: float
) -> list[T]:
    """The results of jobs in the order they were given. late: stands for one that takes more than
    `each` seconds by itself.

    Raises Busy, having dropped those not begun, where there is no room or one has not begun within
    `deadline` seconds.
    """
    counts: dict[Lane, int] = {}
    for lane, _ in jobs:
        counts[lane] = counts.get(lane, 0) + 1
    taken: list[tuple[Lane, int]] = []
    try:
        for lane, count in counts.items():
            lane.reserve(count)
            taken.append((lane, count))
    except Busy:
        for lane, count in taken:
            lane.release(count)
        raise
    futures = [lane.start(job) for lane, job in jobs]
    waiting: set[asyncio.Future[T]] = set(futures)
    end = time.monotonic() + deadline
    try:
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=each)
            now = time.monotonic()
            for (_, job), future in zip(jobs, futures, strict=True):
                if future in waiting and job.began is not None and now - job.began >= each:
                    waiting.discard(future)
            if waiting and now >= end:
                raise Busy
    finally:
        for future in waiting:
            future.cancel()
    return [
        future.result() if future.done() else late(number) for number, future in enumerate(futures)
    ]
