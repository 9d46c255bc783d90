"""A training that was killed: what is said of it, what goes on with it, and that one alone does."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.data.dataset import load
from headstart.data.given import Source
from headstart.errors import ClassifierError, RecipeError
from headstart.recipe import load_recipe
from headstart.runs import folder as runs
from headstart.runs import record
from headstart.system.lock import held_alone

CHOICES: dict[str, Any] = {"cut": "block1a_project_bn", "size": 64}


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    return headstart.train(tiny, out=tmp_path_factory.mktemp("whole") / "run", **CHOICES)


@pytest.fixture
def killed(tiny: Path, finished: headstart.Run, tmp_path: Path) -> Path:
    """Killed as late as can be: the classifier is there, run.json is not."""
    recipe = load_recipe("quick", **CHOICES)
    folder = runs.start(
        Source(tiny), recipe, False, tmp_path / "a run", load(tiny).fingerprint(), {}
    )
    shutil.copytree(finished.folder / "classifier", folder / "classifier")
    return folder


def test_the_same_place_is_refused_with_what_goes_on_with_it(tiny: Path, killed: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        headstart.train(tiny, out=killed, **CHOICES)
    assert f"type: headstart train --resume '{killed}'" in str(refused.value)
    assert "--out with another name" in str(refused.value)


@pytest.mark.parametrize(
    "use",
    [
        headstart.load,
        lambda run: headstart.Run(run).classifier,
        lambda run: headstart.Run(run).record,
        lambda run: headstart.Run(run).summary(),
        lambda run: headstart.evaluate(run, run),
        headstart.remedies,
        headstart.finetune,
    ],
)
def test_it_is_not_used_as_if_it_were_finished(killed: Path, use: Callable[[Path], Any]) -> None:
    with pytest.raises(ClassifierError) as refused:
        use(killed)
    assert f"headstart train --resume '{killed}'" in str(refused.value)


def test_nor_compared(killed: Path, finished: headstart.Run) -> None:
    with pytest.raises(ClassifierError, match="headstart train --resume"):
        headstart.compare(finished, killed)


def test_going_on_leaves_nothing_of_the_killed_process(
    killed: Path, finished: headstart.Run
) -> None:
    half = killed / ".classifier.0123abcd.tmp"
    half.mkdir()
    (half / "model.bin").write_bytes(bytes(1000))
    (killed / "folds" / "0").mkdir(parents=True)
    (killed / "folds" / "0" / ".best.safetensors").touch()
    for name in (".model.keras", ".checkpoint.safetensors", ".run.json.0123abcd.tmp"):
        (killed / name).touch()
    run = headstart.resume(killed)
    assert {path.name for path in killed.iterdir()} == {
        path.name for path in finished.folder.iterdir()
    }
    for file in sorted((killed / "classifier").iterdir()):
        assert file.read_bytes() == (finished.folder / "classifier" / file.name).read_bytes()
    assert np.array_equal(run.metrics["train"].confusion, finished.metrics["train"].confusion)


def test_what_was_finished_is_cleared_if_that_was_broken_off(
    finished: headstart.Run, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    (folder / "started.json").write_text("{}")
    (folder / "stages").mkdir()
    assert headstart.load(folder).classes == ("blue", "red")  # it is whole: run.json says so
    headstart.resume(folder)
    assert {path.name for path in folder.iterdir()} == {
        path.name for path in finished.folder.iterdir()
    }


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_one_process_alone_goes_on(killed: Path) -> None:
    with (
        runs.alone_in(killed),
        pytest.raises(ClassifierError, match="another process goes on with"),
    ):
        headstart.resume(killed)
    assert not (killed / "run.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_a_killed_process_keeps_nobody_away(killed: Path) -> None:
    program = f"""
import time
from pathlib import Path
from headstart.runs.folder import alone_in
with alone_in(Path({str(killed)!r})):
    print("held", flush=True)
    time.sleep(600)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(ClassifierError, match="Wait until it has ended"):
        headstart.resume(killed)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    headstart.resume(killed)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_a_training_holds_its_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def meanwhile(folder: Path, *rest: Any) -> None:
        with pytest.raises(ClassifierError, match="another process goes on with"):
            headstart.resume(folder)
        refused.append(folder)
        write(folder, *rest)

    write = record.write_classifier
    monkeypatch.setattr(record, "write_classifier", meanwhile)
    headstart.train(tiny, out=tmp_path / "run", **CHOICES)
    assert refused == [tmp_path / "run"]


def test_two_that_begin_in_one_place_at_once(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have found it empty: the second one is refused."""
    recipe, folder = load_recipe("quick", **CHOICES), tmp_path / "run"
    monkeypatch.setattr(runs, "_new_folder", lambda source, out: out)
    folder.mkdir()
    runs.start(Source(tiny), recipe, False, folder, "first", {})
    with pytest.raises(RecipeError, match="expected a new folder"):
        runs.start(Source(tiny), recipe, False, folder, "second", {})
    assert runs.started(folder)["dataset"] == "first"


@pytest.mark.parametrize("reached", ["nothing", "half a recipe", "a recipe"])
def test_a_folder_in_which_a_training_was_killed_as_it_began_is_as_good_as_new(
    tiny: Path, tmp_path: Path, reached: str
) -> None:
    recipe, folder = load_recipe("quick"), tmp_path / "run"
    folder.mkdir()
    (folder / ".started.json.tmp").touch()
    left = {"half a recipe": ".recipe.toml.12ab.tmp", "a recipe": "recipe.toml"}.get(reached)
    if left:
        (folder / left).write_text("name = ")
    runs.check_new(folder)
    runs.start(Source(tiny), recipe, False, folder, "", {})
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.toml", "started.json"]
    assert load_recipe(folder / "recipe.toml") == recipe


def test_a_recipe_of_the_user_s_is_not_taken_for_what_a_killed_training_left(
    tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text("budget = 10")
    with pytest.raises(RecipeError, match="with something in it"):
        runs.start(Source(tiny), load_recipe("quick"), False, tmp_path, "", {})
    assert (tmp_path / "recipe.toml").read_text() == "budget = 10"


def test_a_training_that_cannot_write_its_beginning_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs, "write_json", refuse)
    with pytest.raises(OSError, match="No space"):
        runs.start(Source(tiny), load_recipe("quick"), False, tmp_path / "run", "", {})
    assert not any((tmp_path / "run").iterdir())


def test_a_folder_in_which_another_training_begins_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / ".started.json.tmp").touch()
    with (
        held_alone(tmp_path / ".started.json.tmp"),
        pytest.raises(RecipeError, match="expected a new folder"),
    ):
        runs.start(Source(tiny), load_recipe("quick"), False, tmp_path, "", {})
    assert [path.name for path in tmp_path.iterdir()] == [".started.json.tmp"]
