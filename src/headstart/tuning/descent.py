"""The way down: stage after stage from the weights of those before it that paid.

Nothing here trains: whoever does hands in a function from a network's state to a new one.
Letters: J judging images, U unseen images, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from headstart.heads.calibration import apply_temperature, calibrate
from headstart.system.progress import Progress
from headstart.tuning.boundaries import Boundary
from headstart.tuning.judge import Stage, gains, loses_plainly, score
from headstart.tuning.upper import State


@dataclass(frozen=True)
class Trial:
    """What training above one boundary gave.

    judging (J, C), unseen (U, C): probabilities of images that were not trained on, as the network
    gives them. epochs: after how many they are these. history: by epoch, of all that were trained.
    activations: (N, V, ...) at the boundary.
    """

    state: State
    judging: np.ndarray
    unseen: np.ndarray
    epochs: int
    seconds: float
    history: dict[str, list[float]]
    activations: np.ndarray


@dataclass(frozen=True)
class Descent:
    """How far down it paid, so far.

    state: the network with the stages that were kept. judging (J, C): its calibrated probabilities.
    unseen (U, C): likewise, None while it is the linear head. activations: at its lowest boundary.
    """

    plan: tuple[Boundary, ...]
    state: State
    judging: np.ndarray
    unseen: np.ndarray | None = None
    activations: np.ndarray | None = None
    stages: tuple[Stage, ...] = ()
    history: dict[str, list[float]] = field(default_factory=dict)

    @property
    def untried(self) -> tuple[str, ...]:
        """The boundaries of the plan that were not reached."""
        return tuple(boundary.layer for boundary in self.plan[len(self.stages) :])

    @property
    def kept(self) -> tuple[Stage, ...]:
        """The stages that paid."""
        return tuple(stage for stage in self.stages if stage.kept)


def descend(
    plan: tuple[Boundary, ...],
    start: State,
    before: np.ndarray,
    targets: np.ndarray,
    try_stage: Callable[[State, Boundary], Trial],
    *,
    over: Callable[[], bool] = lambda: False,
    progress: Progress,
) -> Descent:
    """Go down the plan, keeping what pays on the judging images, until a stage plainly loses.

    before: (J, C) their probabilities by the linear head. targets: (J,) class numbers. over:
    whether the time for another stage is up. A stage that is stopped (KeyboardInterrupt) ends the
    way down with those before it.
    """
    descent = Descent(plan, start, before)
    for boundary in plan:
        if over():
            break
        try:
            trial = try_stage(descent.state, boundary)
        except KeyboardInterrupt:
            progress.warn("the tuning is stopped: going on with the stages before")
            break
        judging, temperature = calibrate(trial.judging, targets)
        lost = loses_plainly(judging, descent.judging, targets)
        descent = _add(descent, boundary, replace(trial, judging=judging), temperature, targets)
        if lost:
            break
    return descent


def _add(
    descent: Descent, boundary: Boundary, trial: Trial, temperature: float, targets: np.ndarray
) -> Descent:
    """With one more stage, whose judging images' probabilities are calibrated; kept if it pays."""
    worth = score(trial.judging, targets)
    stage = Stage(boundary.layer, boundary.blocks, trial.epochs, worth.log_loss, worth.accuracy,
                  trial.seconds, gains(trial.judging, descent.judging, targets))  # fmt: skip
    history = {
        name: descent.history.get(name, []) + column for name, column in trial.history.items()
    }
    descent = replace(descent, stages=(*descent.stages, stage), history=history)
    if not stage.kept:
        return descent
    return replace(
        descent, state=replace(trial.state, temperature=temperature), judging=trial.judging,
        unseen=apply_temperature(trial.unseen, temperature), activations=trial.activations,
    )  # fmt: skip


def repeat_stages(
    descent: Descent, start: State, train: Callable[[State, Stage], State], progress: Progress
) -> State:
    """The stages that paid once more, from another start; calibrated as they were on the images
    that judged them. If that is stopped, the network of the descent, which the verdict is about.
    """
    state = start
    try:
        for stage in descent.kept:
            state = train(state, stage)
    except KeyboardInterrupt:
        progress.warn("stopped: keeping what was trained on three fifths of the images")
        return descent.state
    return replace(state, temperature=descent.state.temperature)
