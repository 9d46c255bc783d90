"""The classifier as a plain Keras model, from the backbone's input to the probabilities.

`keras.models.load_model` opens it without headstart. Like the lesson's
`Model(pre_trained_model.input, x)` it takes pixels as the backbone is fed them: normalised, as
`normalised` does.
"""

from typing import Any

import numpy as np

from headstart.backbones.catalogue import NORMALISATIONS, Normalisation, backbone
from headstart.backbones.cut import Cut
from headstart.backbones.keras_builder import keras_backbone
from headstart.backbones.weights import resolve
from headstart.features.graph import grid_field
from headstart.heads.head import Affine, Dense, Head, Layer
from headstart.heads.neural import parse_layer
from headstart.recipe import Recipe


def normalisation_of(recipe: Recipe) -> Normalisation:
    """What the recipe does to pixels 0..255 before the backbone."""
    return NORMALISATIONS.get(recipe.normalisation, backbone(recipe.backbone).normalisation)


def normalised(pixels: np.ndarray, recipe: Recipe) -> np.ndarray:
    """(N, H, W, 3) uint8 as the Keras model's float32 input."""
    rule = normalisation_of(recipe)
    x = pixels.astype(np.float32)
    if rule.bgr:
        x = x[..., ::-1]
    result: np.ndarray = (x - np.array(rule.mean, np.float32)) / np.array(rule.std, np.float32)
    return result


def build_backbone(recipe: Recipe) -> Any:
    """The recipe's backbone as a Keras model, with its weights. Raises WeightsError if these are
    not there.
    """
    import keras

    entry = backbone(recipe.backbone)
    weights = resolve(entry, recipe.weights)
    path = str(weights.path) if weights.path else None
    if path is None:  # the extractor's are those of seed 0, and so must these be
        keras.utils.set_random_seed(0)
    return keras_backbone(entry.name, recipe.geometry(entry.size).height, path, weights.kind)


def keras_model(recipe: Recipe, head: Head, cuts: tuple[Cut, ...]) -> Any:
    """A Keras model of frozen backbone and trained head, on this process' Keras backend.

    A neural head has the recipe's layers, dropout too, which does nothing in prediction; the mean
    of several heads has the layers that compute it. Layers of the backbone are not trainable.
    Raises WeightsError if the recipe's weights are no longer there.
    """
    import keras

    base = build_backbone(recipe)
    for layer in base.layers:
        layer.trainable = False
    vectors = [
        vector
        for cut in cuts
        for vector in pooled(base.get_layer(cut.layer).output, cut, recipe.pooling)
    ]
    x = keras.layers.Concatenate(name="features")(vectors) if len(vectors) > 1 else vectors[0]
    made = _head_layers(recipe, head)
    for layer in made:
        x = layer(x)
    _set_weights(made, head)
    return keras.Model(base.input, x, name="classifier")


def _head_layers(recipe: Recipe, head: Head) -> list[Any]:
    """The head's Keras layers: as they were trained, or as the arrays of a mean of heads say."""
    from keras import layers

    last = head.layers[-1]
    assert isinstance(last, Dense)
    if recipe.head == "neural" and not recipe.ensemble:
        parsed = [parse_layer(text, recipe) for text in recipe.layers]
        hidden = [layer for layer in parsed if layer is not None]
    else:
        hidden = [made for layer in head.layers[:-1] for made in _hidden_layers(layer)]
    predictions = layers.Dense(last.weight.shape[1], activation=last.activation, name="predictions")
    return [*hidden, predictions]


def _hidden_layers(layer: Layer) -> list[Any]:
    """One or two Keras layers of the same form."""
    from keras import layers

    if isinstance(layer, Dense):
        return [layers.Dense(layer.weight.shape[1], activation=layer.activation)]
    scaling = layers.BatchNormalization()
    return [scaling] if layer.activation == "linear" else [
        scaling, layers.Activation(layer.activation)
    ]  # fmt: skip


def _set_weights(made: list[Any], head: Head) -> None:
    """The head's arrays into the layers that they came from (`to_head` the other way)."""
    from keras import layers

    entries = iter(head.layers)
    before = ""  # the activation that the head has had so far; nothing yet
    for layer in made:
        if isinstance(layer, layers.Dense):
            entry = next(entries)
            assert isinstance(entry, Dense)
            layer.set_weights([entry.weight, entry.bias])
            before = layer.activation.__name__
        elif isinstance(layer, layers.BatchNormalization):
            entry = next(entries)
            assert isinstance(entry, Affine)
            # Batch normalisation in inference mode: gamma, beta, moving mean, moving variance.
            zero = np.zeros_like(entry.scale)
            layer.set_weights([entry.scale, entry.shift, zero, zero + 1 - layer.epsilon])
            before = "linear"
        elif isinstance(layer, layers.Activation):
            if before != "linear":  # it has an entry of its own, else it is part of the last one
                next(entries)
            before = layer.activation.__name__


def pooled(feature_map: Any, cut: Cut, pooling: str) -> list[Any]:
    """A feature map as vectors, by the cut's own pooling ("mixed7:grid") or else `pooling`."""
    from keras import layers

    pooling, name = cut.pooling or pooling, str(cut).replace(":", "_")
    if len(feature_map.shape) == 2:
        return [feature_map]
    if pooling == "grid":
        fields, strides = zip(*map(grid_field, feature_map.shape[1:3]), strict=True)
        feature_map = layers.AveragePooling2D(fields, strides, name=f"grid_{name}")(feature_map)
    if pooling in ("flatten", "grid"):
        return [layers.Flatten(name=f"flatten_{name}")(feature_map)]
    kinds = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}
    return [kinds[kind](name=f"{kind}_{name}")(feature_map) for kind in pooling.split("+")]
