"""Every kind of head, alone and as a mean of several, on every kind of labels: the whole way."""

import csv
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.errors import RecipeError
from headstart.heads import checkpoint
from headstart.recipe import load_recipe
from headstart.runs.training import resume
from headstart.selection import heads as head_selection
from headstart.system.progress import Silent

COLOURS = {"blue": (60, 60, 200), "green": (60, 180, 60), "red": (200, 60, 60)}
QUICK: dict[str, Any] = {
    "size": 32, "cut": "block1a_project_bn", "precision": "f32", "folds": 2, "epochs": 2,
    "layers": ["batchnorm", "dense 4 relu", "dropout"], "learning_rate": 0.05,
}  # fmt: skip

pytestmark = [
    # TensorFlow warns of its own insides at import.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="needs TensorFlow: pip install 'headstart[tensorflow]'",
)


def picture(path: Path, colours: list[tuple[int, int, int]], rng: np.random.Generator) -> None:
    """Stripes of the colours, with noise."""
    rows = np.array(colours or [(128, 128, 128)])[np.arange(32) * max(1, len(colours)) // 32]
    pixels = rows[:, None] + rng.normal(0, 25, (32, 32, 3))
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Images in one of two classes, one of three, and in several each (a table)."""
    folder, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(0)
    for kind, classes in (("pair", ["blue", "red"]), ("three", list(COLOURS))):
        (folder / kind).mkdir()
        for name in classes:
            for number in range(12):
                picture(folder / kind / name / f"{number}.png", [COLOURS[name]], rng)
    rows = []
    (folder / "several").mkdir()
    for number in range(24):
        labels = [name for bit, name in enumerate(("blue", "red")) if number >> bit & 1]
        picture(folder / "several" / f"{number}.png", [COLOURS[name] for name in labels], rng)
        rows.append((f"{number}.png", ";".join(labels)))
    with (folder / "several" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return {
        "pair": folder / "pair", "three": folder / "three",
        "several": folder / "several" / "labels.csv",
    }  # fmt: skip


def of_keras(run: headstart.Run, paths: list[Path]) -> np.ndarray:
    """(N, C) probabilities by the Keras model that the run left, on the same pixels."""
    import keras

    from headstart.images.geometry import prepare
    from headstart.tuning.keras_model import normalised

    model = keras.models.load_model(run.folder / "model.keras")
    geometry = run.classifier.geometry
    pixels = np.stack([prepare(path.read_bytes(), geometry) for path in paths])
    rows = np.asarray(model(normalised(pixels, run.recipe)))
    return np.concatenate([1 - rows, rows], axis=1) if rows.shape[1] == 1 else rows


def check(run: headstart.Run, photos: Path) -> None:
    """The run predicts its own images, and its Keras model says the same."""
    paths = sorted(photos.glob("*/*.png"))[::5]
    probabilities = run.classifier.predict_proba(paths)
    classes = [path.parent.name for path in paths]
    assert probabilities.shape == (len(paths), len(set(classes)))
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert "train" in run.metrics
    assert not (run.folder / "folds").exists()
    if run.recipe.head == "neural":
        assert of_keras(run, paths) == pytest.approx(probabilities, abs=2e-4)
    else:
        assert run.classifier.predict(paths[0]).label == classes[0]
        assert not (run.folder / "model.keras").exists()


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("labels", ["pair", "three"])
@pytest.mark.parametrize("head", ["linear", pytest.param("neural", marks=needs_tensorflow)])
def test_a_head_on_images_in_one_class(
    sources: dict[str, Path], tmp_path: Path, head: str, labels: str, ensemble: bool
) -> None:
    run = headstart.train(
        sources[labels], load_recipe(head=head, ensemble=ensemble, **QUICK), out=tmp_path / "run"
    )
    assert (run.recipe.head, run.recipe.ensemble) == (head, ensemble)
    check(run, sources[labels])


@needs_tensorflow
@pytest.mark.parametrize("wins", ["linear, mean of folds", "neural 64", "neural 64, mean of folds"])
def test_a_measured_head(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wins: str
) -> None:
    every = head_selection.list_candidates
    monkeypatch.setattr(
        head_selection, "list_candidates",
        lambda *given: [(name, {**changes, **({"epochs": 2} if "epochs" in changes else {})})
                        for name, changes in every(*given) if name == wins],
    )  # fmt: skip
    monkeypatch.setattr(head_selection, "FOLDS", 2)
    monkeypatch.setattr(head_selection, "INNER", 2)
    labels = "three" if wins == "neural 64" else "pair"
    run = headstart.train(sources[labels], out=tmp_path / "run", head="auto", **QUICK)
    assert run.record["heads"]["chosen"] == wins
    assert run.recipe.ensemble == ("mean" in wins)
    check(run, sources[labels])


@pytest.mark.parametrize("head", ["linear", "auto"])
def test_a_linear_head_on_images_in_several_classes(
    sources: dict[str, Path], tmp_path: Path, head: str
) -> None:
    run = headstart.train(sources["several"], load_recipe(head=head, **QUICK), out=tmp_path / "run")
    assert run.recipe.head == "linear"
    folder = sources["several"].parent
    predictions = run.classifier.predict([folder / "1.png", folder / "2.png"])
    assert [prediction.labels for prediction in predictions] == [("blue",), ("red",)]


@pytest.mark.parametrize(
    ("head", "ensemble"), [("neural", False), ("neural", True), ("linear", True), ("auto", True)]
)
def test_other_heads_on_images_in_several_classes_are_refused(
    sources: dict[str, Path], tmp_path: Path, head: str, ensemble: bool
) -> None:
    with pytest.raises(RecipeError, match="expected head = 'linear' without finetune and ensemble"):
        headstart.train(
            sources["several"],
            load_recipe(head=head, ensemble=ensemble, **QUICK),
            out=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_layers_that_cannot_be_averaged_are_refused_before_anything_slow(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    choices = {**QUICK, "layers": ["dense 4 softmax"]}
    with pytest.raises(RecipeError, match="expected layers without softmax for ensemble = true"):
        headstart.train(
            sources["pair"], out=tmp_path / "run", head="neural", ensemble=True, **choices
        )
    assert not (tmp_path / "run").exists()


class StopAfter(Silent):
    """Interrupts the training after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.left, self.told = epochs, 0

    def say(self, text: str) -> None:
        if text.startswith("epoch"):
            self.left -= 1
            self.told += 1
            if not self.left:
                raise KeyboardInterrupt


@needs_tensorflow
def test_a_stopped_ensemble_is_resumed_to_the_same_bytes(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)  # a checkpoint after each epoch
    choices = {**QUICK, "head": "neural", "ensemble": True, "epochs": 3}
    whole = headstart.train(sources["three"], out=tmp_path / "whole", **choices)
    with pytest.raises(KeyboardInterrupt):  # in the middle of the second fold
        headstart.train(
            sources["three"], out=tmp_path / "stopped", progress=StopAfter(5), **choices
        )
    assert (tmp_path / "stopped" / "folds" / "1" / "checkpoint.safetensors").is_file()
    rest = StopAfter(-1)
    resumed = resume(tmp_path / "stopped", progress=rest)
    assert rest.told == 1  # of two folds of three epochs each
    assert not (resumed.folder / "folds").exists()
    for name in ("classifier/head.safetensors", "classifier/model.bin", "metrics.json"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()
