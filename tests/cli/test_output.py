"""Tables and names of files."""

from pathlib import Path

import pytest

from headstart.cli import output
from headstart.cli.output import (
    Column,
    Table,
    format_interval,
    format_share,
    print_table,
    shorten_path,
    tell_command,
    tell_text,
    write_picture,
)

COLUMNS = [Column("cut", left=True), Column("accuracy"), Column("95% interval", left=True)]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_numbers_are_on_the_right_and_names_on_the_left(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        COLUMNS, [("mixed7", format_share(0.9634), format_interval((0.9, 1))), ("last", "", "")]
    )
    assert printed(capsys) == [
        "cut     accuracy  95% interval",
        "mixed7     96.3%  (90.0% to 100.0%)",
        "last",
    ]


def test_a_narrow_line_gives_a_long_name_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table([Column("cut", 40, left=True), Column("accuracy")], limit=30)
    table.row("a" * 21, "96.3%")
    table.row("a" * 22, "96.3%")
    assert printed(capsys) == [
        "cut" + " " * 19 + "accuracy",
        "a" * 21 + "    96.3%",
        "a" * 22,
        " " * 22 + "   96.3%",
    ]


def test_a_row_of_words_has_the_titles_above_it(capsys: pytest.CaptureFixture[str]) -> None:
    Table([Column("run", 6, left=True), Column("images")]).note("b-1", "damaged")
    assert printed(capsys) == ["run     images", "b-1     damaged"]


def test_sentences_break_between_words_on_a_terminal_and_not_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "right on 95.4% of 153-odd images, such as a/rather/long/path.jpg"
    tell_text(sentence)
    monkeypatch.setattr(output, "line_width", lambda to=None: 20)
    tell_text(sentence, indent="  ")
    assert printed(capsys) == [
        sentence, "right on 95.4% of", "  153-odd images,", "  such as", "  a/rather/long/path.jpg",
    ]  # fmt: skip


def test_a_command_goes_on_in_the_next_line_as_a_shell_takes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_command("Next: ", "headstart train 'my photos'", "more")
    monkeypatch.setattr(output, "line_width", lambda to=None: 27)
    tell_command("Next: ", "headstart train 'my photos'", "more")
    assert printed(capsys) == [
        "Next: headstart train 'my photos'  # more",
        "Next: headstart train \\", "  'my photos'", "      # more",
    ]  # fmt: skip


def test_a_path_is_shown_as_it_is_seen_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shorten_path(tmp_path / "photos" / "a") == "photos/a"
    assert shorten_path("/elsewhere/a") == "/elsewhere/a"


def test_pictures_overwrite_nothing_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = [write_picture(None, "heads.png", bytes([number])) for number in range(3)]
    assert written == [Path("heads.png"), Path("heads-2.png"), Path("heads-3.png")]
    assert [path.read_bytes() for path in written] == [b"\0", b"\1", b"\2"]
    assert write_picture(Path("heads.png"), "", b"asked") == Path("heads.png")
    assert Path("heads.png").read_bytes() == b"asked"
    assert write_picture(tmp_path, "heads.png", b"") == tmp_path / "heads-4.png"
    run = tmp_path / "run"
    assert write_picture(None, "remedies.png", b"", folder=run) == run / "remedies.png"
