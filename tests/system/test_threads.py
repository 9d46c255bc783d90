"""Working ahead: in order, bounded, and honest about errors."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from headstart.system.threads import SMALL, algebra_for, map_ahead


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


def algebra_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info()
            if library["user_api"] == "blas"]  # fmt: skip


def test_linear_algebra_of_small_matrices_has_one_thread() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    before = algebra_threads()
    assert before
    with algebra_for(SMALL):
        assert set(algebra_threads()) == {1}
    assert algebra_threads() == before
    with algebra_for(SMALL + 1):
        assert algebra_threads() == before


def test_who_leaves_first_does_not_set_the_threads_of_who_is_still_inside() -> None:
    before = algebra_threads()
    first, second = algebra_for(1), algebra_for(1)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(algebra_threads()) == {1}
    second.__exit__(None, None, None)
    assert algebra_threads() == before
