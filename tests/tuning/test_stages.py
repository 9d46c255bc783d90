"""Fine-tuning from cached boundary activations, against the same training of the whole network."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.backbones.cut import Cut
from headstart.errors import BackboneError, RecipeError
from headstart.features.extractor import open_extractor
from headstart.heads.calibration import smoothing_temperature
from headstart.metrics.comparison import compare
from headstart.recipe import Recipe, load_recipe
from headstart.runs import training as pipeline
from headstart.system.progress import Recorder, Silent
from headstart.tuning import stages as finetune
from headstart.tuning import upper as upper_module
from headstart.tuning.boundaries import boundaries
from headstart.tuning.upper import compile_upper, upper

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'headstart[tensorflow]'"
)
SMALL: dict[str, Any] = {
    "cut": "block6d_add", "size": 64, "precision": "f32", "views": 2, "tune_epochs": 2,
    "boundary": "block6a_project_bn", "batch_size": 8,
}  # fmt: skip


def recipe(**choices: Any) -> Recipe:
    return load_recipe("thorough", **{**SMALL, **choices})


def test_boundaries_go_down_from_the_earliest_cut() -> None:
    chosen = recipe(boundary="auto", cut="last:avg+block6b_add:grid")
    assert boundaries(chosen, (Cut("top_relu", "avg"), Cut("block6b_add", "grid"))) == [
        ("block5c_add", 2), ("block5a_project_bn", 4), ("block4a_project_bn", 7),
    ]  # fmt: skip
    # No large maps: of 64 pixels an eighth is the third stage.
    assert boundaries(recipe(boundary="auto"), (Cut("block5a_project_bn"),))[-1] == (
        "block3a_project_bn", 5
    )  # fmt: skip
    assert boundaries(recipe(), (Cut("block6d_add"),)) == [("block6a_project_bn", 3)]


def test_a_boundary_above_the_cut_is_refused() -> None:
    with pytest.raises(BackboneError, match="expected a boundary below the cut block6d_add"):
        boundaries(recipe(boundary="top_relu"), (Cut("block6d_add"),))


def test_it_begins_from_a_linear_head() -> None:
    with pytest.raises(RecipeError, match="begins from a linear head"):
        load_recipe("classic", finetune=True)


def test_the_verdict_needs_more_than_chance() -> None:
    labels = np.arange(200) % 2
    sure = np.where(np.eye(2)[labels] == 1, 0.9, 0.1)
    unsure = np.where(np.eye(2)[labels] == 1, 0.6, 0.4)
    noisy = unsure.copy()
    noisy[::2] = unsure[::2] + np.tile([[0.01, -0.01], [-0.01, 0.01]], (50, 1))
    assert finetune.judge(sure, unsure, labels)[1]
    text, kept = finetune.judge(noisy, unsure, labels)
    assert not kept
    assert "The linear head is kept" in text
    assert compare(sure, unsure, labels).verdict == "the data cannot tell"  # accuracies are alike


def test_a_head_surer_than_smoothed_labels_is_cooled_to_them() -> None:
    scores = np.array([[10.0, 0.0], [0.0, 10.0], [0.0, 10.0]])
    labels = np.array([0, 1, 1])
    heat = smoothing_temperature(scores, labels, smoothing=0.1)
    # Of two classes a smoothed label gives its own 0.95: a logit of ln(0.95 / 0.05).
    assert 10 / heat == pytest.approx(np.log(19), rel=0.03)
    assert smoothing_temperature(scores, labels, smoothing=0.0) == 1
    assert smoothing_temperature(scores / 10, labels, smoothing=0.1) == 1  # not sure enough


class Stubbed(finetune._Tuner):
    """A tuner whose stages give what they are told to give; its weights are a number."""

    def __init__(self, labels: np.ndarray, given: list[tuple[np.ndarray, np.ndarray]]) -> None:
        self.labels, self.given, self.weights = labels, given, 0
        self.recipe, self.progress = recipe(), Recorder()
        self.done, self.untried, self.history = [], [], {}
        self.started, self.heat = time.perf_counter(), np.float32(1)

    def _stage(self, *_: Any) -> Any:
        self.weights += 1
        return *self.given[len(self.done)], 2, 0.1

    def _weights(self) -> Any:
        return self.weights

    def _restore(self, weights: Any) -> None:
        self.weights = weights

    def start(self, *_: Any) -> None:
        self.weights = -1


def sure(labels: np.ndarray, of_own: float) -> np.ndarray:
    found = np.full((len(labels), 2), 1 - of_own)
    found[np.arange(len(labels)), labels] = of_own
    return found


def test_the_verdict_is_of_the_network_that_stands() -> None:
    labels = np.arange(30) % 2
    judging, unseen, learning = np.split(np.arange(30), 3)
    # The second stage is better, but by less than a stage must be: it is undone.
    given = [(sure(labels[judging], 0.8), sure(labels[unseen], 0.7)),
             (sure(labels[judging], 0.801), sure(labels[unseen], 0.99))]  # fmt: skip
    tuner = Stubbed(labels, given)
    plan = [("one", 2), ("two", 4)]
    after = tuner.stages(plan, learning, judging, unseen, sure(labels[judging], 0.6))
    assert [stage.kept for stage in tuner.done] == [True, False]
    assert tuner.weights == 1
    assert after is not None
    assert after == pytest.approx(sure(labels[unseen], 0.7))


def test_a_stage_that_diverged_is_passed_over() -> None:
    labels = np.arange(30) % 2
    judging, unseen, learning = np.split(np.arange(30), 3)
    nothing = np.full((10, 2), np.nan)
    given = [(nothing, nothing), (sure(labels[judging], 0.9), sure(labels[unseen], 0.9))]
    tuner = Stubbed(labels, given)
    before = sure(labels[judging], 0.6)
    after = tuner.stages([("one", 2), ("two", 4)], learning, judging, unseen, before)
    assert [stage.kept for stage in tuner.done] == [False, True]
    assert after == pytest.approx(sure(labels[unseen], 0.9))
    none = Stubbed(labels, given[:1])
    assert none.stages([("one", 2)], learning, judging, unseen, before) is None
    text = finetune.not_kept(none.done, before, labels[judging])
    assert "of 1 stages none took 2% off" in text
    assert finetune.not_kept([], before, labels[judging]).startswith("No stage")


def test_what_stops_the_last_training_leaves_the_judged_network() -> None:
    labels = np.arange(30) % 2
    judging, unseen, learning = np.split(np.arange(30), 3)
    tuner = Stubbed(labels, [(sure(labels[judging], 0.9), sure(labels[unseen], 0.9))])
    tuner.stages([("one", 2)], learning, judging, unseen, sure(labels[judging], 0.6))

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    tuner._stage = stopped  # type: ignore[method-assign]
    tuner.again(None, np.zeros((30, 1, 3)))  # type: ignore[arg-type]
    assert tuner.weights == 1
    assert any("three fifths" in warning for warning in tuner.progress.warnings)


def test_above_the_first_cut_there_is_nothing_to_tune() -> None:
    assert boundaries(recipe(boundary="auto"), (Cut("block1a_project_bn"),)) == []


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)


def whole(base: Any, head: Any, boundary: str, cut: str) -> Any:
    """The network from the image on, frozen up to the boundary."""
    import keras

    for layer in base.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    for layer in base.layers[: base.layers.index(base.get_layer(boundary)) + 1]:
        layer.trainable = False
    x = keras.layers.GlobalAveragePooling2D()(base.get_layer(cut).output)
    return keras.Model(base.input, head(x))


@needs_tensorflow
def test_cached_boundaries_train_as_the_whole_network_does(images: np.ndarray) -> None:
    from headstart.backbones.catalogue import backbone
    from headstart.backbones.keras_builder import keras_backbone
    from headstart.backbones.weights import resolve
    from headstart.heads.neural import prepare_keras
    from headstart.tuning.keras_model import normalised

    prepare_keras()
    import keras

    chosen = recipe(tune_learning_rate=1e-4)  # a larger one makes rounding grow
    boundary, cut = "block6a_project_bn", "block6d_add"
    labels = np.eye(2, dtype="f4")[np.arange(len(images)) % 2]
    extractor = open_extractor(chosen.changed(cut=f"{boundary}:flatten"))
    activations = np.stack(list(extractor.run(images)))
    pixels = normalised(images, chosen)
    losses = {}
    for kind in ("cached", "whole"):
        keras.utils.set_random_seed(0)
        weights = resolve(backbone(chosen.backbone))
        base = keras_backbone(chosen.backbone, 64, str(weights.path), weights.kind)
        head = keras.layers.Dense(2, activation="softmax", name="predictions")
        if kind == "cached":
            shape = tuple(base.get_layer(boundary).output.shape[1:])
            model = upper(base, head, boundary, shape, (Cut(cut),), chosen)
            values = activations
        else:
            model, values = whole(base, head, boundary, cut), pixels
        head.set_weights([np.full((192, 2), [0.01, -0.01], "f4"), np.zeros(2, "f4")])
        compile_upper(model, base, chosen)
        before = statistics(base)
        found = []
        for step in range(10):
            rows = np.arange(step * 8, step * 8 + 8) % len(images)
            model.reset_metrics()
            found.append(float(model.train_on_batch(values[rows], labels[rows])[0]))
        losses[kind] = found
        assert found[-1] < found[0]
        for one, other in zip(before, statistics(base), strict=True):
            assert np.array_equal(one, other)
    assert losses["cached"] == pytest.approx(losses["whole"], abs=1e-3)


def statistics(base: Any) -> list[np.ndarray]:
    """Everything that batch normalisation holds."""
    import keras

    return [
        np.array(value)
        for layer in base.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for value in layer.get_weights()
    ]


@needs_tensorflow
def test_blocks_further_down_learn_more_slowly() -> None:
    from headstart.backbones.keras_builder import keras_backbone

    base = keras_backbone("efficientnet_lite0", 64, None)
    scales = upper_module._scales(base, recipe(tune_decay=0.5))
    by_name = {path.rsplit("/", 2)[-2]: scale for path, scale in scales.items()}
    assert by_name["block7a_project_conv"] == 0.25
    assert by_name["block6d_project_conv"] == 0.125


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tuning brings, it is kept."""
    monkeypatch.setattr(finetune, "GAIN", -1e9)
    monkeypatch.setattr(finetune, "judge", lambda *_: ("kept", True))


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in nothing: noise, so that a linear head is far from sure."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("hard")
    rng = np.random.default_rng(0)
    for index in range(60):
        target = folder / ("a", "b")[index % 2] / f"{index}.png"
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(target)
    return folder


@needs_tensorflow
def test_tuned_and_frozen_parts_are_one_classifier_and_one_keras_model(
    hard: Path, tmp_path: Path, always: None
) -> None:
    import shutil

    from headstart.images.geometry import prepare
    from headstart.tuning.keras_model import normalised

    run = headstart.train(hard, recipe(tune_learning_rate=3e-3), out=tmp_path / "run")
    record = run.record["tuning"]
    assert [stage["boundary"] for stage in record["stages"]] == ["block6a_project_bn"]
    paths = sorted(hard.glob("*/*"))[:6]
    pixels = np.stack([prepare(p.read_bytes(), run.classifier.geometry) for p in paths])
    moved = tmp_path / "elsewhere"
    shutil.copytree(run.folder / "classifier", moved)  # it stands for itself
    ours = headstart.load(moved).predict_proba(paths)
    theirs = np.asarray(run.keras_model()(normalised(pixels, run.recipe)))
    assert np.abs(ours - theirs).max() < 1e-3
    plain = headstart.train(hard, recipe(finetune=False), out=tmp_path / "plain")
    assert np.abs(ours - plain.classifier.predict_proba(paths)).max() > 1e-3
    assert (run.folder / "model.keras").is_file()
    assert not (run.folder / "stages").exists()


@needs_tensorflow
def test_where_it_does_not_pay_the_linear_head_is_kept(tiny: Path, tmp_path: Path) -> None:
    run = headstart.train(tiny, out=tmp_path / "run", cut="block6d_add", size=64)
    tuned = pipeline.finetune(run, out=tmp_path / "tuned", boundary="block6b_add", tune_epochs=1)
    assert not tuned.record["tuning"]["kept"]
    assert "The linear head is kept" in tuned.record["tuning"]["verdict"]
    assert not (tuned.folder / "backbone.weights.h5").exists()
    assert tuned.metrics["validation"].accuracy == 1


@needs_tensorflow
def test_groups_stay_together_in_the_folds_of_the_tuning(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = finetune.assign_folds

    def seen(labels: Any, groups: Any, folds: int, seed: int) -> np.ndarray:
        asked.append((folds, groups))
        return real(labels, groups, folds, seed)

    monkeypatch.setattr(finetune, "assign_folds", seen)
    headstart.train(tiny, recipe(tune_budget=0), out=tmp_path / "run", groups=r"/(\d)")
    assert asked
    for _, groups in asked:
        assert groups is not None
        assert len(set(groups.tolist())) <= 10  # first digits


@needs_tensorflow
def test_too_few_groups_leave_the_linear_head(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = finetune.assign_folds
    monkeypatch.setattr(  # as with images of two groups
        finetune, "assign_folds", lambda *asked: real(*asked) % 2
    )
    run = headstart.train(tiny, recipe(), out=tmp_path / "run")
    assert "four groups or more" in run.record["tuning"]["verdict"]
    assert run.record["tuning"]["untried"] == ["block6a_project_bn"]
    assert run.metrics["validation"].accuracy == 1


@needs_tensorflow
def test_the_verdict_is_of_images_on_which_nothing_was_chosen(
    hard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen_on, judged_on, parts = [], [], {}
    calibrated, judge, stages = finetune.calibrate, finetune.judge, finetune._Tuner.stages

    def choosing(probabilities: np.ndarray, labels: np.ndarray) -> Any:
        chosen_on.append(labels)
        return calibrated(probabilities, labels)

    def judging(after: np.ndarray, before: np.ndarray, labels: np.ndarray) -> tuple[str, bool]:
        judged_on.append(labels)
        assert not np.allclose(after, before)  # the tuned network was asked
        return judge(after, before, labels)

    def descending(self: Any, plan: Any, learning: Any, judging: Any, unseen: Any, before: Any):
        parts.update(learning=learning, judging=judging, unseen=unseen, labels=self.labels)
        return stages(self, plan, learning, judging, unseen, before)

    monkeypatch.setattr(finetune, "calibrate", choosing)
    monkeypatch.setattr(finetune, "judge", judging)
    monkeypatch.setattr(finetune._Tuner, "stages", descending)
    monkeypatch.setattr(finetune, "GAIN", -100)  # whatever a stage gives, it is kept
    headstart.train(hard, recipe(tune_learning_rate=3e-3), out=tmp_path / "run")
    labels = parts.pop("labels")
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    assert [found.tolist() for found in judged_on] == [labels[parts["unseen"]].tolist()]
    assert {tuple(found) for found in chosen_on} == {tuple(labels[parts["judging"]])}


@needs_tensorflow
def test_a_stage_that_plainly_loses_ends_the_descent(hard: Path, tmp_path: Path) -> None:
    chosen = recipe(boundary="auto", tune_learning_rate=0.3, tune_epochs=4)
    run = headstart.train(hard, chosen, out=tmp_path / "run")
    tuning = run.record["tuning"]
    assert not tuning["kept"]
    assert len(tuning["stages"]) == 1
    assert len(tuning["untried"]) == 2


@needs_tensorflow
def test_a_stopped_tuning_goes_on_to_the_same_result(
    hard: Path, tmp_path: Path, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.heads.checkpoint.SHARE", 1e9)

    class Killed(Exception):
        pass

    class Progress(Silent):
        def say(self, text: str) -> None:
            if "epoch 2/3" in text:
                raise Killed

    chosen = recipe(tune_epochs=3, boundary="block6c_add")
    with pytest.raises(Killed):
        headstart.train(hard, chosen, out=tmp_path / "broken", progress=Progress())
    assert (tmp_path / "broken" / "stages").is_dir()
    resumed = pipeline.resume(tmp_path / "broken")
    unbroken = headstart.train(hard, chosen, out=tmp_path / "whole")
    for name in ("head.safetensors", "model.bin"):
        kept = (resumed.folder / "classifier" / name).read_bytes()
        assert kept == (unbroken.folder / "classifier" / name).read_bytes()


@needs_tensorflow
def test_without_time_the_linear_head_is_the_answer(tiny: Path, tmp_path: Path) -> None:
    told: list[str] = []
    progress = Recorder()
    progress.say = told.append  # type: ignore[method-assign]
    run = headstart.train(tiny, recipe(tune_budget=0), out=tmp_path / "run", progress=progress)
    assert run.record["tuning"]["untried"] == ["block6a_project_bn"]
    assert any("block6a_project_bn was not tried. With more of it: --budget 60s" in t for t in told)
    assert run.metrics["validation"].accuracy == 1
