"""The examples in the help run as they stand, in a folder that has what they name."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer

import headstart
from headstart.cli.app import load_commands, main
from headstart.serve.feedback import Feedback
from headstart.store.job import write_features

NOT_RUN = {
    "finetune": "takes minutes; run in tests/tuning",
    "remedies": "takes minutes; run with a smaller budget in test_commands.py",
    "heads": "takes minutes; run with a smaller budget in test_commands.py",
    "backbones": "takes minutes; run with one backbone in test_commands.py",
    "learning-curve": "takes ten seconds; run in test_commands.py",
    "demo": "takes ten seconds; run in test_commands.py",
    "layers": "needs weights that are fetched; run with others in test_commands.py",
    "lr": "needs weights that are fetched; run with others in test_commands.py",
    "summary": "needs seconds for TensorFlow; run in test_commands.py",
    "serve": "answers until it is stopped; run in tests/serve",
    "weights fetch": "needs a network; run in tests/backbones with a server of its own",
    "fetch": "needs a network; run in tests/export with a server of its own",
}


def examples() -> dict[str, str]:
    """The example of each command, by the command's name."""
    group: Any = typer.main.get_command(load_commands())
    found = {}
    for name, command in group.commands.items():
        inner = {f"{name} {sub}": one for sub, one in getattr(command, "commands", {}).items()}
        for full, one in (inner or {name: command}).items():
            found[full] = one.epilog.removeprefix("Example: headstart ")
    return found


@pytest.fixture(scope="module")
def here(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """photos/, new/ (labelled too), stored/ (features), runs/photos-1, runs/photos-2, an export and
    a folder that `serve --feedback` kept.
    """
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(tiny, folder / "photos")
    for path in sorted(tiny.glob("*/*"))[::6]:
        target = folder / "new" / path.parent.name / f"new_{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes() + b" ")  # another file of the same picture
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HEADSTART_CACHE", str(folder / "cache"))
        for number, cut in enumerate(("block1a_project_bn", "block2a_project_bn"), 1):
            headstart.train("photos", out=f"runs/photos-{number}", cut=cut, size=64)
        write_features("photos", "stored", cut=cut, size=64, progress=False)
        yield folder


def type_line(line: str, patch: pytest.MonkeyPatch) -> int:
    """Run what somebody types, `>` as a shell has it; the exit code."""
    words, target = shlex.split(line), None
    if ">" in words:
        words, target = words[: words.index(">")], words[-1]
    patch.setattr(sys, "argv", ["headstart", *words])
    printed = StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main()
    if target:
        Path(target).write_text(printed.getvalue())
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", [name for name in examples() if name not in NOT_RUN])
def test_the_example_runs_as_it_stands(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    if name in ("export", "verify"):
        pytest.importorskip("onnxruntime")
    if name == "verify":
        type_line(examples()["export"], monkeypatch)
    if name == "feedback":
        image = next((here / "photos" / "red").iterdir()).read_bytes()
        Feedback(here / "kept").keep(image, "red", ("blue", 0.6, "photos-1", "1"))
    assert type_line(examples()[name], monkeypatch) == 0, capsys.readouterr().err
    for made in re.findall(r"(?:--out|>) (\S+)", examples()[name]):
        assert (here / made).exists(), made
    assert bool(opened) == (name in ("open", "report"))


def test_what_is_not_run_exists_and_has_a_reason() -> None:
    assert NOT_RUN.keys() <= examples().keys()
    assert all(NOT_RUN.values())
