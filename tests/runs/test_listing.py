"""Runs listed, whatever state they are in; a run is taken by itself and by its folder."""

import json
import shutil
from pathlib import Path

import pytest

import headstart
from headstart.data.given import Source
from headstart.errors import ClassifierError
from headstart.recipe import load_recipe
from headstart.runs import folder as runs
from headstart.runs.compare import compare
from headstart.runs.evaluate import evaluate
from headstart.runs.folder import as_run
from headstart.runs.listing import list_runs
from headstart.runs.training import resume


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    folder = tmp_path_factory.mktemp("listed") / "run"
    return headstart.train(tiny, out=folder, cut="block2b_add", size=64)


def test_runs_are_listed_in_every_state(run: headstart.Run, tiny: Path, tmp_path: Path) -> None:
    for name in ("a-1", "a-2", "a-10", "b-1", "b-2"):
        shutil.copytree(run.folder, tmp_path / name)
    (tmp_path / "b-1" / "run.json").write_text('{"format": 1')
    (tmp_path / "b-2" / "run.json").write_text('{"format": 1}')
    (tmp_path / "a-2" / "metrics.json").unlink()
    recipe = load_recipe("quick", cut="last")
    runs.start(Source(tiny), recipe, False, tmp_path / "c-1", "", {})
    (tmp_path / "c-2").mkdir()
    (tmp_path / "c-2" / "recipe.toml").write_text(recipe.to_toml())  # killed in that moment
    (tmp_path / "photos" / "red").mkdir(parents=True)
    (tmp_path / "file.txt").write_text("")
    entries = list_runs(tmp_path)
    assert [(entry.folder.name, entry.state) for entry in entries] == [
        ("a-1", "finished"), ("a-2", "damaged"), ("a-10", "finished"), ("b-1", "damaged"),
        ("b-2", "damaged"), ("c-1", "unfinished"), ("c-2", "damaged"),
    ]  # fmt: skip
    first = entries[0]
    assert (first.images, first.classes, first.split) == (48, 2, "validation")
    validation = run.metrics["validation"]
    assert first.accuracy == validation.accuracy
    assert first.accuracy_interval == validation.accuracy_interval
    reasons = {entry.folder.name: entry.reason or "" for entry in entries}
    assert "no metrics.json" in reasons["a-2"]
    assert "run.json: expected a whole object in JSON, found: Expecting" in reasons["b-1"]
    assert "run.json: expected a field source, found: none" in reasons["b-2"]
    assert "no started.json" in reasons["c-2"]
    assert entries[5].source == str(tiny)
    assert json.dumps([entry.to_dict() for entry in entries])


def test_the_test_split_tells_most(run: headstart.Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "runs" / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test"] = {**metrics["validation"], "accuracy": 0.5, "accuracy_interval": [0.4, 0.6]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (entry,) = list_runs(tmp_path)  # the folder above finds them as well
    assert (entry.split, entry.accuracy, entry.accuracy_interval) == ("test", 0.5, (0.4, 0.6))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match="Type: headstart runs FOLDER"):
        list_runs(tmp_path / "nowhere")


def test_a_run_is_taken_by_itself_and_by_its_folder(run: headstart.Run, tiny: Path) -> None:
    text = str(run.folder)
    assert headstart.Run(text) == headstart.Run(run.folder) == headstart.Run(run) == run
    assert headstart.Run(text).record["classes"] == ["blue", "red"]
    assert as_run(run) is run
    assert as_run(text) == as_run(run.folder) == run
    assert headstart.load(run).classes == run.classifier.classes
    assert resume(run) == run
    assert evaluate(run, tiny)["all"] == evaluate(text, tiny)["all"]
    compared = compare(run, text)
    assert compared.runs == (run, run)
    assert compared.recipes == {}


def test_a_folder_without_a_run_is_not_taken_for_one_with_a_bad_recipe(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match=r"found no recipe\.toml in .*Type: headstart runs"):
        headstart.remedies(tmp_path / "nothing")
    with pytest.raises(ClassifierError, match=r"found no recipe\.toml in .*Type: headstart runs"):
        headstart.finetune(tmp_path / "nothing")
