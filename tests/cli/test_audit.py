"""headstart audit: what it prints, writes and exits with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import make_faulty


@pytest.fixture(scope="module")
def faulty(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small set with faults."""
    return make_faulty(tiny, tmp_path_factory.mktemp("faulty"))


def test_the_command_tells_and_writes(
    faulty: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    done = call("audit", faulty, "--set", "size=64", "--out", tmp_path / "out")
    assert done.code == 0
    assert "\nerror: 1 unreadable file\n  red/broken.jpg\n    empty file\n" in done.out
    assert "red/2.png = red/copy.png" in done.out
    written = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert written["images"] == 52
    assert (tmp_path / "out" / "duplicate.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "out" / "unreadable.png").exists()


def test_the_exit_code_and_the_object(faulty: Path, call: Callable[..., Any]) -> None:
    done = call("audit", faulty, "--set", "size=64", "--json", "--fail-on", "duplicate,bright")
    assert done.code == 1
    content = json.loads(done.out)
    (copies, *_) = [row for row in content["findings"] if row["kind"] == "duplicate"]
    assert [row["path"] for row in copies["images"]] == ["blue/wrong.png", "red/8.png"]
    assert {row["split"] for row in copies["images"]} <= {"train", "validation"}
    assert copies["severity"] == "error"
    assert {"score", "evidence", "advice"} <= set(copies)
    assert call("audit", faulty, "--set", "size=64", "-q", "--fail-on", "bright").code == 0


def test_a_kind_that_there_is_not_is_refused(tmp_path: Path, call: Callable[..., Any]) -> None:
    done = call("audit", tmp_path, "--fail-on", "leek")
    assert done.code == 2
    assert "found 'leek'. Type: --fail-on leak,label" in done.err
