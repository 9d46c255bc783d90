"""What is told, to whom, and what a recorder notes of it."""

import io
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.system import progress as module
from headstart.system.progress import (
    Pace,
    Progress,
    Recorder,
    Silent,
    Terminal,
    Warner,
    choose_progress,
)


class Listener(Progress):
    """Writes down all that it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
        self.lines.append(f"begin {name} {total} {unit}")
        yield
        self.lines.append(f"end {name}")

    def advance(self, count: int = 1) -> None:
        self.lines.append(f"advance {count}")

    def say(self, text: str) -> None:
        self.lines.append(f"say {text}")

    def detail(self, text: str) -> None:
        self.lines.append(f"detail {text}")

    def warn(self, text: str) -> None:
        self.lines.append(f"warn {text}")


def tell(progress: Progress) -> None:
    with progress.stage("head", 3, "epochs"):
        progress.advance()
        progress.advance(2)
        progress.say("learned")
        progress.detail("by bf16")
    progress.warn("few images")


def test_a_recorder_hands_everything_on() -> None:
    listener = Listener()
    recorder = Recorder(listener)
    tell(recorder)
    assert listener.lines == [
        "begin head 3 epochs", "advance 1", "advance 2", "say learned", "detail by bf16",
        "end head",
        "warn few images",
    ]  # fmt: skip
    assert recorder.warnings == ["few images"]
    assert list(recorder.seconds) == ["head"]


def test_seconds_of_a_stage_add_up_and_count_where_it_fails() -> None:
    recorder = Recorder()
    for _ in range(2):
        with recorder.stage("save"):
            time.sleep(0.02)
    with suppress(KeyboardInterrupt), recorder.stage("head"):
        time.sleep(0.02)
        raise KeyboardInterrupt
    assert recorder.seconds["save"] >= 0.04
    assert recorder.seconds["head"] >= 0.02


def test_recorders_of_one_progress_note_their_own() -> None:
    listener = Listener()
    first, second = Recorder(listener), Recorder(listener)
    first.warn("one")
    with first.stage("dataset"):
        pass
    second.warn("two")
    assert (first.warnings, second.warnings) == (["one"], ["two"])
    assert second.seconds == {}
    assert listener.lines.count("warn one") == listener.lines.count("warn two") == 1


def test_two_trainings_told_to_one_progress_have_their_own_warnings_and_seconds(
    tiny: Path, tmp_path: Path
) -> None:
    photos = shutil.copytree(tiny, tmp_path / "photos")
    (photos / "red" / "broken.jpg").write_bytes(b"<html>not found</html>")
    both = Recorder()
    runs = [
        headstart.train(source, out=tmp_path / f"run{number}", cut="block1a_project_bn", size=64,
                        progress=both)
        for number, source in enumerate((photos, tiny))
    ]  # fmt: skip
    (warning,) = runs[0].record["warnings"]
    assert warning == "left out red/broken.jpg: not an image (looks like HTML)"
    assert runs[1].record["warnings"] == []
    assert both.warnings == [warning]
    for stage in ("dataset", "features", "head"):
        own = [run.record["seconds"][stage] for run in runs]
        assert both.seconds[stage] == pytest.approx(sum(own), abs=0.05)  # not counted twice


def test_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Silent())
    tell(Recorder())
    assert capsys.readouterr() == ("", "")


def test_piped_a_terminal_gets_plain_lines_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(Terminal())
    assert capsys.readouterr() == ("", "learned\nwarning: few images\n")


def test_a_terminal_is_told_no_letters_that_it_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.say("a\x1b[2J\nb\u202e\ud800")
    terminal.warn("c\x07[red]")
    assert capsys.readouterr().err == "a\\x1b[2J\nb\\u202e\\ud800\nwarning: c\\x07[red]\n"


def test_details_are_told_to_who_asks_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Terminal(verbose=True))
    assert capsys.readouterr().err == "learned\nby bf16\nwarning: few images\n"
    tell(Terminal(talks=False))
    assert capsys.readouterr().err == ""


def test_seconds_of_a_stage_inside_another_are_the_other_s() -> None:
    recorder = Recorder()
    with recorder.stage("selection"), recorder.stage("features", 3, "images"):
        time.sleep(0.02)
    assert list(recorder.seconds) == ["selection"]


def test_who_is_told_what(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """In a pipe, as here, warnings alone; on a terminal all; nothing where it is silenced."""
    given = Recorder()
    assert choose_progress(given) is given
    assert isinstance(choose_progress(False), Silent)
    assert isinstance(choose_progress(None), Warner)
    assert isinstance(choose_progress(True), Terminal)
    tell(choose_progress(None))
    assert capsys.readouterr() == ("", "warning: few images\n")
    monkeypatch.setattr(Terminal, "live", True)
    assert isinstance(choose_progress(None), Terminal)


def test_what_is_left_is_told_by_the_mean_and_does_not_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """100 of 301 images were there before: they tell nothing of the pace of ten a second, nor does
    the first one, which waits until all is open.
    """
    now = 60.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    pace = Pace(301, "images")
    pace.advance(100)
    pace.advance(1)
    left = []
    for _ in range(200):
        now += 0.1
        pace.advance(1)
        left.append(pace.left)
    assert left[:19] == [None] * 19  # too early to tell
    told = [seconds for seconds in left[20:] if seconds is not None]
    assert all(after < before for before, after in pairwise(told))
    assert told[0] == pytest.approx(17.9)
    assert str(pace) == "301/301 images, 10/s, 0 s left"


def test_of_what_takes_unlike_long_nothing_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    pace = Pace(54, "candidates")
    pace.advance(1)
    now = 10.0
    pace.advance(1)
    assert str(pace) == "2/54 candidates"


def test_bars_move_on_a_terminal_the_innermost_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    written = io.StringIO()
    terminal = Terminal()
    terminal.console = Console(file=written, force_terminal=True, width=80, color_system=None)
    with terminal.stage("selection", None, "candidates"):
        terminal.advance()
        with terminal.stage("features", 3, "images"):
            terminal.advance(2)
            terminal.bars.refresh()
            assert [task.visible for task in terminal.bars.tasks] == [False, True]
            assert [pace.count for _, pace in terminal.stages] == [1, 2]
            terminal.say("word " * 30)
        assert [task.visible for task in terminal.bars.tasks] == [True]
    assert terminal.bars is None
    lines = written.getvalue()
    assert "looking at the images" in lines
    assert "2/3 images" in lines
    said = [line for line in lines.splitlines() if "word word" in line]
    assert len(said) >= 2  # broken between words


def test_a_notebook_has_bars_for_what_is_counted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    opened = []

    class Bars:
        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: opened.append(name)

    terminal = Terminal()
    terminal.console = Console(force_jupyter=True)
    monkeypatch.setattr(terminal, "_open_bars", Bars)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
    with terminal.stage("save"):
        pass
    assert opened == []
    with terminal.stage("features", 3, "images"):
        pass
    assert opened == ["start", "add_task", "remove_task", "stop"]
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert not terminal.live  # lines alone, where there are no widgets
