"""What a choice flatters, on outcomes that are made up."""

from collections.abc import Sequence

import numpy as np
import pytest

from headstart.metrics.intervals import CROSSED, interval
from headstart.selection.price import judge_choice

CANDIDATES, IMAGES, TRUE = 20, 100, 0.85


def estimates(seed: int, groups: np.ndarray | None = None) -> tuple[float, float]:
    """Of equal candidates the best: its accuracy as measured, and as judged."""
    rng = np.random.default_rng(seed)
    right = (rng.random((CANDIDATES, IMAGES)) < TRUE).astype(float)

    def choose(rows: np.ndarray) -> Sequence[np.ndarray]:
        return [right[right[:, rows].mean(axis=1).argmax()]]

    return float(right.mean(axis=1).max()), judge_choice(choose, IMAGES, groups).accuracy


def test_of_equals_the_best_is_worth_what_all_are() -> None:
    measured, judged = np.array([estimates(seed) for seed in range(40)]).T
    assert measured.mean() > TRUE + 0.05
    error = judged.std(ddof=1) / len(judged) ** 0.5
    assert abs(judged.mean() - TRUE) < 2 * error


def test_without_a_choice_nothing_is_taken_off() -> None:
    right = (np.arange(50) % 5 > 0) * 1.0
    worth = judge_choice(lambda rows: [right], 50, None, right)
    assert (worth.accuracy, worth.default) == (pytest.approx(0.8), 0.8)
    assert worth.interval == interval(40, 50, worth=CROSSED)
    gain = np.where(np.arange(20) % 4 == 0, 1.0, 0.0)  # of the first images alone
    assert judge_choice(lambda rows: [right - 0.5, gain], 50, None).accuracy == pytest.approx(0.55)
    unknown = np.where(np.arange(50) < 25, right, np.nan)
    assert judge_choice(lambda rows: [unknown], 50, None).interval == interval(
        20, 25, worth=CROSSED
    )


def test_whole_groups_are_drawn() -> None:
    groups = np.arange(60) // 3

    def choose(rows: np.ndarray) -> Sequence[np.ndarray]:
        left = set(range(60)) - set(rows.tolist())
        assert {index // 3 for index in left}.isdisjoint({row // 3 for row in rows.tolist()})
        return [np.ones(60)]

    assert judge_choice(choose, 60, groups).accuracy == 1
