"""Neural heads: layers, schedules, training, resuming, and the plain Keras model."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import examples

import headstart
from headstart.cli.result import show_run
from headstart.errors import RecipeError
from headstart.heads.epochs import encode_targets
from headstart.heads.schedule import compute_learning_rate
from headstart.recipe import Recipe, load_recipe

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
needs_tensorflow = pytest.mark.skipif(
    not HAS_TENSORFLOW, reason="needs TensorFlow: pip install 'headstart[tensorflow]'"
)
# TensorFlow warns of its own insides at import.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def recipe(**choices: object) -> Recipe:
    return load_recipe(**{"head": "neural", "batch_size": 8, "epochs": 4, **choices})


def blobs(classes: int = 2, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Well separated features (N, 6) with labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = rng.normal(0, 3, (classes, 6))
    return (centres[labels] + rng.normal(0, 1, (count, 6))).astype("f4"), labels


def in_batches(values: np.ndarray, size: int) -> Any:
    def batches(epoch: int, order: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(order), size):
            yield values[order[start : start + size]]

    return batches


def read_strictly(text: str) -> Any:
    """JSON as its standard has it, without nan and infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def fit(folder: Path, chosen: Recipe, classes: int = 2, **options: Any) -> Any:
    from headstart.heads import neural

    values, labels = blobs(classes)
    return neural.fit(
        in_batches(values, chosen.batch_size), labels, (values[:20], labels[:20]), classes, 6,
        chosen, folder=folder, **options,
    )  # fmt: skip


def test_cosine_and_one_cycle_by_hand() -> None:
    cosine = recipe(schedule="cosine", learning_rate=0.1)
    assert compute_learning_rate(cosine, 0, 100, []) == pytest.approx(0.1)
    assert compute_learning_rate(cosine, 50, 100, []) == pytest.approx(0.05)
    assert compute_learning_rate(cosine, 100, 100, []) == pytest.approx(0)
    cycle = recipe(schedule="one_cycle", learning_rate=0.1)
    assert compute_learning_rate(cycle, 0, 100, []) == pytest.approx(0.004)
    assert compute_learning_rate(cycle, 30, 100, []) == pytest.approx(0.1)
    assert compute_learning_rate(cycle, 100, 100, []) == pytest.approx(1e-5)


def test_plateau_by_hand() -> None:
    plateau = recipe(schedule="plateau", learning_rate=1.0)
    assert compute_learning_rate(plateau, 0, 1, [3, 2, 1]) == 1
    assert compute_learning_rate(plateau, 0, 1, [1, 2, 2, 2]) == pytest.approx(0.2)
    assert compute_learning_rate(plateau, 0, 1, [1, 2, 2, 2, 0.5, 1, 1]) == pytest.approx(0.2)
    assert compute_learning_rate(plateau, 0, 1, [1] + [2] * 6) == pytest.approx(0.04)


@needs_tensorflow
@pytest.mark.parametrize(
    ("text", "kind"),
    [("dense 5 relu", "Dense"), ("dense 5", "Dense"), ("dropout 0.5", "Dropout"),
     ("dropout", "Dropout"), ("batchnorm", "BatchNormalization"),
     ("activation tanh", "Activation")],
)  # fmt: skip
def test_layers_are_parsed(text: str, kind: str) -> None:
    from headstart.heads.neural import parse_layer, prepare_keras

    prepare_keras()
    assert type(parse_layer(text, recipe())).__name__ == kind


@needs_tensorflow
@pytest.mark.parametrize("text", ["dense", "dense x", "dense 5 wobbly", "dropout 1.5", "conv 3"])
def test_other_layers_are_refused(text: str) -> None:
    from headstart.heads.neural import parse_layer, prepare_keras

    prepare_keras()
    with pytest.raises(RecipeError, match=f"found '{text}'"):
        parse_layer(text, recipe())


@needs_tensorflow
def test_an_unknown_optimizer_is_answered_with_the_near_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"found 'rmsprob'\. Near: rmsprop"):
        fit(tmp_path, recipe(optimizer="rmsprob"))


@needs_tensorflow
@pytest.mark.parametrize("classes", [2, 3])
def test_the_plain_arrays_say_what_keras_says(tmp_path: Path, classes: int) -> None:
    from headstart.heads import neural

    chosen = recipe(layers=["dense 8", "batchnorm", "activation relu", "dropout 0.3"])
    values, labels = blobs(classes)
    neural.prepare_keras()
    model = neural.build(chosen, classes, 6)
    for start in range(0, 60, 8):
        batch = slice(start, start + 8)
        model.train_on_batch(
            values[batch], encode_targets(labels, 1 if classes == 2 else classes)[batch]
        )
    theirs = model.predict(values, verbose=0)
    ours = neural.to_head(model, classes).probabilities(values)
    assert ours.shape == (60, classes)
    assert np.abs(ours[:, 1:] - (theirs if classes == 2 else theirs[:, 1:])).max() < 1e-5


@needs_tensorflow
def test_it_learns_and_writes_its_history(tmp_path: Path) -> None:
    head = fit(tmp_path, recipe(epochs=12, learning_rate=0.01), classes=3)
    assert head.history["val_accuracy"][-1] == 1
    assert head.history["loss"][-1] < head.history["loss"][0]
    assert head.kept_epoch == 12
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert float(rows[-1]["val_accuracy"]) == 1


@needs_tensorflow
def test_class_weights_move_the_decision(tmp_path: Path) -> None:
    from headstart.heads import neural

    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 10 == 0).astype(int)  # 1 in 10
    values = (rng.normal(0, 1, (200, 6)) + labels[:, None] * 0.7).astype("f4")
    found = {}
    for balanced in (False, True):
        folder = tmp_path / str(balanced)
        folder.mkdir()
        head = neural.fit(
            in_batches(values, 8), labels, None, 2, 6,
            recipe(balanced=balanced, layers=[], epochs=8, learning_rate=0.02), folder=folder,
        )  # fmt: skip
        found[balanced] = head.head.probabilities(values)[:, 1].mean()
    assert found[True] > 2 * found[False]


@needs_tensorflow
@pytest.mark.parametrize("choice", [{"patience": 2}, {"schedule": "plateau"}])
def test_validation_images_choose_nothing(tmp_path: Path, choice: dict[str, object]) -> None:
    from headstart.heads.fit import fit_neural

    values, labels = blobs()
    heads = []
    for number, shift in enumerate((0.0, 5.0)):
        looked_at = values + np.float32(shift), labels
        folder = tmp_path / str(number)
        folder.mkdir()
        found = fit_neural(
            examples(values, labels), recipe(epochs=4, **choice), folder, validation=looked_at
        )
        heads.append(found.head.layers[0].weight)  # type: ignore[union-attr]
    assert np.array_equal(*heads)


@needs_tensorflow
def test_patience_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    from headstart.heads import neural

    values, labels = blobs()
    wrong = 1 - labels[:20]  # the better the head fits, the worse this loss becomes
    head = neural.fit(
        in_batches(values, 8), labels, (values[:20], wrong), 2, 6,
        recipe(epochs=30, patience=2, learning_rate=0.01), folder=tmp_path,
    )  # fmt: skip
    losses = head.history["val_loss"]
    assert len(losses) == int(np.argmin(losses)) + 1 + 2
    assert head.kept_epoch == int(np.argmin(losses)) + 1
    kept = head.head.probabilities(values[:20])
    loss = -np.log(kept[np.arange(20), wrong]).mean()
    assert loss == pytest.approx(min(losses), rel=1e-4)


@needs_tensorflow
def test_resumed_is_the_same_as_unbroken_to_the_last_digit(tmp_path: Path) -> None:
    chosen = recipe(epochs=6, layers=["dense 16 relu", "dropout 0.4"], schedule="one_cycle")
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = fit(tmp_path / "whole", chosen)

    class Stop(Exception):
        pass

    def stop_after_three(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise Stop

    with pytest.raises(Stop):
        fit(tmp_path / "broken", chosen, on_epoch=stop_after_three)
    resumed = fit(tmp_path / "broken", chosen, resume=True)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert resumed.history[name] == whole.history[name]
    for ours, theirs in zip(resumed.head.layers, whole.head.layers, strict=True):
        assert np.array_equal(ours.weight, theirs.weight)
        assert np.array_equal(ours.bias, theirs.bias)


@needs_tensorflow
def test_the_learning_rate_finder_suggests_a_rate(tmp_path: Path) -> None:
    from headstart.heads.neural import find_learning_rate

    values, labels = blobs()
    rates, losses, suggestion = find_learning_rate(
        in_batches(values, 8), labels, 2, 6, recipe(optimizer="sgd")
    )
    assert len(rates) == len(losses)
    assert rates[0] < suggestion < rates[-1]


@pytest.fixture(scope="module")
def classic(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    if not HAS_TENSORFLOW:
        pytest.skip("needs TensorFlow: pip install 'headstart[tensorflow]'")
    out = tmp_path_factory.mktemp("classic") / "run"
    # InceptionV3's own top layers are tiny at 75 pixels: the whole recipe in seconds.
    return headstart.train(tiny, "classic", out=out, weights="none", size=75, epochs=2,
                           cut="mixed2", pooling="avg")  # fmt: skip


def test_classic_leaves_what_the_lesson_leaves(classic: headstart.Run) -> None:
    names = {path.name for path in classic.folder.iterdir()}
    assert names == {
        "audit.json", "charts", "classifier", "curves.png", "history.csv", "metrics.json",
        "model.keras", "model.keras.md", "neighbours.safetensors", "predictions.csv",
        "recipe.toml", "report.html", "run.json", "training.csv", "unreadable.csv",
    }  # fmt: skip
    assert len(classic.history["val_accuracy"]) == 2


def test_the_keras_model_opens_without_headstart_and_says_the_same(
    classic: headstart.Run, tiny: Path, tmp_path: Path
) -> None:
    """By what model.keras.md says, as it stands; without a warning, and it goes on training."""
    from headstart.images.geometry import prepare
    from headstart.tuning.keras_model import normalised

    recipe = classic.recipe
    geometry = classic.classifier.geometry
    paths = sorted(tiny.glob("*/*"))[:6]
    pixels = np.stack([prepare(path.read_bytes(), geometry) for path in paths])
    np.save(tmp_path / "pixels.npy", normalised(pixels, recipe))
    shutil.copy(tiny / "red" / "4.png", tmp_path / "photo.jpg")
    shutil.copy(classic.folder / "model.keras", tmp_path)
    text = (classic.folder / "model.keras.md").read_text()
    assert "RMSprop, binary cross-entropy, accuracy;\nlabels are 0 and 1" in text
    assert "shape (N, 75, 75, 3), float32, RGB" in text
    assert "each channel 0 to 255, divided by 255\n" in text
    lines = text.split("```python")[1].split("```")[0]
    program = f"""
import sys, warnings
warnings.filterwarnings("error", module="keras")
sys.modules["headstart"] = None
{lines}
assert all(not layer.trainable for layer in model.layers[1:5])
np.save("theirs.npy", model.predict(np.load("pixels.npy")))
np.save("alone.npy", model.predict(x[None]))
assert type(model.optimizer).__name__ == "RMSprop"
assert abs(float(model.optimizer.learning_rate.numpy()) - 1e-4) < 1e-9
assert type(model.loss).__name__ == "BinaryCrossentropy"
loss, accuracy = model.evaluate(x[None], np.array([[1.0]]), verbose=0)
assert abs(loss + np.log(np.load("alone.npy")[0, 0])) < 1e-3
model.fit(x[None], np.array([[1.0]]), verbose=0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = np.load(tmp_path / "theirs.npy")
    assert theirs.shape == (6, 1)
    ours = classic.classifier.predict_proba([*paths, tiny / "red" / "4.png"])[:, 1]
    tolerance = 1e-3 if classic.classifier.precision == "f32" else 2e-2
    assert np.abs(ours[:6] - theirs[:, 0]).max() < tolerance
    assert ours[6] == pytest.approx(np.load(tmp_path / "alone.npy")[0, 0], abs=tolerance)


def test_the_keras_model_can_be_had_from_the_run(classic: headstart.Run) -> None:
    model = classic.keras_model()
    assert model.input_shape == (None, 75, 75, 3)
    kinds = [type(layer).__name__ for layer in model.layers[-4:]]
    assert kinds == ["GlobalAveragePooling2D", "Dense", "Dropout", "Dense"]
    assert model.layers[-1].activation.__name__ == "sigmoid"


@needs_tensorflow
def test_a_training_that_diverges_ends_with_a_verdict(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = headstart.train(
        tiny, out=tmp_path / "run", head="neural", epochs=4, learning_rate=1e30, optimizer="sgd",
        layers=["dense 8"], patience=2,
    )  # fmt: skip
    assert "diverged" in run.record["verdict"]
    assert np.isnan(run.history["loss"]).any()
    from headstart.report.plots import curves_text

    assert "x" in curves_text(run.history)
    show_run(run, quiet=False, as_json=False)
    assert "diverged" in capsys.readouterr().out
    show_run(run, quiet=False, as_json=True)
    assert None in read_strictly(capsys.readouterr().out)["history"]["loss"]
    for path in (run.folder / "metrics.json", run.folder / "classifier" / "classifier.json"):
        read_strictly(path.read_text())
    done = subprocess.run(
        [sys.executable, "-m", "headstart", "predict", run.folder, tiny, "--format", "jsonl"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [read_strictly(line) for line in done.stdout.splitlines()]
    assert len(rows) == 48
    assert all(set(row["probabilities"].values()) == {None} for row in rows)


@needs_tensorflow
def test_batchnorm_and_activations_survive_in_the_keras_model(tiny: Path, tmp_path: Path) -> None:
    from headstart.images.geometry import prepare
    from headstart.tuning.keras_model import normalised

    run = headstart.train(
        tiny, out=tmp_path / "run", head="neural", epochs=3, precision="f32", cut="block2b_add",
        layers=["dense 8", "batchnorm", "activation tanh", "activation relu", "dropout 0.5",
                "dense 6 tanh", "activation elu"],
    )  # fmt: skip
    paths = sorted(tiny.glob("*/*"))[:5]
    geometry = run.classifier.geometry
    pixels = np.stack([prepare(path.read_bytes(), geometry) for path in paths])
    model = run.keras_model()
    theirs = np.asarray(model(normalised(pixels, run.recipe)))[:, 0]
    assert np.abs(run.classifier.predict_proba(paths)[:, 1] - theirs).max() < 1e-4
    assert [type(layer).__name__ for layer in model.layers[-8:]] == [
        "Dense", "BatchNormalization", "Activation", "Activation", "Dropout", "Dense",
        "Activation", "Dense",
    ]  # fmt: skip


@needs_tensorflow
def test_a_date_is_a_seed(tiny: Path, tmp_path: Path) -> None:
    run = headstart.train(tiny, out=tmp_path / "run", head="neural", epochs=1, size=64,
                          layers=["dense 4 relu", "dropout 0.5"], cut="block2b_add",
                          seed=20261125)  # fmt: skip
    assert run.recipe.seed == 20261125
    with pytest.raises(RecipeError, match="seed"):
        load_recipe("quick", seed=2**32)


@needs_tensorflow
def test_a_killed_training_is_resumed_to_the_same_result(tiny: Path, tmp_path: Path) -> None:
    program = """
import sys, headstart
from headstart.runs.training import resume
from headstart.heads import checkpoint
checkpoint.SHARE = 1e9
if sys.argv[1] == "resume":
    resume(sys.argv[3])
else:
    headstart.train(sys.argv[2], "classic", out=sys.argv[3], weights="none", size=75, epochs=5,
                    cut="mixed2", pooling="avg")
"""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def command(what: str, out: str) -> list[str]:
        return [sys.executable, "-W", "ignore", "-c", program, what, str(tiny), str(tmp_path / out)]

    done = subprocess.run(command("train", "whole"), env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    child = subprocess.Popen(command("train", "broken"), env=environment,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        history = tmp_path / "broken" / "history.csv"
        if history.is_file() and len(history.read_text().splitlines()) >= 3:
            break
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "broken" / "run.json").exists()
    done = subprocess.run(command("resume", "broken"), env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("head.safetensors", "model.bin"):
        whole = (tmp_path / "whole" / "classifier" / name).read_bytes()
        assert (tmp_path / "broken" / "classifier" / name).read_bytes() == whole
    metrics = [(tmp_path / out / "metrics.json").read_text() for out in ("whole", "broken")]
    assert metrics[0] == metrics[1]


def test_without_tensorflow_the_error_names_the_extra(tiny: Path, tmp_path: Path) -> None:
    program = f"""
import sys, importlib.util, headstart
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "tensorflow" else real(name, *a)
try:
    headstart.train({str(tiny)!r}, out={str(tmp_path / "run")!r}, head="neural")
except headstart.HeadstartError as error:
    print(error)
"""
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert "pip install 'headstart[tensorflow]'" in done.stdout, done.stderr


@needs_tensorflow
def test_a_head_that_would_take_all_memory_is_refused_before_it_does() -> None:
    from headstart.heads import neural

    chosen = recipe(layers=["dense 65536 relu", "dropout", "dense 65536"])
    with pytest.raises(RecipeError, match=r"at most 500,000,000 weights, found 4,295,622,656 on 8"):
        neural.build(chosen, 2, 8)


@needs_tensorflow
def test_what_tensorflow_says_as_it_loads_is_not_passed_on() -> None:
    """But for what is no greeting: it may be the reason why it cannot be loaded."""
    program = """
import os, sys, types
import headstart.heads.neural as neural
neural.prepare_keras()
import keras
keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
neural.importlib.import_module = lambda name: os.write(2, b"I0000 absl::InitializeLog()\\nodd\\n")
neural._import_tensorflow()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr == "odd\n"


def test_tensorflow_loads_without_room_for_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.heads import neural

    def full() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    neural.prepare_keras()
