"""Runs that earlier versions wrote: read, predicted with, measured, compared, gone on with.

tests/data_of_old_runs holds a folder for each version whose formats were others, made with that
version by the make.py beside them, and the probabilities that it gave.
"""

import importlib.util
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.data.dataset import load
from headstart.errors import ClassifierError, DatasetError
from headstart.report.words import summary
from headstart.runs.evaluate import evaluate_views
from headstart.system.progress import Progress

OLD = Path(__file__).parents[1] / "data_of_old_runs"
VERSIONS = sorted(path.name for path in OLD.iterdir() if (path / "photos.zip").is_file())
FINISHED = ("linear", "several_classes", "neural")

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="needs TensorFlow: pip install 'headstart[tensorflow]'",
)


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Path:
    return OLD / str(request.param)


@pytest.fixture(scope="module")
def photos(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """disc/ and plain/ with the 64 pictures that the runs learned from, and labels.csv."""
    folder = tmp_path_factory.mktemp("photos")
    with zipfile.ZipFile(version / "photos.zip") as packed:
        packed.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def folders(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures in one class each, without the table."""
    folder = tmp_path_factory.mktemp("folders") / "photos"
    shutil.copytree(photos, folder, ignore=shutil.ignore_patterns("*.csv"))
    return folder


def probabilities_of(version: Path, name: str) -> dict[str, dict[str, float]]:
    """Picture -> class -> probability, as the old version gave them."""
    table: dict[str, Any] = json.loads((version / "probabilities.json").read_text())
    return table[name]


def assert_predicts(
    classifier: Any, photos: Path, expected: dict[str, dict[str, float]], tolerance: float = 1e-5
) -> None:
    assert len(expected) == 64
    predictions = classifier.predict([photos / name for name in expected])
    ours = np.array([[p.probabilities[c] for c in classifier.classes] for p in predictions])
    theirs = np.array([[row[c] for c in classifier.classes] for row in expected.values()])
    assert theirs.std() > 0.05  # that they agree says something
    assert np.abs(ours - theirs).max() < tolerance


def test_there_are_runs_of_the_first_version() -> None:
    assert "0.1.0" in VERSIONS


@pytest.mark.parametrize("name", FINISHED)
def test_it_predicts_what_it_predicted(version: Path, photos: Path, name: str) -> None:
    expected = probabilities_of(version, name)
    assert_predicts(headstart.Run(version / name).classifier, photos, expected)
    assert_predicts(headstart.load(version / name / "classifier"), photos, expected)


@pytest.mark.parametrize("name", FINISHED)
def test_the_classifier_alone_is_enough(
    version: Path, photos: Path, tmp_path: Path, name: str
) -> None:
    alone = shutil.copytree(version / name / "classifier", tmp_path / "alone")
    assert_predicts(headstart.load(alone), photos, probabilities_of(version, name))


@pytest.mark.parametrize("name", FINISHED)
def test_its_predictions_decide_as_its_table_says(version: Path, photos: Path, name: str) -> None:
    run = headstart.Run(version / name)
    lines = (run.folder / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + run.record["images"]["validation"]
    for line in lines[1:]:
        image, _, split, _, predicted, *_ = line.split(",")
        assert split == "validation"
        assert run.classifier.predict(photos / image).label == predicted


def test_a_linear_run_is_read_whole(version: Path) -> None:
    run = headstart.Run(version / "linear")
    assert run.record["classes"] == ["disc", "plain"]
    assert run.record["source"] == "/photos"
    assert (run.recipe.head, run.recipe.cut) == ("linear", ("block1a_project_bn",))
    assert (run.recipe.size, run.recipe.precision) == (64, "f32")
    assert run.history == {}
    assert {"train", "validation", "cross_validation"} == run.metrics.keys()
    n = run.record["images"]["validation"]
    assert run.metrics["validation"].n == n
    low, high = run.metrics["validation"].accuracy_interval
    assert low < run.metrics["validation"].accuracy < high
    assert f"of {n} images right" in summary(run.metrics)
    assert f"{run.metrics['validation'].accuracy:.1%}" in repr(run)


def test_a_run_of_several_classes_keeps_its_thresholds(version: Path, photos: Path) -> None:
    run = headstart.Run(version / "several_classes")
    classifier = run.classifier
    assert classifier.task.multilabel
    assert classifier.classes == ("dark", "disc")
    assert classifier.thresholds is not None
    assert not np.any(classifier.thresholds == 0.5)  # chosen, and not the default
    for prediction in classifier.predict(sorted(photos.glob("*/*.png"))):
        expected = [
            name
            for name, limit in zip(classifier.classes, classifier.thresholds, strict=True)
            if prediction.probabilities[name] >= limit
        ]
        assert list(prediction.labels or ()) == expected
    assert run.metrics["validation"].mean_average_precision > 0.5
    assert "mean average precision" in summary(run.metrics)


def test_a_neural_run_has_its_history(version: Path) -> None:
    run = headstart.Run(version / "neural")
    assert run.recipe.layers == ("batchnorm", "dense 8 relu")
    assert run.record["kept_epoch"] == 4
    assert set(run.history) >= {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
    assert [len(values) for values in run.history.values()] == [4] * len(run.history)
    assert run.history["loss"][-1] < run.history["loss"][0]


@pytest.mark.parametrize("name", FINISHED)
def test_it_is_measured_as_it_was(
    version: Path, photos: Path, folders: Path, tmp_path: Path, name: str
) -> None:
    """On its validation images alone: the same figures as in its metrics."""
    run = headstart.Run(version / name)
    rows = (run.folder / "predictions.csv").read_text().splitlines()[1:]
    if name == "several_classes":
        source = tmp_path / "validation.csv"
        table = (photos / "labels.csv").read_text().splitlines()
        names = {row.split(",")[0] for row in rows}
        chosen = [f"{photos}/{line}" for line in table[1:] if line.split(",")[0] in names]
        source.write_text("\n".join([table[0], *chosen]) + "\n")
    else:
        source = tmp_path / "validation"
        for row in rows:
            image = row.split(",")[0]
            (source / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folders / image, source / image)
    evaluated = evaluate_views(run.folder, source, 1)
    ours, theirs = evaluated.metrics["all"], run.metrics["validation"]
    assert (ours.n, ours.accuracy) == (theirs.n, theirs.accuracy)
    assert ours.classes == theirs.classes or name == "several_classes"
    assert ours.macro_f1 == pytest.approx(theirs.macro_f1)
    assert not evaluated.warnings  # none of these was trained on


def test_images_it_was_trained_on_are_known(version: Path, folders: Path) -> None:
    run = headstart.Run(version / "linear")
    (warning,) = evaluate_views(run.folder, folders, 1).warnings
    assert f"{run.record['images']['train']} of these 64 images were trained on" in warning


def test_old_runs_are_compared_with_one_another_and_with_a_new_one(
    version: Path, folders: Path, tmp_path: Path
) -> None:
    linear, neural = headstart.Run(version / "linear"), headstart.Run(version / "neural")
    new = headstart.train(folders, out=tmp_path / "run", size=64, cut="block1a_project_bn",
                          precision="f32")  # fmt: skip
    compared = headstart.compare(linear, neural, new)
    assert compared.recipes["head"] == ("linear", "neural", "linear")
    with_neural, with_new = compared.pairs
    n = linear.record["images"]["validation"]
    assert with_neural is not None
    assert with_neural.n == n
    assert with_new is not None
    assert with_new.n == n  # the same split
    assert new.record["dataset"] == linear.record["dataset"]


def test_the_recipe_of_an_old_run_trains(
    version: Path, folders: Path, photos: Path, tmp_path: Path
) -> None:
    """On the same images; the head scales its features in another way since."""
    for name, source in (("linear", folders), ("several_classes", photos / "labels.csv")):
        old = headstart.Run(version / name)
        run = headstart.train(source, version / name / "recipe.toml", out=tmp_path / name)
        assert run.record["dataset"] == old.record["dataset"]
        assert run.recipe == old.recipe


class Listener(Progress):
    """Notes what is said of the epochs that are trained, and how far a bar of them has come."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: list[int] = []
        self.count = 0

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
        self.count = 0
        yield

    def advance(self, count: int = 1) -> None:
        self.count += count

    def say(self, text: str) -> None:
        if text.startswith("epoch"):
            self.lines.append(text)
            self.bars.append(self.count)


@pytest.fixture
def stopped(version: Path, folders: Path, tmp_path: Path) -> Path:
    """A neural training killed behind its second epoch, its images at their place of today."""
    folder = shutil.copytree(version / "stopped", tmp_path / "stopped")
    begun = json.loads((folder / "started.json").read_text())
    (folder / "started.json").write_text(json.dumps({**begun, "source": str(folders)}))
    return folder


@needs_tensorflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_stopped_training_goes_on_to_where_it_would_have_ended(
    version: Path, stopped: Path, photos: Path
) -> None:
    listener = Listener()
    run = headstart.resume(stopped, progress=listener)
    # The first two are those of the old version.
    assert [line[:11] for line in listener.lines] == ["epoch   3/4", "epoch   4/4"]
    assert listener.bars == [3, 4]  # counted from where it stood
    unbroken = headstart.Run(version / "neural")
    for name in ("loss", "val_loss"):
        assert run.history[name][:2] == unbroken.history[name][:2]
        assert run.history[name] == pytest.approx(unbroken.history[name], abs=1e-4)
    ours = run.classifier.predict_proba(sorted(photos.glob("*/*.png")))
    theirs = unbroken.classifier.predict_proba(sorted(photos.glob("*/*.png")))
    assert np.abs(ours - theirs).max() < 1e-3
    assert not (stopped / "started.json").exists()


def test_a_stopped_training_whose_images_are_gone_says_so(version: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(version / "stopped", tmp_path / "stopped")
    with pytest.raises(DatasetError, match="/photos"):
        headstart.resume(folder)
    with pytest.raises(ClassifierError, match=r"expected a finished run.* --resume"):
        _ = headstart.Run(folder).record


def test_a_stopped_training_does_not_go_on_with_other_images(stopped: Path, folders: Path) -> None:
    fewer = stopped.parent / "fewer"
    shutil.copytree(folders, fewer)
    sorted(fewer.glob("disc/*"))[0].unlink()
    begun = json.loads((stopped / "started.json").read_text())
    assert load(folders).fingerprint() == begun["dataset"]
    (stopped / "started.json").write_text(json.dumps({**begun, "source": str(fewer)}))
    with pytest.raises(ClassifierError, match="expected the images with which the training"):
        headstart.resume(stopped)
