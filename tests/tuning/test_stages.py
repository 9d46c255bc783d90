"""Fine-tuning from end to end."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import mirrored_letters

import headstart
from headstart.data.dataset import load
from headstart.errors import RecipeError
from headstart.explain.maps import maps
from headstart.features.extract import extract_features
from headstart.features.extractor import open_extractor
from headstart.heads.examples import Examples
from headstart.recipe import Recipe, load_recipe
from headstart.runs import training
from headstart.runs.folder import Run
from headstart.system.progress import Progress, Silent
from headstart.tuning.judge import part_images
from headstart.tuning.stages import Tuning, finetune

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'headstart[tensorflow]'"
)
SMALL: dict[str, Any] = {
    "cut": "block6d_add", "size": 64, "precision": "f32", "views": 1, "augmentation": {},
    "tune_epochs": 3, "tune_learning_rate": 3e-3, "boundary": "block6a_project_bn", "batch_size": 8,
}  # fmt: skip


def recipe(**choices: Any) -> Recipe:
    return load_recipe("thorough", **{**SMALL, **choices})


class Lines(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 pictures on which fine-tuning pays."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("mirrored")
    for index, (picture, label) in enumerate(zip(*mirrored_letters(200), strict=True)):
        target = folder / ("l", "mirror image")[label] / f"{index}.png"
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(target)
    return folder


@pytest.fixture(scope="module")
def tuned(mirrored: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which fine-tuning pays."""
    return headstart.train(mirrored, recipe(), out=tmp_path_factory.mktemp("tuned") / "run")


def test_it_begins_from_a_linear_head() -> None:
    with pytest.raises(RecipeError, match="begins from a linear head"):
        load_recipe("classic", finetune=True)


@needs_tensorflow
def test_where_it_pays_the_tuned_network_is_better_on_new_images(
    mirrored: Path, tuned: Run, tmp_path: Path
) -> None:
    record = tuned.record["tuning"]
    assert record["kept"]
    assert record["verdict"].startswith("Fine-tuning pays: accuracy +")
    assert [stage["boundary"] for stage in record["stages"]] == ["block6a_project_bn"]
    assert not (tuned.folder / "stages").exists()
    plain = headstart.train(mirrored, recipe(finetune=False), out=tmp_path / "plain")
    accuracies = [run.metrics["validation"].accuracy for run in (plain, tuned)]
    assert accuracies[0] < 0.8 < accuracies[1]


@needs_tensorflow
def test_tuned_and_frozen_parts_are_one_classifier_and_one_keras_model(
    mirrored: Path, tuned: Run, tmp_path: Path
) -> None:
    from headstart.images.geometry import prepare
    from headstart.tuning.keras_model import normalised

    paths = sorted(mirrored.glob("*/*"))[::30]
    pixels = np.stack([prepare(p.read_bytes(), tuned.classifier.geometry) for p in paths])
    moved = tmp_path / "elsewhere"
    shutil.copytree(tuned.folder / "classifier", moved)  # it stands for itself
    ours = headstart.load(moved).predict_proba(paths)
    theirs = np.asarray(tuned.keras_model()(normalised(pixels, tuned.recipe)))
    assert np.abs(ours - theirs).max() < 1e-3
    assert (tuned.folder / "model.keras").is_file()


@needs_tensorflow
def test_a_tuned_classifier_is_explained(mirrored: Path, tuned: Run) -> None:
    paths = sorted(mirrored.glob("*/*"))[::30]
    explained = list(maps(tuned.classifier, paths))
    assert [one.prediction for one in explained] == tuned.classifier.predict(paths)
    for one in explained:
        assert one.evidence is not None
        assert one.evidence.difference == pytest.approx(0, abs=1e-4)  # its head is linear too


@needs_tensorflow
def test_where_it_does_not_pay_the_linear_head_is_kept(tiny: Path, tmp_path: Path) -> None:
    run = headstart.train(tiny, out=tmp_path / "run", cut="block6d_add", size=64)
    kept = training.finetune(run, out=tmp_path / "kept", boundary="block6b_add", tune_epochs=1)
    assert not kept.record["tuning"]["kept"]
    assert "The linear head is kept" in kept.record["tuning"]["verdict"]
    assert not (kept.folder / "backbone.weights.h5").exists()
    assert kept.metrics["validation"].accuracy == 1


def tune(
    source: Path,
    folder: Path,
    progress: Progress,
    *,
    swapped: bool = False,
    groups: int = 0,
    **choices: Any,
) -> Tuning:
    """Fine-tune on the training images of a folder.

    swapped: the unseen images show what they are not. groups: so many.
    """
    dataset, chosen = load(source), recipe(**choices)
    items = np.array(dataset.split("train"), object)
    targets = dataset.task.targets([item.labels for item in items])
    extractor = open_extractor(chosen)
    values = extract_features(list(items), extractor, chosen).values
    examples = Examples(values=values, targets=targets, task=dataset.task)
    if groups:
        examples = replace(examples, groups=np.arange(len(items)) // 2 % groups)
    if swapped:
        unseen = part_images(examples, chosen.seed).unseen
        first, second = (unseen[targets[unseen] == label] for label in (0, 1))
        shown = np.arange(len(items))
        shown[first], shown[second] = np.resize(second, len(first)), np.resize(first, len(second))
        items, examples = items[shown], replace(examples, values=values[shown])
    folder.mkdir()
    return finetune(list(items), examples, extractor, chosen, folder, progress)


@pytest.fixture(scope="module")
def paying(mirrored: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    """A tuning that pays, whose images and features are gone before all is trained once more."""
    folder = tmp_path_factory.mktemp("paying")
    images = shutil.copytree(mirrored, folder / "images")
    with pytest.MonkeyPatch.context() as patch:

        class Remover(Silent):
            def say(self, text: str) -> None:
                if text == "once more with all training images":
                    shutil.rmtree(images)
                    patch.setenv("HEADSTART_CACHE", str(folder / "another cache"))

        tuning = tune(images, folder / "run", Remover())
    assert not images.exists()
    return tuning


@needs_tensorflow
def test_the_last_activations_are_not_read_twice(paying: Tuning) -> None:
    assert paying.kept
    assert paying.head is not None


@needs_tensorflow
def test_the_verdict_is_of_images_on_which_nothing_was_chosen(
    mirrored: Path, paying: Tuning, tmp_path: Path
) -> None:
    wrong = tune(mirrored, tmp_path / "wrong", Silent(), swapped=True)
    assert paying.kept
    assert not wrong.kept  # the better the network, the worse the verdict
    assert wrong.text.startswith("Fine-tuning does not pay here: accuracy -")
    # Yet all that was trained and chosen is the same.
    assert [replace(stage, seconds=0) for stage in wrong.stages] == [
        replace(stage, seconds=0) for stage in paying.stages
    ]
    assert wrong.stages[0].kept


@needs_tensorflow
def test_too_few_groups_leave_the_linear_head(mirrored: Path, tmp_path: Path) -> None:
    progress = Lines()
    tuning = tune(mirrored, tmp_path / "three", progress, groups=3)
    assert "four groups or more" in tuning.text
    assert progress.lines == [tuning.text]
    assert tuning.untried == ("block6a_project_bn",)
    assert tuning.recipe == recipe()
    assert tuning.head is None


@needs_tensorflow
def test_above_the_first_cut_there_is_nothing_to_tune(tiny: Path, tmp_path: Path) -> None:
    tuning = tune(tiny, tmp_path / "early", Silent(), cut="block1a_project_bn", boundary="auto")
    assert tuning.text == (
        "Too little lies below block1a_project_bn to be tuned: the linear head is kept."
    )
    assert not tuning.kept


@needs_tensorflow
def test_groups_of_a_training_reach_its_tuning(tiny: Path, tmp_path: Path) -> None:
    # By tens there are five groups; three of them are for training.
    chosen = recipe(groups=r"(\d?)\d\.", validation_fraction=0.4)
    run = headstart.train(tiny, chosen, out=tmp_path / "run")
    assert "four groups or more" in run.record["tuning"]["verdict"]
    assert run.record["tuning"]["untried"] == ["block6a_project_bn"]
    assert run.metrics["validation"].accuracy == 1


@needs_tensorflow
def test_a_tuning_killed_twice_goes_on_to_the_same_bytes(
    mirrored: Path, tuned: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.heads.checkpoint.SHARE", 1e9)  # a checkpoint after each epoch

    class Killed(Exception):
        pass

    class Killer(Progress):
        def __init__(self, line: str) -> None:
            self.line = line

        def say(self, text: str) -> None:
            if self.line in text:
                raise Killed

    out = tmp_path / "run"
    with pytest.raises(Killed):
        headstart.train(mirrored, recipe(), out=out, progress=Killer("epoch 2/3"))
    assert (out / "stages" / "block6a_project_bn-judged" / "checkpoint.safetensors").is_file()
    with pytest.raises(Killed):
        training.resume(out, progress=Killer("epoch 1/2"))
    assert (out / "stages" / "block6a_project_bn-whole" / "checkpoint.safetensors").is_file()
    resumed = training.resume(out)
    for name in ("head.safetensors", "model.bin"):
        again = (resumed.folder / "classifier" / name).read_bytes()
        assert again == (tuned.folder / "classifier" / name).read_bytes()


@needs_tensorflow
def test_without_time_the_linear_head_is_the_answer(tiny: Path, tmp_path: Path) -> None:
    progress = Lines()
    run = headstart.train(tiny, recipe(tune_budget=0), out=tmp_path / "run", progress=progress)
    assert run.record["tuning"]["untried"] == ["block6a_project_bn"]
    assert (
        "the time for measuring how far down it pays is up, and block6a_project_bn was not tried. "
        "With more of it: --budget 60s"
    ) in progress.lines
    assert run.metrics["validation"].accuracy == 1
