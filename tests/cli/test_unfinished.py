"""Every command that meets a training that was stopped says how to go on with that very one."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from cli.conftest import Call

import headstart
from headstart.cli.app import load_commands
from headstart.data.dataset import load
from headstart.data.given import Source
from headstart.recipe import load_recipe
from headstart.runs import folder as runs
from headstart.runs.folder import resume_command

CHOICES = {"cut": "block1a_project_bn", "size": 64}
OF_ONE_RUN = [
    ["predict", "RUN", "PHOTOS"],
    ["predict", "RUN", "PHOTOS", "--out", "labels.csv"],
    ["evaluate", "RUN", "PHOTOS"],
    ["check", "RUN", "PHOTOS", "--min-accuracy", "0.9"],
    ["check", "FINISHED", "PHOTOS", "--against", "RUN"],
    ["compare", "RUN", "FINISHED"],
    ["compare", "FINISHED", "RUN"],
    ["remedies", "RUN"],
    ["finetune", "RUN"],
    ["report", "RUN"],
    ["open", "RUN"],
    ["explain", "RUN", "PHOTOS"],
    ["summary", "RUN"],
    ["serve", "RUN"],
    ["train", "PHOTOS", "--out", "RUN"],
]
FORMATS = ["onnx", "openvino", "keras", "savedmodel", "litert", "server", "web"]


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole") / "run"
    return headstart.train(tiny, out=place, progress=False, **CHOICES).folder  # type: ignore[arg-type]


@pytest.fixture
def killed(tiny: Path, finished: Path, tmp_path: Path) -> Path:
    """Killed as late as can be: the classifier is there, run.json is not."""
    recipe = load_recipe("quick", **CHOICES)
    folder = runs.start(
        Source(tiny), recipe, False, tmp_path / "a run", load(tiny).fingerprint(), {}
    )
    shutil.copytree(finished / "classifier", folder / "classifier")
    return folder


def test_no_command_is_left_out() -> None:
    """Each that takes a run by its folder, of whatever name the argument is."""
    group: Any = typer.main.get_command(load_commands())
    taking = {
        name
        for name, each in group.commands.items()
        for parameter in each.params
        if parameter.param_type_name == "argument" and (parameter.metavar or "").startswith("RUN")
    }
    tried = {words[0] for words in [*OF_ONE_RUN, ["export"], ["info"]]}
    assert {"predict", "compare", "serve"} <= taking <= tried


@pytest.mark.parametrize(
    "words", [*OF_ONE_RUN, *(["export", "RUN", "--to", form] for form in FORMATS)], ids=" ".join
)
def test_a_command_says_how_to_go_on(
    words: list[str], killed: Path, finished: Path, tiny: Path, call: Call
) -> None:
    places = {"RUN": killed, "FINISHED": finished, "PHOTOS": tiny}
    done = call(*(places.get(word, word) for word in words))
    assert done.code == 2
    assert resume_command(killed) in done.err
    assert done.out == ""


@pytest.mark.parametrize("words", [["info", "RUN"], ["runs", "."]], ids=" ".join)
def test_what_tells_of_runs_tells_it_too(words: list[str], killed: Path, call: Call) -> None:
    done = call(*(killed if word == "RUN" else word for word in words))
    assert done.code == 0, done.err
    place = killed if words[0] == "info" else Path(killed.name)
    assert resume_command(place) in done.out


def test_what_it_says_to_type_goes_on_with_it(killed: Path, call: Call) -> None:
    import shlex

    done = call(*shlex.split(resume_command(killed))[1:])
    assert done.code == 0, done.err
    assert f"Run: {killed}" in done.out
    assert headstart.Run(killed).metrics["train"].n
