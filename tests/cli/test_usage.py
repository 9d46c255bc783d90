"""What is typed wrongly is one message: expected, found, what to type."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("trian photos", "found 'trian'. Near: train. Type: headstart --help"),
        ("cache rm", "expected a command (info, add, verify, prune), found 'rm'"),
        ("--foo", "expected an option of headstart, found --foo. Type: headstart --help"),
        ("train --bakcbone x", "found --bakcbone. Near: --backbone"),
        ("cache prune --al", "Near: --all. Type: headstart cache prune --help"),
        ("train photos --seed", "headstart train PHOTOS [OPTIONS], found: option '--seed'"),
        ("train --quiet=3 photos", "option '--quiet' does not take a value. Type: headstart train"),
        ("train photos more", "found: got unexpected extra argument"),
        ("train photos --seed -1", "--seed: expected a whole number from 0 to 4,294,967,295"),
        ("train photos --seed 1.5", "found '1.5'. Type: headstart train --help"),
        ("train photos --size 1e99", "--size: expected a whole number from 1 to 2,048"),
        ("augment photos --views 0", "--views: expected a whole number from 1 to 100, found '0'"),
        ("augment photos --rows many", "--rows: expected a whole number"),
        ("augment photos --size 1000000", "--size: expected a whole number from 16 to 1,024"),
        ("evaluate run photos --tta 0", "--tta: expected a whole number from 1 to 1,000"),
        ("predict run photos --top-k -3", "--top-k: expected a whole number"),
        ("finetune run --epochs 0", "--epochs: expected a whole number from 1 to"),
        ("cache prune --max-mb lots", "--max-mb: expected a number, found 'lots'. Type:"),
        ("cache prune --older-than ever", "--older-than: expected a number, found 'ever'. Type:"),
        ("weights fetch https://x/w.h5 --sha256 0", "--sha256: expected 64 digits from 0 to f"),
        ("predict", "expected RUN, found none. Type: headstart predict RUN PHOTOS"),
        ("predict run", "expected PHOTOS, found none. Type: headstart predict RUN PHOTOS"),
        ("layers", "expected BACKBONE, found none. Type: headstart layers BACKBONE"),
        ("weights fetch", "expected NAME|URL, found none. Type: headstart weights fetch NAME|URL"),
    ],
)  # fmt: skip
def test_what_is_typed_wrongly_is_one_line(line: str, text: str, call: Call) -> None:
    done = call(*line.split())
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert text in done.err
    assert "Type: " in done.err
    assert len(done.err.splitlines()) == 1


def test_what_the_system_refuses_says_what_to_do(call: Call) -> None:
    done = call("train", 5000 * "a")
    assert done.code == 2
    assert "expected a file or folder that may be used, found: File name too long. " in done.err
    assert "type the same again" in done.err
    assert len(done.err) < 500


@pytest.mark.parametrize(
    ("line", "usage"),
    [("serve", "[OPTIONS] RUN..."), ("predict", "[OPTIONS] RUN [PHOTOS]..."),
     ("explain", "[OPTIONS] RUN IMAGES..."), ("train", "[OPTIONS] [PHOTOS]"),
     ("cache prune", "[OPTIONS]")],
)  # fmt: skip
def test_the_usage_is_what_is_typed(line: str, usage: str, call: Call) -> None:
    done = call(*line.split(), "--help")
    assert f"Usage: headstart {line} {usage}" in done.out


@pytest.mark.parametrize("line", ["", "cache", "weights"])
def test_a_group_alone_shows_its_help(line: str, call: Call) -> None:
    done = call(*line.split())
    assert "COMMAND [ARGS]..." in done.out + done.err
    assert "error:" not in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
def test_whoever_stops_reading_ends_it_quietly() -> None:
    program = f"{sys.executable} -m headstart layers resnet50 | true"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True)
    assert done.stderr == ""


def test_what_a_terminal_would_obey_is_not_printed(call: Call, tmp_path: Path) -> None:
    name = "\x1b]0;hi\x07\u202egnp"
    done = call("train", tmp_path / name)
    assert done.code == 2
    assert "\\x1b]0;hi\\x07\\u202egnp" in done.err
    assert not set("\x1b\x07\u202e") & set(done.err)
    (tmp_path / name).mkdir()
    (tmp_path / name / "run.json").write_text("{")
    done = call("runs", tmp_path)
    assert done.code == 0
    assert "\\x1b]0;hi" in done.out
    assert not set("\x1b\x07\u202e") & set(done.out)


def test_a_stream_that_knows_few_letters_gets_the_others_escaped() -> None:
    program = "import sys; sys.argv = ['headstart', 'info', 'caf\u00e9\\udce9']\n"
    program += "from headstart.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", program], capture_output=True, text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "caf\\xe9\\xe9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_long_message_keeps_what_to_type(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.errors import DatasetError
    from headstart.runs import listing

    def refuse(_: object) -> None:
        raise DatasetError(f"expected few, found {'x' * 100_000}. Type: headstart runs")

    monkeypatch.setattr(listing, "list_runs", refuse)
    told = call("runs", ".").err
    assert len(told) < 4100
    assert told.startswith("error: expected few, found xxx")
    assert told.endswith("Type: headstart runs\n")


def test_help_has_no_colour_that_cannot_be_read_on_white(call: Call) -> None:
    from typer import rich_utils

    assert call("train", "--help").code == 0
    styles = {name: style for name, style in vars(rich_utils).items() if name.startswith("STYLE_")}
    texts = [style for style in styles.values() if isinstance(style, str)]
    assert {word for style in texts for word in style.split()} <= {"bold", "dim"}
    assert styles["STYLE_OPTION"] == "bold"
