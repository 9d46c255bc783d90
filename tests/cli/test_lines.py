"""A sample of bench/attack/lines.py: no wrong command line ends in anything but one message."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "attack" / "lines.py"


@pytest.fixture(scope="module")
def attack() -> Any:
    if not SCRIPT.is_file():
        pytest.skip("needs bench/, which comes with the repository alone")
    spec = importlib.util.spec_from_file_location("attack_lines", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def places(attack: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lines")
    attack.prepare(folder)
    return folder


@pytest.mark.parametrize("seed", range(4))
def test_no_wrong_line_falls(
    seed: int, attack: Any, places: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(places)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))  # some prune it
    monkeypatch.setenv("NO_COLOR", "1")
    lines = list(attack.generate(100, seed, attack.list_commands()))
    fallen = {tuple(words): why for words in lines if (why := attack.try_line(words))}
    assert fallen == {}


def test_the_same_seed_draws_the_same_lines_of_every_command(attack: Any) -> None:
    commands = attack.list_commands()
    lines = list(attack.generate(1000, 0, commands))
    assert lines == list(attack.generate(1000, 0, commands))
    assert {command.words[-1] for command in commands} <= {word for line in lines for word in line}


def test_what_is_no_message_falls(attack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(code: int, text: str) -> str | None:
        def main() -> None:
            print(text, file=sys.stderr)
            raise SystemExit(code)

        monkeypatch.setattr("headstart.cli.app.main", main)
        why: str | None = attack.try_line(["train"])
        return why

    assert ends(2, "error: expected x, found y. Type: headstart train") is None
    assert ends(0, "") is None
    assert ends(3, "") == "exit code 3"
    assert "no one line" in str(ends(2, "Usage: headstart"))
    assert "nothing to type" in str(ends(2, "error: Permission denied"))
    assert "traceback" in str(ends(1, "Traceback (most recent call last)"))
    assert "control" in str(ends(0, "\x1b[31m"))
    monkeypatch.setattr("headstart.cli.app.main", lambda: 1 / 0)
    assert "ZeroDivisionError" in str(attack.try_line(["train"]))
