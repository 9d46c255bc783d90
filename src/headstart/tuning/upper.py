"""The part of a backbone above a boundary as a Keras model of its own.

Letters: D features, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.backbones.cut import Cut
from headstart.features.extractor import layers
from headstart.heads.head import Dense, Head
from headstart.recipe import Recipe
from headstart.tuning.boundaries import separates
from headstart.tuning.keras_model import build_backbone, pooled


@dataclass(frozen=True)
class State:
    """What a network knows, as plain arrays: it is trained from one to the next.

    base: the backbone's weights, as Keras orders them. head: weight (D, C) and bias (C,).
    temperature: what the logits are to be divided by so that probabilities mean what they say.
    """

    base: tuple[np.ndarray, ...]
    head: tuple[np.ndarray, np.ndarray]
    temperature: float = 1.0

    def plain_head(self) -> Head:
        """The calibrated head as plain arrays."""
        weight, bias = (np.asarray(array, np.float32) / self.temperature for array in self.head)
        return Head((Dense(weight, bias, "softmax"),))


@dataclass(frozen=True)
class Network:
    """A Keras backbone and the softmax on its features. Training an `upper` of it trains it."""

    base: Any
    head: Any

    def state(self) -> State:
        """What it knows now."""
        weight, bias = self.head.get_weights()
        return State(tuple(self.base.get_weights()), (weight, bias))

    def load(self, state: State) -> None:
        """Make it know that and nothing else."""
        self.base.set_weights(list(state.base))
        self.head.set_weights(list(state.head))


def build_network(recipe: Recipe, weight: np.ndarray, bias: np.ndarray) -> Network:
    """The recipe's backbone as it comes, and on top of it a head (D, C), (C,).

    Raises WeightsError if the recipe's weights are not there.
    """
    import keras

    keras.utils.set_random_seed(recipe.seed)
    base = build_backbone(recipe)
    head = keras.layers.Dense(len(bias), activation="softmax", name="predictions")
    head.build((None, len(weight)))
    head.set_weights([weight, bias])
    return Network(base, head)


def build_upper(network: Network, boundary: str, cuts: Sequence[Cut], recipe: Recipe) -> Any:
    """The Keras model from flattened activations at the boundary to probabilities.

    Its layers are the network's own: training it trains them.
    """
    import keras

    base = network.base
    start = base.get_layer(boundary).output
    shape = tuple(int(side) for side in start.shape[1:])
    names = list(dict.fromkeys(cut.layer for cut in cuts))  # one may be pooled in two ways
    part = keras.Model(start, [base.get_layer(name).output for name in names])
    for layer in base.layers:
        # In inference mode, its statistics stay what ImageNet made them.
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    flat = keras.Input((int(np.prod(shape)),), name="activations")
    maps = part(keras.layers.Reshape(shape)(flat))
    maps = maps if isinstance(maps, list | tuple) else [maps]
    map_of = dict(zip(names, maps, strict=True))
    vectors = [vector for cut in cuts for vector in pooled(map_of[cut.layer], cut, recipe.pooling)]
    x = keras.layers.Concatenate()(vectors) if len(vectors) > 1 else vectors[0]
    return keras.Model(flat, network.head(x))


def compile_upper(model: Any, base: Any, recipe: Recipe) -> None:
    """AdamW whose rate is less for each block below the head."""
    import keras

    shares = learning_rate_shares(base, recipe)

    class Discriminative(keras.optimizers.AdamW):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
            # On TensorFlow this is the raw variable: its place tells which one it is.
            path = self._trainable_variables[self._get_variable_index(variable)].path
            share = shares.get(path, 1.0)
            return super().update_step(gradient, variable, learning_rate * share)

    model.compile(
        optimizer=Discriminative(recipe.tune_learning_rate, weight_decay=recipe.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,  # XLA's convolutions are slow on a CPU
    )


def learning_rate_shares(base: Any, recipe: Recipe) -> dict[str, float]:
    """By the path of a backbone's variable: its share of the head's learning rate, `tune_decay`
    less for each block further down.
    """
    ends = {layer.name for layer in layers(recipe) if layer.candidate and separates(layer.name)}
    shares, share = {}, 1.0
    for layer in reversed(base.layers):
        if layer.name in ends:
            share *= recipe.tune_decay
        for variable in layer.trainable_variables:
            shares[variable.path] = share
    return shares
