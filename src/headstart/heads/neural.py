"""Neural heads: trained with Keras on features that the frozen extractor has computed.

What an epoch does depends on the seed, the epoch and the weights alone (order, dropout and
learning rate are functions of them), so a training resumed from its last checkpoint ends with the
numbers of one that was never stopped.
Letters: N images, D features, C classes, B images of a batch.
"""

import csv
import difflib
import importlib.util
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import ClassifierError, HeadError, MissingExtra, RecipeError
from headstart.files import write_atomically
from headstart.heads.schedules import learning_rate
from headstart.heads.stack import ACTIVATIONS, Affine, Dense, Layer, Stack
from headstart.recipe import Recipe

Batches = Callable[[int, np.ndarray], Iterator[np.ndarray]]
TRAINABLE = ("tensorflow", "torch", "jax")
COMPILED = 5_000_000  # weights from which compiling the step pays for the second that it takes
SHARE = 0.05  # of the time that checkpoints may take
SETTLING = 10  # steps before the smoothed loss of the rate finder means anything
CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


@dataclass(frozen=True)
class NeuralHead:
    """A trained head as plain arrays, with how it went.

    history: by epoch loss, accuracy, val_loss, val_accuracy, learning_rate, seconds.
    kept_epoch: the epoch, from 1, whose weights these are.
    """

    stack: Stack
    history: dict[str, list[float]]
    kept_epoch: int


def backend() -> None:
    """Make Keras ready to train: the user's own backend, or TensorFlow.

    Raises MissingExtra if there is none, HeadError if Keras runs on one that cannot train.
    """
    chosen = os.environ.get("KERAS_BACKEND")
    if "keras" in sys.modules:
        import keras

        if keras.config.backend() not in TRAINABLE:
            raise HeadError(
                f"expected Keras on a backend that trains ({', '.join(TRAINABLE)}), found "
                f"{keras.config.backend()!r}. Set KERAS_BACKEND=tensorflow before Keras is imported"
            )
        return
    if chosen not in TRAINABLE:
        if importlib.util.find_spec("tensorflow") is None:
            raise MissingExtra("a neural head", "tensorflow")
        os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def fit(
    batches: Batches,
    labels: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray] | None,
    classes: int,
    dimensions: int,
    recipe: Recipe,
    *,
    folder: Path,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    callbacks: Sequence[Any] = (),
) -> NeuralHead:
    """Train the recipe's head.

    batches: for an epoch and an order of the N images, their (B, D) features. labels: (N,) class
    numbers. validation: (M, D) features and (M,) labels, looked at after each epoch; with
    `patience` they decide when to stop and which epoch is kept, otherwise the last is.
    folder: history.csv, the checkpoint and the best weights are kept here; with `resume` the
    training goes on from them. callbacks: Keras callbacks (TensorBoard, MLflow).
    Raises RecipeError for layers or an optimizer that Keras does not have.
    """
    backend()
    import keras

    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe, classes, dimensions)
    judge = None
    if validation is not None:
        values, known = validation

        def judge() -> dict[str, float]:
            return judged(to_stack(model, classes).probabilities(values), known)

    history, kept = run_epochs(
        model, batches, labels, recipe, judge=judge, folder=folder, resume=resume,
        on_epoch=on_epoch, callbacks=callbacks,
    )  # fmt: skip
    return NeuralHead(to_stack(model, classes), history, kept)


def run_epochs(
    model: Any,
    batches: Batches,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    judge: Callable[[], dict[str, float]] | None,
    folder: Path,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    callbacks: Sequence[Any] = (),
    over: Callable[[int], bool] = lambda _: False,
) -> tuple[dict[str, list[float]], int]:
    """Train a compiled Keras model; its history, and the epoch, from 1, whose weights it has.

    judge: val_loss and val_accuracy of the model as it stands, asked after each epoch; with
    `patience` they decide when to stop and which epoch is kept, otherwise the last is. over: told
    how many epochs are done, whether no further one is to begin. The rest as in `fit`.
    """
    import keras

    outputs = int(model.output_shape[-1])
    logged = keras.callbacks.CallbackList(list(callbacks), model=model)
    history: dict[str, list[float]] = {}
    checkpoint = _Checkpoint(folder, model)
    if resume:
        history = checkpoint.load()
    targets = _targets(labels, outputs)
    weights = _class_weights(labels, max(2, outputs)) if recipe.balanced else None
    steps = -(-len(labels) // recipe.batch_size)
    logged.on_train_begin()
    for epoch in range(len(history.get("loss", [])), recipe.epochs):
        if _finished(history, recipe) or (history and over(epoch)):
            break
        started = time.perf_counter()
        _seed_dropout(model, recipe.seed, epoch)
        order = np.random.default_rng([recipe.seed, epoch]).permutation(len(labels))
        logged.on_epoch_begin(epoch)
        loss = accuracy = 0.0
        for step, batch in enumerate(batches(epoch, order)):
            chosen = order[step * recipe.batch_size : step * recipe.batch_size + len(batch)]
            model.optimizer.learning_rate.assign(
                learning_rate(
                    recipe, epoch * steps + step, recipe.epochs * steps,
                    history.get("val_loss", history.get("loss", [])),
                )
            )  # fmt: skip
            shares = None if weights is None else weights[labels[chosen]]
            model.reset_metrics()
            logs = model.train_on_batch(batch, targets[chosen], shares, return_dict=True)
            loss += float(logs["loss"]) * len(batch) / len(labels)
            accuracy += float(logs["accuracy"]) * len(batch) / len(labels)
        row = {"loss": loss, "accuracy": accuracy}
        if judge is not None:
            row |= judge()
        row["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        row["seconds"] = time.perf_counter() - started
        for name, value in row.items():
            history.setdefault(name, []).append(value)
        logged.on_epoch_end(epoch, row)
        _write_history(folder / "history.csv", history)
        checkpoint.save(history, recipe, last=epoch + 1 == recipe.epochs)
        if on_epoch is not None:
            on_epoch({"epoch": epoch + 1, **row})
    logged.on_train_end()
    kept = len(history["loss"])
    if recipe.patience and judge is not None:
        kept = _lowest(history["val_loss"]) + 1
        checkpoint.load_best()
    return history, kept


def build(recipe: Recipe, classes: int, dimensions: int) -> Any:
    """The compiled Keras model of the head alone, from (N, D) features."""
    import keras

    x = image = keras.Input((dimensions,), name="features")
    for text in recipe.layers:
        made = parse_layer(text, recipe)
        x = made(x) if made is not None else x
    last = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    x = keras.layers.Dense(last[0], activation=last[1], name="predictions")(x)
    model = keras.Model(image, x)
    smooth = recipe.label_smoothing
    loss = (
        keras.losses.BinaryCrossentropy(label_smoothing=smooth)
        if classes == 2
        else keras.losses.CategoricalCrossentropy(label_smoothing=smooth)
    )
    big = model.count_params() >= COMPILED and keras.config.backend() != "torch"
    model.compile(
        optimizer=_optimizer(recipe),
        loss=loss,
        metrics=["accuracy"],
        # One fused step: the gradient of a big layer never goes through memory.
        jit_compile=True if big else "auto" if keras.config.backend() == "jax" else False,
    )
    return model


def parse_layer(text: str, recipe: Recipe) -> Any:
    """A Keras layer of "dense 1024 relu", "dropout [0.2]", "batchnorm" or "activation relu";
    None for a dropout of rate 0. Raises RecipeError for anything else.
    """
    from keras import layers

    match text.split():
        case ["dense", units, *activation] if units.isdigit() and len(activation) <= 1:
            if not activation or activation[0] in ACTIVATIONS:
                return layers.Dense(int(units), activation=activation[0] if activation else None)
        case ["dropout"]:
            return layers.Dropout(recipe.dropout) if recipe.dropout else None
        case ["dropout", rate] if _is_rate(rate):
            return layers.Dropout(float(rate)) if float(rate) else None
        case ["batchnorm"]:
            return layers.BatchNormalization()
        case ["activation", name] if name in ACTIVATIONS:
            return layers.Activation(name)
    raise RecipeError(
        "layers: expected 'dense UNITS [ACTIVATION]', 'dropout [RATE]', 'batchnorm' or "
        f"'activation NAME', found {text!r}. Activations: {', '.join(ACTIVATIONS)}"
    )


def _is_rate(text: str) -> bool:
    try:
        return 0 <= float(text) < 1
    except ValueError:
        return False


def _optimizer(recipe: Recipe) -> Any:
    import keras

    known = {
        name.lower(): getattr(keras.optimizers, name)
        for name in dir(keras.optimizers)
        if isinstance(getattr(keras.optimizers, name), type) and name != "Optimizer"
    }
    found = known.get(recipe.optimizer.lower())
    if found is None:
        near = difflib.get_close_matches(recipe.optimizer.lower(), known, n=3)
        raise RecipeError(
            f"optimizer: expected one of Keras', found {recipe.optimizer!r}. "
            f"Near: {', '.join(near) or ', '.join(sorted(known))}"
        )
    return found(learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay or None)


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Dropout draws of an epoch depend on the seed and the epoch, not on what came before."""
    for number, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.array([(seed * 1000 + number) % 2**32, epoch], np.uint32))


def _targets(labels: np.ndarray, outputs: int) -> np.ndarray:
    if outputs == 1:  # one sigmoid for two classes
        return labels.astype(np.float32)[:, None]
    return np.eye(outputs, dtype=np.float32)[labels]


def _class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    counts = np.bincount(labels, minlength=classes)
    weights: np.ndarray = len(labels) / (classes * np.maximum(counts, 1))
    return weights.astype(np.float32)


def judged(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """val_loss and val_accuracy of (M, C) probabilities."""
    own = np.clip(probabilities[np.arange(len(labels)), labels].astype(np.float64), 1e-7, 1)
    right = probabilities.argmax(axis=1) == labels
    return {"val_loss": float(-np.log(own).mean()), "val_accuracy": float(right.mean())}


def _finished(history: dict[str, list[float]], recipe: Recipe) -> bool:
    """Whether `patience` epochs brought no better validation loss."""
    losses = history.get("val_loss", [])
    if not recipe.patience or not losses:
        return False
    return len(losses) - 1 - _lowest(losses) >= recipe.patience


def _lowest(losses: list[float]) -> int:
    """The index of the lowest loss; nan, of a training that diverged, is never it."""
    return int(np.nan_to_num(np.array(losses), nan=np.inf).argmin())


def _write_history(path: Path, history: dict[str, list[float]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["epoch", *history])
    for number, row in enumerate(zip(*history.values(), strict=True), 1):
        writer.writerow([number, *(f"{value:.6g}" for value in row)])
    write_atomically(path, buffer.getvalue().encode())


class _Checkpoint:
    """Weights, optimizer and history after an epoch: one file, replaced whole."""

    def __init__(self, folder: Path, model: Any) -> None:
        self.folder, self.model = folder, model
        self.saved, self.cost = time.perf_counter(), 0.0
        self.best: list[np.ndarray] | None = None
        self.unsaved_best = False

    def save(self, history: dict[str, list[float]], recipe: Recipe, *, last: bool) -> None:
        """Keep the state, unless writing it would take too large a share of the time."""
        losses = history.get("val_loss", [])
        if recipe.patience and losses and _lowest(losses) == len(losses) - 1:
            self.best, self.unsaved_best = self.model.get_weights(), True
        if not last and time.perf_counter() - self.saved < self.cost / SHARE:
            return
        started = time.perf_counter()
        if self.unsaved_best and self.best is not None:
            arrays = {f"{i:04}": a for i, a in enumerate(self.best)}
            _save(self.folder / BEST, arrays, {})
            self.unsaved_best = False
        arrays = {f"w{i:04}": a for i, a in enumerate(self.model.get_weights())}
        arrays |= {f"o{i:04}": np.asarray(a) for i, a in enumerate(self._optimizer_values())}
        _save(self.folder / CHECKPOINT, arrays, {"history": json.dumps(history)})
        self.saved = time.perf_counter()
        self.cost = self.saved - started

    def _optimizer_values(self) -> list[np.ndarray]:
        import keras

        return [keras.ops.convert_to_numpy(v) for v in self.model.optimizer.variables]

    def load(self) -> dict[str, list[float]]:
        """Put the kept state back; the history so far, empty if nothing was kept."""
        from safetensors import safe_open

        path = self.folder / CHECKPOINT
        if not path.is_file():
            return {}
        try:
            with safe_open(path, "numpy") as file:
                history: dict[str, list[float]] = json.loads(file.metadata()["history"])
                names = sorted(file.keys())
                arrays = {name: file.get_tensor(name) for name in names}
        except Exception as error:
            raise ClassifierError(f"{path} is damaged: {error}. Train anew") from error
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.set_weights([arrays[name] for name in names if name[0] == "w"])
        kept = [arrays[name] for name in names if name[0] == "o"]
        for variable, value in zip(self.model.optimizer.variables, kept, strict=True):
            variable.assign(value.reshape(variable.shape))
        return history

    def load_best(self) -> None:
        """Put the best epoch's weights into the model."""
        from safetensors.numpy import load_file

        if self.best is None and (self.folder / BEST).is_file():
            arrays = load_file(self.folder / BEST)
            self.best = [arrays[name] for name in sorted(arrays)]
        if self.best is not None:
            self.model.set_weights(self.best)


def _save(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    temporary = path.with_name(f".{path.name}")
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(whole, temporary, metadata=metadata)
    os.replace(temporary, path)


def to_stack(model: Any, classes: int) -> Stack:
    """The trained head as plain arrays; batch normalisation as scale and shift."""
    from keras import layers

    found: list[Layer] = []
    for layer in model.layers:
        values = [np.asarray(value, np.float32) for value in layer.get_weights()]
        if isinstance(layer, layers.Dense):
            found.append(Dense(values[0], values[1], layer.activation.__name__))
        elif isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = values
            scale = gamma / np.sqrt(variance + np.float32(layer.epsilon))
            found.append(Affine(scale, beta - mean * scale))
        elif isinstance(layer, layers.Activation):
            name = layer.activation.__name__
            if found and found[-1].activation == "linear":
                found[-1] = replace(found[-1], activation=name)
            else:
                units = int(layer.output.shape[-1])
                one, zero = np.ones(units, np.float32), np.zeros(units, np.float32)
                found.append(Affine(one, zero, name))
    return Stack(tuple(found), binary=classes == 2)


def find_learning_rate(
    batches: Batches,
    labels: np.ndarray,
    classes: int,
    dimensions: int,
    recipe: Recipe,
    *,
    lowest: float = 1e-7,
    highest: float = 1.0,
    steps: int = 120,
) -> tuple[list[float], list[float], float]:
    """Rates, smoothed losses, and a rate to try: where the loss falls fastest (Smith 2017,
    https://arxiv.org/abs/1506.01186). Ends early when the loss has grown fourfold.
    """
    backend()
    import keras

    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe, classes, dimensions)
    targets = _targets(labels, 1 if classes == 2 else classes)
    rates: list[float] = []
    losses: list[float] = []
    average, epoch = 0.0, 0
    while len(rates) < steps:
        order = np.random.default_rng([recipe.seed, epoch]).permutation(len(labels))
        for step, batch in enumerate(batches(epoch, order)):
            rate = lowest * (highest / lowest) ** (len(rates) / (steps - 1))
            model.optimizer.learning_rate.assign(rate)
            model.reset_metrics()
            chosen = order[step * recipe.batch_size : step * recipe.batch_size + len(batch)]
            loss = float(model.train_on_batch(batch, targets[chosen], return_dict=True)["loss"])
            average = 0.9 * average + 0.1 * loss
            rates.append(rate)
            losses.append(average / (1 - 0.9 ** len(rates)))
            settled = losses[SETTLING:]
            grown = bool(settled) and losses[-1] > 4 * min(settled)
            if len(rates) == steps or not np.isfinite(loss) or grown:
                return rates, losses, _steepest(rates, losses)
        epoch += 1
    return rates, losses, _steepest(rates, losses)


def _steepest(rates: list[float], losses: list[float]) -> float:
    settled = np.nan_to_num(np.array(losses[SETTLING:]), nan=np.inf)
    if len(settled) < 3:
        return rates[0]
    lowest = max(3, int(settled.argmin()) + 1)
    slopes = np.gradient(settled[:lowest])
    return rates[SETTLING + int(slopes.argmin())]
