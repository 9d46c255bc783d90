"""What a search has measured so far, within its time; it has that to show when it is stopped.

Letters: N images.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from headstart.selection.price import Worth, judge_choice
from headstart.selection.rules import Rule
from headstart.selection.score import CutScore
from headstart.system.progress import Progress


@dataclass(frozen=True)
class Variation:
    """Another way to feed the best cuts beside the way before it, on the same images; taken where
    it gains more than `least` standard errors.
    """

    before: CutScore
    after: CutScore
    least: float

    @property
    def gain(self) -> float:
        """In standard errors of the log loss."""
        return self.before.loses_to(self.after)

    def take(self, rows: np.ndarray) -> "Variation":
        """As it would be if these had been the images; rows of images it was not measured on are
        passed over.
        """
        rows = rows[rows < self.after.images]
        return Variation(self.before.take(rows), self.after.take(rows), self.least)


@dataclass
class Board:
    """Scores of candidates by what they were measured on, the best of them, and what was not tried.

    budget: seconds. rule: what is taken by the scores. on_half, on_all: cuts by themselves and
    joined, on half of the images and on all. averaged: what the rule made of them. varied: other
    ways to feed the best cuts; variations: those of them measured on as many images as are to
    decide.
    """

    budget: float
    progress: Progress
    rule: Rule
    on_half: list[CutScore] = field(default_factory=list)
    on_all: list[CutScore] = field(default_factory=list)
    averaged: list[CutScore] = field(default_factory=list)
    varied: list[CutScore] = field(default_factory=list)
    variations: list[Variation] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    best: CutScore | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return time.perf_counter() - self.started

    def is_over(self, share: float = 1.0) -> bool:
        """Whether that share of the time is up."""
        return self.seconds > share * self.budget

    def skips(self, name: str) -> bool:
        """Whether there is no time for `name`, which is then noted. One is tried always."""
        if not (self.on_half or self.on_all) or not self.is_over():
            return False
        self.untried.append(name)
        return True

    def choose_cut(self) -> None:
        """The best by the rule."""
        self.best = self.rule.take(self.on_all or self.on_half)
        self.averaged = [self.best] if self.best.averaged else []

    def judge(self, groups: np.ndarray | None) -> Worth | None:
        """What is chosen is worth; None where nothing was measured. groups: (N,) or None."""
        cuts = self.on_all or self.on_half
        if not cuts:
            return None
        count = cuts[0].images

        def right_by_choice(rows: np.ndarray) -> Sequence[np.ndarray]:
            gains = [
                (each.after.right - each.before.right) * (each.take(rows).gain > each.least)
                for each in self.variations
            ]
            return [self.rule.right_by(cuts, rows), *gains]

        known = None if groups is None else groups[:count]
        default = next((score.right for score in cuts if score.cuts == (self.rule.default,)), None)
        return judge_choice(right_by_choice, count, known, default)

    @property
    def scores(self) -> tuple[CutScore, ...]:
        """Everything measured."""
        return (*self.averaged, *self.on_all, *self.on_half, *self.varied)
