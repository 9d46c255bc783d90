"""Working ahead: in order, bounded, and honest about errors."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from headstart.system.threads import map_ahead


def test_results_come_in_order_however_long_each_takes() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    with ThreadPoolExecutor(4) as pool:
        assert list(map_ahead(pool, slow_first, range(6))) == [0, 1, 4, 9, 16, 25]


def test_no_more_than_depth_are_begun_before_one_is_taken() -> None:
    begun, lock = [], threading.Lock()

    def note(number: int) -> int:
        with lock:
            begun.append(number)
        return number

    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, note, range(100), depth=5)
        assert next(results) == 0
        time.sleep(0.05)
        assert len(begun) <= 6
        assert list(results) == list(range(1, 100))


def test_an_exception_comes_where_its_result_would_stand() -> None:
    def third_fails(number: int) -> int:
        if number == 2:
            raise ValueError("third")
        return number

    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, third_fails, range(5))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="third"):
            next(results)
