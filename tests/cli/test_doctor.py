"""What headstart doctor says of a computer."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.cli import doctor

Call = Callable[..., Any]
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_it_says_what_is_here(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "cache" / "weights"
    weights.mkdir(parents=True)
    (weights / "mine.h5").write_bytes(bytes(5000))
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    done = call("doctor")
    assert done.code == 0
    assert "Nothing that everything needs is missing." in done.out
    assert re.search(r"^precision +(bf16, which this processor|f32, for this)", done.out, re.M)
    assert "efficientnet_lite0" in done.out
    assert "mine.h5" in done.out
    assert f"HEADSTART_CACHE = {tmp_path / 'cache'}" in done.out
    told = json.loads(call("doctor", "--json").out)
    assert told["problems"] == []
    assert told["cores"]["used"] >= 1
    assert told["cache"]["bytes"] >= 5000
    assert told["weights"]["here"]["efficientnet_lite0"] == "bundled"
    assert told["weights"]["here"]["mine.h5"] == str(weights / "mine.h5")
    assert "inception_v3" in told["weights"]["others"]


def test_an_extra_that_is_missing_is_told_with_what_it_adds(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    extras = {"serve": ("answers over HTTP", ("no_such_module",))}
    monkeypatch.setattr(doctor, "EXTRAS", extras)
    out = call("doctor").out
    assert "Extras that would add" in out
    assert re.search(r"serve +answers over HTTP: pip install 'headstart\[serve\]'", out)


def test_what_everything_needs_is_a_problem(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "numpy" else known(name))
    done = call("doctor")
    assert done.code == 1
    assert "numpy MISSING" in done.out
    assert "problem: not installed: numpy. Type: pip install headstart" in done.out


def test_a_cache_folder_that_cannot_be_used_is_a_problem(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    done = call("doctor")
    assert done.code == 1
    assert "cannot be written to. Type: export HEADSTART_CACHE=FOLDER" in done.out
    monkeypatch.setattr(doctor, "LITTLE", 1e18)
    assert "are free for the cache. Type: headstart cache prune" in call("doctor").out


def test_it_knows_every_extra_and_all_that_is_needed() -> None:
    extras = PROJECT["optional-dependencies"].keys() - {
        "all",
        "dev",
        "docs",
    }  # which are for who works on it
    assert doctor.EXTRAS.keys() == extras
    needed = {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert set(doctor.NEEDED) == needed
