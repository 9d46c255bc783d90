"""What is told, to whom, and what a recorder notes of it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import headstart
from headstart.system.progress import Progress, Recorder, Silent, Terminal


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

    def warn(self, text: str) -> None:
        self.lines.append(f"warn {text}")


def tell(progress: Progress) -> None:
    with progress.stage("head", 3, "epochs"):
        progress.advance()
        progress.advance(2)
        progress.say("learned")
    progress.warn("few images")


def test_a_recorder_hands_everything_on() -> None:
    listener = Listener()
    recorder = Recorder(listener)
    tell(recorder)
    assert listener.lines == [
        "begin head 3 epochs", "advance 1", "advance 2", "say learned", "end head",
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
