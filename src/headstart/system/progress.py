"""What a long job tells of itself while it runs: to nobody, to a terminal, to a record."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headstart.system.text import escape

LINES = 60  # seconds between two lines


class Progress:
    """Whoever does long work tells it to one of these. This one passes over everything."""

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
        """Around one stage of the work; `advance` counts towards `total`."""
        yield

    def advance(self, count: int = 1) -> None:
        """`count` more units are done."""

    def say(self, text: str) -> None:
        """One line for the user."""

    def warn(self, text: str) -> None:
        """One line the user should not miss."""


class Silent(Progress):
    """Says nothing."""


class Recorder(Progress):
    """Hands everything on to `progress`, and notes the warnings and each stage's seconds."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress or Silent()
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
        """The stage, timed."""
        started = time.perf_counter()
        try:
            with self.progress.stage(name, total, unit):
                yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def advance(self, count: int = 1) -> None:
        """Handed on."""
        self.progress.advance(count)

    def say(self, text: str) -> None:
        """Handed on."""
        self.progress.say(text)

    def warn(self, text: str) -> None:
        """Noted and handed on."""
        self.warnings.append(text)
        self.progress.warn(text)


class _Lines:
    """What a stage tells where no bar can be shown: a line a minute."""

    def __init__(self, name: str, total: int | None, unit: str) -> None:
        self.name, self.of, self.unit = name, "" if total is None else f" of {total:,}", unit
        self.count, self.began = 0, time.monotonic()
        self.told = self.began

    def advance(self, count: int) -> str | None:
        self.count += count
        now = time.monotonic()
        if now - self.told < LINES:
            return None
        self.told = now
        speed = self.count / (now - self.began)
        return f"{self.name}: {self.count:,}{self.of} {self.unit}, {speed:,.0f} a second"


class Terminal(Progress):
    """Bars with images per second and time left on a terminal; when piped a line a minute."""

    def __init__(self) -> None:
        from rich.console import Console

        # Standard output carries results alone, so that it can be piped.
        self.console = Console(file=sys.stderr, highlight=False)
        self.bar: Any = None
        self.lines: _Lines | None = None

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
        """A bar while the stage runs, if it counts something and this is a terminal."""
        if not unit or total == 0:
            yield
            return
        if not self.console.is_terminal:
            self.lines = _Lines(name, total, unit)
            try:
                yield
            finally:
                self.lines = None
            return
        with self._progress(unit) as progress:
            self.bar = progress, progress.add_task(escape(name), total=total)
            try:
                yield
            finally:
                self.bar = None

    def _progress(self, unit: str) -> Any:
        from rich import progress as rich

        class Speed(rich.ProgressColumn):
            def render(self, task: Any) -> str:
                return f"{task.speed:,.0f} {unit}/s" if task.speed else ""

        class Count(rich.ProgressColumn):
            def render(self, task: Any) -> str:
                of = "" if task.total is None else f"/{task.total:,}"
                return f"{task.completed:,}{of}"

        columns = (
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(),
            Count(),
            Speed(),
            rich.TimeRemainingColumn(compact=True),
        )
        return rich.Progress(*columns, console=self.console, transient=True)

    def advance(self, count: int = 1) -> None:
        """Move the bar."""
        if self.bar:
            progress, task = self.bar
            progress.advance(task, count)
        elif self.lines and (line := self.lines.advance(count)):
            self.say(line)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.console.print(escape(text, lines=True), markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A line above the bar, marked."""
        line = f"warning: {escape(text, lines=True)}"
        self.console.print(line, style="yellow", markup=False, soft_wrap=True)
