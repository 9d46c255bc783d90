"""What a search has measured so far, within its time; it has that to show when it is stopped."""

import time
from dataclasses import dataclass, field

from headstart.selection.score import CutScore, choose_cheapest
from headstart.system.progress import Progress


@dataclass
class Board:
    """Scores of candidates by what they were measured on, the best of them, and what was not tried.

    budget: seconds. on_half, on_all: cuts by themselves and joined, on half of the images and on
    all. varied: other ways to feed the best cuts.
    """

    budget: float
    progress: Progress
    on_half: list[CutScore] = field(default_factory=list)
    on_all: list[CutScore] = field(default_factory=list)
    varied: list[CutScore] = field(default_factory=list)
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
        """The best is the cheapest of those that cannot be told from the lowest log loss."""
        self.best = choose_cheapest(self.on_all or self.on_half)

    @property
    def scores(self) -> tuple[CutScore, ...]:
        """Everything measured."""
        return (*self.on_all, *self.on_half, *self.varied)
