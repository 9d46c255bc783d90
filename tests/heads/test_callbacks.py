"""Keras callbacks of the user's: served as Keras' own `fit` does, or refused with a reason."""

import csv
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import examples

import headstart
from headstart.errors import RecipeError
from headstart.heads.callbacks import check_callbacks, choose_by_validation
from headstart.recipe import Recipe, load_recipe

# TensorFlow warns of its own insides at import.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="needs TensorFlow: pip install 'headstart[tensorflow]'",
)

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 2
VALUES = (RNG.normal(0, 3, (2, 6))[LABELS] + RNG.normal(0, 1, (60, 6))).astype("f4")


def recipe(**choices: object) -> Recipe:
    return load_recipe(**{"head": "neural", "batch_size": 8, "epochs": 4, "layers": [], **choices})


def fit(folder: Path, callbacks: list[Any], *, wrong: bool = False, **options: Any) -> Any:
    """A head on 60 images; `wrong`: the better it fits them, the worse its val_loss."""
    from headstart.heads import neural

    resume = options.pop("resume", False)
    chosen = recipe(**options)

    def batches(_: int, order: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(order), 8):
            yield VALUES[order[start : start + 8]]

    validation = VALUES[:20], 1 - LABELS[:20] if wrong else LABELS[:20]
    return neural.fit(batches, LABELS, validation, 2, 6, chosen, folder=folder, resume=resume,
                      callbacks=callbacks)  # fmt: skip


def keras() -> Any:
    from headstart.heads.neural import prepare_keras

    prepare_keras()
    import keras

    return keras


def recorder(calls: list[Any]) -> Any:
    """A callback that notes each hook with its number and the names of its figures."""

    class Record(keras().callbacks.Callback):  # type: ignore[misc]
        pass

    def note(name: str) -> Any:
        def hook(self: Any, *given: Any, logs: Any = None) -> None:
            logs = given[-1] if given and not isinstance(given[-1], int) else logs
            numbers = [one for one in given if isinstance(one, int)]
            calls.append((name, *numbers, *sorted(logs or {})))

        return hook

    for when in ("train", "test", "epoch", "train_batch", "test_batch"):
        for side in ("begin", "end"):
            setattr(Record, f"on_{when}_{side}", note(f"{when} {side}"))
    return Record()


@needs_tensorflow
def test_the_hooks_are_those_of_keras_own_fit(tmp_path: Path) -> None:
    from headstart.heads import neural

    ours: list[Any] = []
    theirs: list[Any] = []
    mine = recorder(ours)
    fit(tmp_path, [mine], epochs=2)
    model, reference = neural.build(recipe(), 2, 6), recorder(theirs)
    held = VALUES[:20], LABELS[:20, None]
    model.fit(VALUES, LABELS[:, None], batch_size=8, epochs=2, verbose=0, callbacks=[reference],
              validation_data=held, validation_batch_size=20)  # fmt: skip
    added = {"learning_rate", "seconds"}  # figures of ours that Keras does not give
    assert [tuple(part for part in call if part not in added) for call in ours] == theirs
    assert mine.params == reference.params
    assert mine.model.output_shape == (None, 1)


@needs_tensorflow
def test_early_stopping_stops_and_its_weights_are_kept(tmp_path: Path) -> None:
    stop = keras().callbacks.EarlyStopping(
        monitor="val_loss", patience=2, restore_best_weights=True
    )
    trained = fit(tmp_path, [stop], wrong=True, epochs=30, learning_rate=0.01)
    losses = trained.history["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 2
    assert trained.kept_epoch == best + 1
    probabilities = trained.head.probabilities(VALUES[:20])
    loss = -np.log(probabilities[np.arange(20), 1 - LABELS[:20]]).mean()
    assert loss == pytest.approx(losses[best], rel=1e-4)


@needs_tensorflow
def test_what_a_callback_has_ended_does_not_go_on(tmp_path: Path) -> None:
    def stop() -> Any:
        return keras().callbacks.EarlyStopping(
            monitor="val_loss", patience=2, restore_best_weights=True
        )

    ended = fit(tmp_path, [stop()], wrong=True, epochs=30, learning_rate=0.01)
    resumed = fit(tmp_path, [stop()], wrong=True, epochs=30, learning_rate=0.01, resume=True)
    assert resumed.history == ended.history
    assert resumed.kept_epoch == ended.kept_epoch
    assert np.array_equal(resumed.head.layers[0].weight, ended.head.layers[0].weight)


@needs_tensorflow
def test_model_checkpoint_writes_the_best_head(tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    save = keras().callbacks.ModelCheckpoint(str(path), monitor="val_loss", save_best_only=True)
    trained = fit(tmp_path, [save], learning_rate=0.01)
    model = keras().models.load_model(path)
    assert trained.history["val_loss"][-1] == min(trained.history["val_loss"])
    assert np.asarray(model(VALUES))[:, 0] == pytest.approx(
        trained.head.probabilities(VALUES)[:, 1], abs=1e-5
    )


@needs_tensorflow
def test_the_learning_rate_may_be_set_where_the_schedule_is_constant(tmp_path: Path) -> None:
    by_epoch = keras().callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1))
    trained = fit(tmp_path, [by_epoch])
    assert trained.history["learning_rate"] == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025])
    lower = keras().callbacks.ReduceLROnPlateau(
        monitor="val_loss", factor=0.5, patience=1, min_delta=0
    )
    trained = fit(tmp_path, [lower], wrong=True, learning_rate=0.01)
    assert trained.history["val_loss"] == sorted(trained.history["val_loss"])
    assert trained.history["learning_rate"] == pytest.approx([0.01, 0.01, 0.005, 0.0025])


@needs_tensorflow
@pytest.mark.parametrize("kind", ["LearningRateScheduler", "ReduceLROnPlateau"])
def test_two_learning_rates_are_refused_before_the_training(tmp_path: Path, kind: str) -> None:
    given = {"schedule": lambda _: 0.1} if kind == "LearningRateScheduler" else {}
    callback = getattr(keras().callbacks, kind)(**given)
    with pytest.raises(RecipeError, match=f"schedule = 'constant' beside {kind}.*'cosine'"):
        fit(tmp_path, [callback], schedule="cosine")
    assert not list(tmp_path.iterdir())


@needs_tensorflow
def test_a_callback_that_sets_the_rate_unannounced_is_refused(tmp_path: Path) -> None:
    class Mine(keras().callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 2:
                self.model.optimizer.learning_rate = 0.5

    with pytest.raises(RecipeError, match=r"a callback that set the learning rate to 0\.5"):
        fit(tmp_path, [Mine()], schedule="one_cycle")
    assert fit(tmp_path, [Mine()]).history["learning_rate"] == pytest.approx([0.5] * 4)


@needs_tensorflow
def test_a_diverged_training_is_terminated(tmp_path: Path) -> None:
    trained = fit(tmp_path, [keras().callbacks.TerminateOnNaN()], layers=["dense 8"],
                  learning_rate=1e30, optimizer="sgd")  # fmt: skip
    assert len(trained.history["loss"]) == 1
    assert np.isnan(trained.history["loss"][0])


@needs_tensorflow
def test_figures_are_logged(tmp_path: Path) -> None:
    losses: list[float] = []
    callbacks = [
        keras().callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras().callbacks.LambdaCallback(
            on_train_batch_end=lambda _, logs: losses.append(logs["loss"])
        ),
    ]
    trained = fit(tmp_path, callbacks)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == pytest.approx(trained.history["val_loss"])
    assert len(losses) == 4 * 8
    assert losses[7::8] == pytest.approx(trained.history["loss"])  # means of the epoch so far


@needs_tensorflow
def test_a_training_with_loggers_alone_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = fit(tmp_path / "plain", [], schedule="cosine", layers=["dense 8 relu", "dropout"])
    logged = fit(tmp_path, [recorder([])], schedule="cosine", layers=["dense 8 relu", "dropout"])
    assert logged.history["loss"] == plain.history["loss"]
    assert np.array_equal(logged.head.layers[0].weight, plain.head.layers[0].weight)


@needs_tensorflow
def test_validation_images_choose_nothing_for_a_callback_either(tmp_path: Path) -> None:
    from headstart.heads.fit import fit_neural

    weights = []
    for number, shift in enumerate((0.0, 5.0)):
        folder = tmp_path / str(number)
        folder.mkdir()
        stop = keras().callbacks.EarlyStopping(monitor="val_loss", patience=1)
        trained = fit_neural(
            examples(VALUES, LABELS), recipe(), folder, callbacks=[stop],
            validation=(VALUES + np.float32(shift), LABELS),
        )  # fmt: skip
        weights.append(trained.head.layers[0].weight)  # type: ignore[union-attr]
    assert np.array_equal(*weights)


@needs_tensorflow
def test_what_callbacks_monitor_tells_whether_they_choose() -> None:
    callbacks = keras().callbacks
    assert choose_by_validation([callbacks.EarlyStopping(monitor="val_accuracy", mode="max")])
    assert choose_by_validation([callbacks.TerminateOnNaN(), callbacks.ReduceLROnPlateau()])
    assert not choose_by_validation([callbacks.EarlyStopping(monitor="loss")])
    assert not choose_by_validation([callbacks.ModelCheckpoint("best.keras"), object()])


@needs_tensorflow
def test_kinds_that_cannot_be_served_are_refused(tmp_path: Path) -> None:
    back_up = keras().callbacks.BackupAndRestore(str(tmp_path / "backup"))
    with pytest.raises(RecipeError, match="BackupAndRestore, found one: a training that was stopp"):
        check_callbacks([back_up], recipe())
    with pytest.raises(RecipeError, match="expected a list of Keras callbacks, found Terminate"):
        check_callbacks(keras().callbacks.TerminateOnNaN(), recipe())


def test_other_objects_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"expected keras\.callbacks\.Callback objects, found se"):
        check_callbacks([{1}], recipe())
    check_callbacks([], load_recipe())


@pytest.mark.parametrize(
    ("choices", "message"),
    [({}, "head = 'neural' for Keras callbacks .Logger.*found head = 'linear'. Type: head="),
     ({"head": "auto"}, "found head = 'auto'"),
     ({"finetune": True}, "found head = 'linear' with finetune = true"),
     ({"head": "neural", "ensemble": True}, "expected ensemble = false for Keras callbacks")],
)  # fmt: skip
def test_heads_without_epochs_of_their_own_refuse_callbacks_before_anything_slow(
    tiny: Path, tmp_path: Path, choices: dict[str, Any], message: str
) -> None:
    class Logger:
        pass

    with pytest.raises(RecipeError, match=message):
        headstart.train(tiny, out=tmp_path / "run", callbacks=[Logger()], **choices)
    assert not (tmp_path / "run").exists()
