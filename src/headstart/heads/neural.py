"""Neural heads: built and trained with Keras on features that the frozen extractor has computed.

Letters: N images, D features, C classes, B images of a batch.
"""

import difflib
import importlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import HeadError, MissingExtra, RecipeError
from headstart.heads.callbacks import check_callbacks
from headstart.heads.epochs import Batches, encode_targets, run_epochs, validation_scores
from headstart.heads.head import ACTIVATIONS, Affine, Dense, Head, Layer
from headstart.recipe import Recipe

TRAINABLE = ("tensorflow", "torch", "jax")
COMPILED = 5_000_000  # weights from which compiling the step pays for the second that it takes
GREETING = (b"absl::InitializeLog()", b"oneDNN custom operations are on")
MOST_WEIGHTS = 500_000_000  # 16 bytes each while it trains: 8 GB
SETTLING = 10  # steps before the smoothed loss of the rate finder means anything


@dataclass(frozen=True)
class NeuralFit:
    """A trained head as plain arrays, with how it went.

    history: by epoch loss, accuracy, val_loss, val_accuracy, learning_rate, seconds.
    kept_epoch: the epoch, from 1, whose weights these are; the last if a callback put in its own.
    """

    head: Head
    history: dict[str, list[float]]
    kept_epoch: int


def prepare_keras() -> None:
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
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        _import_tensorflow()


def _import_tensorflow() -> None:
    """Without its greeting ("oneDNN custom operations are on"), which it writes to the system's
    standard error while its libraries load, before it reads how much it shall say.
    """
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
    except OSError:  # no room even for that: then it may say what it likes
        importlib.import_module("tensorflow")
        return
    with file as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            for line in said:
                if not any(words in line for words in GREETING):
                    os.write(2, line)


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
) -> NeuralFit:
    """Train the recipe's head.

    batches: for an epoch and an order of the N images, their (B, D) features. labels: (N,) class
    numbers. validation: (M, D) features and (M,) labels, looked at after each epoch; with
    `patience` they decide when to stop and which epoch is kept, otherwise the last is.
    folder: history.csv, the checkpoint and the best weights are kept here; with `resume` the
    training goes on from them. callbacks: Keras callbacks, which may end the training, put weights
    back at its end and, where the schedule is constant, set the learning rate; when resumed, theirs
    begins anew.
    Raises RecipeError for layers or an optimizer that Keras does not have, and for callbacks that
    cannot be served.
    """
    check_callbacks(callbacks, recipe)
    prepare_keras()
    import keras

    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe, classes, dimensions)
    judge = None
    if validation is not None:
        values, known_labels = validation

        def judge() -> dict[str, float]:
            head = to_head(model, classes)
            return validation_scores(head.probabilities(values), known_labels)

    history, kept_epoch = run_epochs(
        model, batches, labels, recipe, judge=judge, folder=folder, resume=resume,
        on_epoch=on_epoch, callbacks=callbacks,
    )  # fmt: skip
    return NeuralFit(to_head(model, classes), history, kept_epoch)


def build(recipe: Recipe, classes: int, dimensions: int) -> Any:
    """The compiled Keras model of the head alone, from (N, D) features."""
    import keras

    _check_size(recipe, classes, dimensions)
    x = image = keras.Input((dimensions,), name="features")
    for text in recipe.layers:
        layer = parse_layer(text, recipe)
        x = layer(x) if layer is not None else x
    units, activation = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    x = keras.layers.Dense(units, activation=activation, name="predictions")(x)
    model = keras.Model(image, x)
    big = model.count_params() >= COMPILED and keras.config.backend() != "torch"
    # One fused step: the gradient of a big layer never goes through memory.
    jit = True if big else "auto" if keras.config.backend() == "jax" else False
    compile_model(model, recipe, make_optimizer(recipe), jit_compile=jit)
    return model


def compile_model(model: Any, recipe: Recipe, optimizer: Any, *, jit_compile: bool | str) -> None:
    """Compile a model that ends in one sigmoid (labels 0 and 1) or a softmax (labels one-hot) with
    the recipe's loss, told by accuracy.
    """
    import keras

    one = model.output_shape[-1] == 1
    loss = keras.losses.BinaryCrossentropy if one else keras.losses.CategoricalCrossentropy
    model.compile(
        optimizer=optimizer, loss=loss(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"], jit_compile=jit_compile,
    )  # fmt: skip


def _check_size(recipe: Recipe, classes: int, dimensions: int) -> None:
    """Raises RecipeError for a head that would take all memory: asked before any is taken."""
    dense = [text.split()[1] for text in recipe.layers if re.match(r"dense \d", text)]
    widths = [dimensions, *map(int, dense), classes]
    weights = sum(above * below for above, below in pairwise(widths))
    if weights > MOST_WEIGHTS:
        raise RecipeError(
            f"layers: expected a head of at most {MOST_WEIGHTS:,} weights, found {weights:,} on "
            f"{dimensions:,} features. Type: --set pooling=avg, or --set with fewer units in layers"
        )


def parse_layer(text: str, recipe: Recipe) -> Any:
    """A Keras layer of "dense 1024 relu", "dropout [0.2]", "batchnorm" or "activation relu";
    None for a dropout of rate 0. Raises RecipeError for anything else.
    """
    from keras import layers

    match text.split():
        case ["dense", units, *activation] if units.isdecimal() and len(activation) <= 1:
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


def make_optimizer(recipe: Recipe) -> Any:
    """The recipe's Keras optimizer. Raises RecipeError if Keras has none of this name."""
    import keras

    optimizers = {
        name.lower(): getattr(keras.optimizers, name)
        for name in dir(keras.optimizers)
        if isinstance(getattr(keras.optimizers, name), type) and name != "Optimizer"
    }
    optimizer = optimizers.get(recipe.optimizer.lower())
    if optimizer is None:
        near = difflib.get_close_matches(recipe.optimizer.lower(), optimizers, n=3)
        raise RecipeError(
            f"optimizer: expected one of Keras', found {recipe.optimizer!r}. "
            f"Near: {', '.join(near) or ', '.join(sorted(optimizers))}"
        )
    return optimizer(learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay or None)


def to_head(model: Any, classes: int) -> Head:
    """The trained head as plain arrays; batch normalisation as scale and shift."""
    from keras import layers

    plain: list[Layer] = []
    for layer in model.layers:
        arrays = [np.asarray(value, np.float32) for value in layer.get_weights()]
        if isinstance(layer, layers.Dense):
            plain.append(Dense(arrays[0], arrays[1], layer.activation.__name__))
        elif isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = arrays
            scale = gamma / np.sqrt(variance + np.float32(layer.epsilon))
            plain.append(Affine(scale, beta - mean * scale))
        elif isinstance(layer, layers.Activation):
            name = layer.activation.__name__
            if plain and plain[-1].activation == "linear":
                plain[-1] = replace(plain[-1], activation=name)
            else:
                units = int(layer.output.shape[-1])
                one, zero = np.ones(units, np.float32), np.zeros(units, np.float32)
                plain.append(Affine(one, zero, name))
    return Head(tuple(plain), binary=classes == 2)


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
    on_step: Callable[[], None] = lambda: None,
) -> tuple[list[float], list[float], float]:
    """Rates, smoothed losses, and a rate to try: where the loss falls fastest (Smith 2017,
    https://arxiv.org/abs/1506.01186). Ends early when the loss has grown fourfold.
    """
    prepare_keras()
    import keras

    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe, classes, dimensions)
    targets = encode_targets(labels, 1 if classes == 2 else classes)
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
            on_step()
            rates.append(rate)
            losses.append(average / (1 - 0.9 ** len(rates)))
            settled = losses[SETTLING:]
            grown = bool(settled) and losses[-1] > 4 * min(settled)
            if len(rates) == steps or not np.isfinite(loss) or grown:
                return rates, losses, _steepest_rate(rates, losses)
        epoch += 1
    return rates, losses, _steepest_rate(rates, losses)


def _steepest_rate(rates: list[float], losses: list[float]) -> float:
    """The rate at which the loss, on its way to its lowest, falls fastest."""
    settled = np.nan_to_num(np.array(losses[SETTLING:]), nan=np.inf)
    if len(settled) < 3:
        return rates[0]
    lowest = max(3, int(settled.argmin()) + 1)
    slopes = np.gradient(settled[:lowest])
    return rates[SETTLING + int(slopes.argmin())]
