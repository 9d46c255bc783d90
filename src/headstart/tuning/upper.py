"""The part of a backbone above a boundary as a Keras model of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.backbones.cut import Cut
from headstart.features.extractor import layers
from headstart.recipe import Recipe
from headstart.tuning.boundaries import separates
from headstart.tuning.keras_model import pooled


def upper(
    base: Any, head: Any, boundary: str, shape: tuple[int, ...], cuts: Sequence[Cut], recipe: Recipe
) -> Any:
    """The Keras model from flattened boundary activations to probabilities.

    Its layers are those of `base` and `head`: training it trains them.
    """
    import keras

    start = base.get_layer(boundary).output
    part = keras.Model(start, [base.get_layer(cut.layer).output for cut in cuts])
    for layer in base.layers:
        # In inference mode, its statistics stay what ImageNet made them.
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    flat = keras.Input((int(np.prod(shape)),), name="activations")
    maps = part(keras.layers.Reshape(shape)(flat))
    maps = maps if isinstance(maps, list | tuple) else [maps]
    vectors = [
        vector
        for cut, feature_map in zip(cuts, maps, strict=True)
        for vector in pooled(feature_map, cut, recipe.pooling)
    ]
    x = keras.layers.Concatenate()(vectors) if len(vectors) > 1 else vectors[0]
    return keras.Model(flat, head(x))


def compile_upper(model: Any, base: Any, recipe: Recipe) -> None:
    """AdamW whose rate is less for each block below the head."""
    import keras

    scales = _scales(base, recipe)

    class Discriminative(keras.optimizers.AdamW):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
            # On TensorFlow this is the raw variable: its place tells which one it is.
            path = self._trainable_variables[self._get_variable_index(variable)].path
            scale = scales.get(path, 1.0)
            return super().update_step(gradient, variable, learning_rate * scale)

    model.compile(
        optimizer=Discriminative(recipe.tune_learning_rate, weight_decay=recipe.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,  # XLA's convolutions are slow on a CPU
    )


def _scales(base: Any, recipe: Recipe) -> dict[str, float]:
    """By variable: the share of the head's learning rate."""
    outputs = {layer.name for layer in layers(recipe) if layer.candidate}
    outputs = {name for name in outputs if separates(name)}
    found, scale = {}, 1.0
    for layer in reversed(base.layers):
        if layer.name in outputs:
            scale *= recipe.tune_decay
        for variable in layer.trainable_variables:
            found[variable.path] = scale
    return found
