"""The way down the stages, on probabilities written by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from headstart.system.progress import Recorder
from headstart.tuning.boundaries import Boundary
from headstart.tuning.descent import Descent, Trial, descend, repeat_stages
from headstart.tuning.judge import Stage
from headstart.tuning.upper import State

LABELS = np.arange(30) % 2
PLAN = (Boundary("one", 2), Boundary("two", 4), Boundary("three", 7))


def state(number: float) -> State:
    """A network that is one number."""
    return State((np.array([number]),), (np.zeros((1, 2)), np.zeros(2)))


def number(of: State) -> float:
    return float(of.base[0][0])


def sure(of_own: float) -> np.ndarray:
    """(J, 2) probabilities that give each image's own class so much; a few are unsure, so that no
    temperature makes them surer."""
    probabilities = np.where(np.eye(2)[LABELS] == 1, of_own, 1 - of_own)
    wrong = round((1 - of_own) * len(LABELS))
    probabilities[:wrong] = probabilities[:wrong, ::-1]
    return probabilities


def trial(of_own: float, unseen: float | None = None) -> Trial:
    return Trial(
        state=state(of_own), judging=sure(of_own),
        unseen=sure(of_own if unseen is None else unseen),
        epochs=2, seconds=0.1, history={"loss": [of_own]}, activations=np.array([of_own]),
    )  # fmt: skip


def go_down(
    trials: Sequence[Trial | BaseException], before: float = 0.6, steps: int = 99
) -> tuple[Descent, list[float], Recorder]:
    """The descent, the networks that the stages began from, and what was said."""
    begun: list[float] = []
    progress = Recorder()

    def try_stage(state: State, boundary: Boundary) -> Trial:
        result = trials[[one.layer for one in PLAN].index(boundary.layer)]
        begun.append(number(state))
        if isinstance(result, BaseException):
            raise result
        return result

    descent = descend(
        PLAN, state(0), sure(before), LABELS, try_stage, over=lambda: len(begun) >= steps,
        progress=progress,
    )  # fmt: skip
    return descent, begun, progress


def test_each_stage_begins_from_those_before_that_paid() -> None:
    # The second stage is no better than the first: it is undone.
    descent, begun, _ = go_down([trial(0.8), trial(0.8), trial(0.9)])
    assert begun == [0, 0.8, 0.8]
    assert [stage.kept for stage in descent.stages] == [True, False, True]
    assert [stage.boundary for stage in descent.kept] == ["one", "three"]
    assert number(descent.state) == 0.9
    assert descent.activations == pytest.approx(0.9)
    assert descent.untried == ()
    assert descent.history == {"loss": [0.8, 0.8, 0.9]}


def test_the_verdict_is_of_the_network_that_stands() -> None:
    descent, _, _ = go_down([trial(0.8, unseen=0.7), trial(0.8, unseen=0.9), trial(0.8)])
    assert descent.unseen == pytest.approx(sure(0.7), abs=0.02)
    assert number(descent.state) == 0.8


def test_what_stands_is_calibrated_by_the_judging_images() -> None:
    unsure = replace(trial(0.8), judging=np.where(np.eye(2)[LABELS] == 1, 0.8, 0.2))
    descent, _, _ = go_down([unsure, unsure, unsure], before=0.6)  # all are right: surer is better
    assert descent.state.temperature == pytest.approx(np.log(4) / np.log(31), abs=0.001)
    assert descent.judging.max(axis=1) == pytest.approx(31 / 32, abs=0.001)  # 30 images, all right
    assert descent.unseen is not None
    assert descent.unseen.max(axis=1) == pytest.approx(31 / 32, abs=0.001)


def test_a_stage_that_diverged_is_passed_over() -> None:
    nothing = replace(trial(0.8), judging=np.full((30, 2), np.nan), unseen=np.full((30, 2), np.nan))
    descent, begun, _ = go_down([nothing, trial(0.9), nothing])
    assert [stage.kept for stage in descent.stages] == [False, True, False]
    assert begun == [0, 0, 0.9]
    assert descent.unseen is not None
    assert np.isfinite(descent.unseen).all()
    alone, _, _ = go_down([nothing, nothing, nothing])
    assert alone.unseen is None
    assert number(alone.state) == 0


def test_a_stage_that_plainly_loses_ends_the_way_down() -> None:
    descent, begun, _ = go_down([trial(0.55), trial(0.9), trial(0.9)], before=0.9)
    assert len(begun) == len(descent.stages) == 1
    assert descent.untried == ("two", "three")
    assert descent.unseen is None


def test_without_time_no_further_stage_is_begun() -> None:
    descent, begun, _ = go_down([trial(0.8), trial(0.9), trial(0.9)], steps=1)
    assert len(begun) == 1
    assert descent.untried == ("two", "three")
    assert number(descent.state) == 0.8


def test_a_stopped_stage_leaves_those_before_it() -> None:
    descent, _, progress = go_down([trial(0.8), KeyboardInterrupt(), trial(0.9)])
    assert number(descent.state) == 0.8
    assert descent.untried == ("two", "three")
    assert descent.history == {"loss": [0.8]}
    assert progress.warnings == ["the tuning is stopped: going on with the stages before"]


def test_the_stages_that_paid_are_repeated_in_their_order() -> None:
    descent, _, progress = go_down([trial(0.8), trial(0.8), trial(0.9)])
    descent = replace(descent, state=replace(descent.state, temperature=0.5))
    repeated: list[tuple[float, str]] = []

    def train(before: State, stage: Stage) -> State:
        repeated.append((number(before), stage.boundary))
        return state(number(before) + 1)

    again = repeat_stages(descent, state(10), train, progress)
    assert repeated == [(10, "one"), (11, "three")]
    assert number(again) == 12
    assert again.temperature == 0.5


def test_what_stops_the_repetition_leaves_the_network_of_the_verdict() -> None:
    descent, _, progress = go_down([trial(0.8), trial(0.8), trial(0.9)])

    def train(before: State, stage: Stage) -> State:
        if stage.boundary == "three":
            raise KeyboardInterrupt
        return state(10)

    assert repeat_stages(descent, state(10), train, progress) is descent.state
    assert "three fifths" in progress.warnings[-1]
