"""What a long job tells of itself while it runs: to nobody, to a terminal, to a record."""

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from headstart.system.text import escape, wrap

LINES = 60  # seconds between two lines
SETTLED = 2.0  # seconds after which a pace is worth telling
ALIKE = ("images", "epochs", "steps", "%")  # units that take alike: what is left can be told
TITLES = {  # of stages, as people call them
    "dataset": "reading the folder",
    "bring": "bringing them here",
    "selection": "measuring what serves best",
    "extractor": "opening the network",
    "precision": "measuring whether 8 bits serve",
    "features": "looking at the images",
    "head": "learning",
    "audit": "checking the images",
    "evaluation": "testing",
    "abstention": "learning when not to answer",
    "finetune": "fine-tuning",
    "run before": "asking the run before",
    "report": "drawing the page",
    "save": "saving",
    "predict": "predicting",
    "learning rates": "trying learning rates",
    "heads": "measuring heads",
    "repeats": "training again",
    "summary": "building the Keras model",
}


class Progress:
    """Whoever does long work tells it to one of these. This one passes over everything."""

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
        """Around one stage of the work; `advance` counts towards `total`. There may be others in
        it: then those count.
        """
        yield

    def advance(self, count: int = 1) -> None:
        """`count` more units are done; several at once were there before, so that they tell
        nothing of the pace.
        """

    def say(self, text: str) -> None:
        """One line for the user."""

    def detail(self, text: str) -> None:
        """One line for those who ask for more."""

    def warn(self, text: str) -> None:
        """One line the user should not miss."""


class Silent(Progress):
    """Says nothing."""


class Warner(Progress):
    """Passes over everything but warnings, which go to standard error."""

    def warn(self, text: str) -> None:
        """A line, marked."""
        print(_mark(text), file=sys.stderr, flush=True)


class Recorder(Progress):
    """Hands everything on to `progress`, and notes the warnings and each stage's seconds; those of
    stages inside another one are the other one's.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress or Silent()
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}
        self.depth = 0

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
        """The stage, timed."""
        started = time.perf_counter()
        self.depth += 1
        try:
            with self.progress.stage(name, total, unit):
                yield
        finally:
            self.depth -= 1
            if not self.depth:
                spent = time.perf_counter() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def advance(self, count: int = 1) -> None:
        """Handed on."""
        self.progress.advance(count)

    def say(self, text: str) -> None:
        """Handed on."""
        self.progress.say(text)

    def detail(self, text: str) -> None:
        """Handed on."""
        self.progress.detail(text)

    def warn(self, text: str) -> None:
        """Noted and handed on."""
        self.warnings.append(text)
        self.progress.warn(text)


def choose_progress(progress: Progress | bool | None) -> Progress:
    """Whom a function of the package tells how its work goes: a Progress that was given; nobody
    for False; else the terminal or notebook, where there is one, and warnings alone where not.
    """
    if isinstance(progress, Progress):
        return progress
    if progress is False:
        return Silent()
    terminal = Terminal()
    heard = terminal.live or terminal.console.is_jupyter or progress
    return terminal if heard else Warner()


@dataclass
class Pace:
    """How fast a stage goes, by its mean since the first unit, before which all is opened and
    compiled: units that were there before count, but tell nothing.
    """

    total: int | None = None
    unit: str = ""
    count: int = 0
    measured: int = 0
    began: float | None = None  # when the first unit was done

    def advance(self, count: int) -> None:
        """So many more."""
        self.count += count
        if count != 1:
            return
        if self.began is None:
            self.began = time.monotonic()
        else:
            self.measured += 1

    @property
    def rate(self) -> float | None:
        """Units a second; None where they differ too much to tell, or none is known yet."""
        if self.unit not in ALIKE or self.began is None or not self.measured:
            return None
        spent = time.monotonic() - self.began
        return self.measured / spent if spent >= SETTLED else None

    @property
    def left(self) -> float | None:
        """Seconds to the end, where they can be told."""
        rate = self.rate
        return None if rate is None or self.total is None else (self.total - self.count) / rate

    def __str__(self) -> str:
        """As `120/398 images, 56/s, 5 s left`."""
        words = [f"{self.count:,}{'' if self.total is None else f'/{self.total:,}'} {self.unit}"]
        if (rate := self.rate) is not None and self.unit != "%":
            words.append(f"{rate:,.0f}/s" if rate >= 1 else f"{1 / rate:,.0f} s each")
        if (left := self.left) is not None:
            words.append(f"{left:.0f} s left" if left < 100 else f"{left / 60:.0f} min left")
        return ", ".join(words)


class Terminal(Progress):
    """A bar for the innermost stage, with images a second and time left, on a terminal and in a
    notebook; when piped a line a minute. verbose: whether details are told too. talks: whether
    anything is told beside bars.
    """

    def __init__(self, verbose: bool = False, talks: bool = True) -> None:
        from rich.console import Console

        # Standard output carries results alone, so that it can be piped.
        self.console = Console(file=sys.stderr, highlight=False)
        self.verbose, self.talks = verbose, talks
        self.bars: Any = None
        self.stages: list[tuple[Any, Pace]] = []
        self.told = 0.0

    @property
    def live(self) -> bool:
        """Whether bars can be shown: on a terminal, and in a notebook that has widgets."""
        if self.console.is_jupyter:
            return importlib.util.find_spec("ipywidgets") is not None
        return self.console.is_terminal

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
        """A bar while the stage runs; one that moves to and fro where nothing is counted."""
        if total == 0:
            yield
            return
        outermost = not self.stages
        title, pace = TITLES.get(name, name), Pace(total, unit)
        # A notebook keeps a place for each bar: those that say nothing are not worth one.
        if self.live and outermost and (unit or not self.console.is_jupyter):
            self.bars = self._open_bars()
            self.bars.start()
        if self.bars is not None and not outermost:
            self.bars.update(self.stages[-1][0], visible=False)
        task = self.bars and self.bars.add_task(escape(title), total=total, pace=pace)
        self.stages.append((title if task is None else task, pace))
        self.told = time.monotonic()
        try:
            yield
        finally:
            self.stages.pop()
            if self.bars is not None:
                self.bars.remove_task(task)
                if outermost:
                    self.bars.stop()
                    self.bars = None
                else:
                    self.bars.update(self.stages[-1][0], visible=True)

    def _open_bars(self) -> Any:
        from rich import progress as rich

        class Words(rich.ProgressColumn):
            def render(self, task: Any) -> str:
                pace = task.fields["pace"]
                return str(pace) if pace.unit else ""

        # No colours: what is bright on black cannot be read on white.
        bar = rich.BarColumn(12, "dim", "bold", "bold", "dim")
        columns = rich.TextColumn("{task.description}", markup=False, style=""), bar, Words()
        return rich.Progress(
            *columns, console=self.console, transient=True, redirect_stdout=sys.stdout.isatty()
        )

    def advance(self, count: int = 1) -> None:
        """Move the innermost bar; in a pipe, tell it once a minute."""
        if not self.stages:
            return
        task, pace = self.stages[-1]
        pace.advance(count)
        if self.bars is not None:
            self.bars.update(task, completed=pace.count)
        elif pace.unit and time.monotonic() - self.told >= LINES:
            self.told = time.monotonic()
            self.say(f"{task}: {pace}")

    def say(self, text: str) -> None:
        """A line above the bar, broken between words."""
        self._print(escape(text, lines=True))

    def detail(self, text: str) -> None:
        """The same, if that is asked for."""
        if self.verbose:
            self.say(text)

    def warn(self, text: str) -> None:
        """A line above the bar, marked: bold, which can be read on black and on white."""
        self._print(_mark(text), style="bold")

    def _print(self, text: str, style: str | None = None) -> None:
        if not self.talks:
            return
        width = self.console.width if self.console.is_terminal else None
        # Of the wrapped text no line is longer than the terminal but by one word, such as a path.
        self.console.print(wrap(text, width, "  "), style=style, markup=False, soft_wrap=True)


def _mark(text: str) -> str:
    return f"warning: {escape(text, lines=True)}"
