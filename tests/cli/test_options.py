"""Options mean the same everywhere, and none is passed over."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from headstart.cli.app import load_commands
from headstart.cli.train import BESIDE_RESUME

Call = Callable[..., Any]


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(load_commands())
    return dict(group.commands)


PASSED_OVER = [p for p in commands()["train"].params if p.name not in {*BESIDE_RESUME, "help"}]


def test_the_options_that_a_resumed_run_would_pass_over_are_many() -> None:
    names = {parameter.name for parameter in PASSED_OVER}
    assert {"photos", "recipe", "precision", "balanced", "strict", "settings"} <= names
    assert len(names) == 19


@pytest.mark.parametrize("parameter", PASSED_OVER, ids=lambda parameter: str(parameter.name))
def test_nothing_beside_resume_is_passed_over(parameter: Any, call: Call, tmp_path: Path) -> None:
    option = max(parameter.opts, key=len)
    typed = [option] if option.startswith("-") else []
    if not getattr(parameter, "is_flag", False):
        typed.append("1")
    done = call("train", "--resume", tmp_path, *typed)
    assert done.code == 2
    assert f"found also {option if option.startswith('-') else 'PHOTOS'}. Type:" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", ""],
        ["train", "--resume", ""],
        ["train", "photos", "--out", ""],
        ["predict", "", "photos"],
        ["predict", "run", ""],
        ["evaluate", "run", ""],
        ["heads", ""],
        ["layers", "efficientnet_lite0", "--data", ""],
        ["compare", "", ""],
        ["info", ""],
        ["runs", ""],
    ],
)
def test_an_empty_name_is_not_the_current_folder(arguments: list[str], call: Call) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert "found an empty name" in " ".join(done.err.replace("│", " ").split())


@pytest.mark.parametrize("name", ["heads", "remedies", "layers", "backbones", "finetune"])
def test_every_budget_takes_minutes(name: str, call: Call) -> None:
    arguments = {"layers": ["efficientnet_lite0", "--data", "."], "backbones": ["--data", "."]}
    done = call(name, *arguments.get(name, ["nowhere"]), "--budget", "soon")
    assert done.code == 2
    assert "expected a time such as 60s or 5m, found 'soon'" in done.err


# What means something of its own, though another command has the same letters, and why.
OWN = {
    ("train", "--budget"): "bounds what is measured, not the training",
    ("explain", "--json"): "one object an image",
    ("predict", "--json"): "one object an image, for there may be a million",
    ("export", "--precision"): "of the file's numbers; train's is of the arithmetic",
    ("predict", "--resume"): "goes on with its own --out FILE; train's with a run",
    ("augment", "--size"): "of each picture on the sheet",
}
WRITES = "--out"  # where a command's result goes: each writes something else


def list_commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its whole name, those of groups too."""
    for name, command in group.items():
        if hasattr(command, "commands"):
            yield from list_commands(command.commands, f"{above}{name} ")
        else:
            yield above + name, command


def test_the_same_option_means_the_same_everywhere() -> None:
    """Same letters, same words in the help, same value; its short form too."""
    seen: dict[str, dict[tuple[Any, ...], list[str]]] = {}
    for name, command in list_commands(commands()):
        for parameter in command.params:
            option = max(parameter.opts, key=len)
            if not option.startswith("-") or option == WRITES or (name, option) in OWN:
                continue
            told = (parameter.metavar, parameter.help, parameter.nargs, parameter.is_flag,
                    tuple(sorted(parameter.opts)))  # fmt: skip
            seen.setdefault(option, {}).setdefault(told, []).append(name)
    assert {option: told for option, told in seen.items() if len(told) > 1} == {}
    assert len(seen["--json"].popitem()[1]) > 10


def test_every_option_with_a_value_says_what_it_takes() -> None:
    for name, command in list_commands(commands()):
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.is_flag:
                assert parameter.metavar, f"{name} {parameter.opts}"


@pytest.mark.parametrize(
    "name", ["train", "finetune", "evaluate", "compare", "remedies", "heads", "learning-curve",
             "lr", "layers", "backbones"]
)  # fmt: skip
def test_what_measures_can_be_quiet_and_speak_json(name: str) -> None:
    options = {max(parameter.opts, key=len) for parameter in commands()[name].params}
    assert {"--json", "--quiet"} <= options


@pytest.mark.parametrize(
    "arguments",
    [["backbones", "--only", "resnet50"], ["layers", "efficientnet_lite0", "--budget", "5m"]],
)
def test_options_of_measuring_need_images(arguments: list[str], call: Call) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert f"expected --data PHOTOS with {arguments[-2]}" in done.err


def test_an_empty_folder_is_not_predicted(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = call("predict", tmp_path, tmp_path / "empty")
    assert done.code == 2
    assert f"expected images in {tmp_path / 'empty'}, found none. Type: headstart" in done.err


def test_one_file_of_weights_is_of_one_backbone(call: Call) -> None:
    done = call("backbones", "--data", ".", "--weights", "net.h5")
    assert done.code == 2
    assert "expected one backbone for the weights in net.h5" in done.err
    assert "Type: --only NAME" in done.err
