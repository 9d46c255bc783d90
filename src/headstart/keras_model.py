"""The classifier as a plain Keras model, from the backbone's input to the probabilities.

`keras.models.load_model` opens it without headstart. Like the lesson's
`Model(pre_trained_model.input, x)` it takes pixels as the backbone is fed them: normalised, as
`normalised` does.
"""

from typing import Any

import numpy as np

from headstart.backbones.catalogue import NORMALISATIONS, Normalisation, backbone
from headstart.backbones.keras_builder import keras_backbone
from headstart.backbones.weights import resolve
from headstart.heads.stack import Affine, Dense, Stack
from headstart.recipe import Recipe


def normalisation_of(recipe: Recipe) -> Normalisation:
    """What the recipe does to pixels 0..255 before the backbone."""
    return NORMALISATIONS.get(recipe.normalisation, backbone(recipe.backbone).normalisation)


def normalised(pixels: np.ndarray, recipe: Recipe) -> np.ndarray:
    """(N, H, W, 3) uint8 as the Keras model's float32 input."""
    found = normalisation_of(recipe)
    x = pixels.astype(np.float32)
    if found.bgr:
        x = x[..., ::-1]
    result: np.ndarray = (x - np.array(found.mean, np.float32)) / np.array(found.std, np.float32)
    return result


def keras_model(recipe: Recipe, stack: Stack, cuts: tuple[str, ...]) -> Any:
    """A Keras model of frozen backbone and trained head, on this process' Keras backend.

    Dropout layers stand where the recipe has them; they do nothing in prediction. Layers of the
    backbone are not trainable. Raises WeightsError if the recipe's weights are no longer there.
    """
    import keras

    entry = backbone(recipe.backbone)
    weights = resolve(entry, recipe.weights)
    size = recipe.geometry(entry.size).height
    path = str(weights.path) if weights.path else None
    if path is None:
        keras.utils.set_random_seed(0)
    base = keras_backbone(entry.name, size, path, weights.kind)
    for layer in base.layers:
        layer.trainable = False
    vectors = [
        vector
        for cut in cuts
        for vector in _pooled(base.get_layer(cut).output, recipe.pooling, cut)
    ]
    x = keras.layers.Concatenate(name="features")(vectors) if len(vectors) > 1 else vectors[0]
    trained: list[tuple[Any, list[np.ndarray]]] = []
    for layer, rate in zip(stack.layers, _dropout_before(recipe, stack), strict=True):
        if rate:
            x = keras.layers.Dropout(rate)(x)
        made, values = _layer(layer)
        x = made(x)
        trained.append((made, values))
    for made, values in trained:
        made.set_weights(values)
    return keras.Model(base.input, x, name="classifier")


def _pooled(feature_map: Any, pooling: str, cut: str) -> list[Any]:
    from keras import layers

    if len(feature_map.shape) == 2:
        return [feature_map]
    if pooling == "flatten":
        return [layers.Flatten(name=f"flatten_{cut}")(feature_map)]
    kinds = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}
    return [kinds[kind](name=f"{kind}_{cut}")(feature_map) for kind in pooling.split("+")]


def _layer(layer: Dense | Affine) -> tuple[Any, list[np.ndarray]]:
    from keras import layers

    if isinstance(layer, Dense):
        units = layer.weight.shape[1]
        return layers.Dense(units, activation=layer.activation), [layer.weight, layer.bias]
    # Batch normalisation in inference mode: gamma, beta, moving mean, moving variance.
    count = len(layer.scale)
    values = [layer.scale, layer.shift, np.zeros(count), np.ones(count)]
    return layers.BatchNormalization(epsilon=0.0), values


def _dropout_before(recipe: Recipe, stack: Stack) -> list[float]:
    """For each layer of the stack the rate of the dropout that stands before it."""
    rates, rate = [], 0.0
    if recipe.head == "neural":
        for text in recipe.layers:
            kind, *rest = text.split()
            if kind == "dropout":
                rate = float(rest[0]) if rest else recipe.dropout
            elif kind in ("dense", "batchnorm"):
                rates.append(rate)
                rate = 0.0
    rates += [rate]
    return (rates + [0.0] * len(stack.layers))[: len(stack.layers)]
