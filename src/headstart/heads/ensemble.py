"""Heads of the same form as one head, whose logits are the mean of theirs.

Linear heads become one linear head; hidden layers stand side by side, each over its own units, so
one pass computes them all. That holds for what works on each unit alone: a softmax inside a head
would run over the units of all heads, and features that every head scales in its own way before it
activates them could not be shared.
Letters: N images, D features, C classes.
"""

from collections.abc import Sequence
from itertools import dropwhile

import numpy as np

from headstart.errors import HeadError, RecipeError
from headstart.heads.head import Affine, Dense, Head, Layer


def check_ensemble(layers: Sequence[str]) -> None:
    """Raises RecipeError for a recipe's layers whose heads `average_heads` would refuse."""
    words = [text.split() for text in layers]
    words = [word for word in words if word and word[0] != "dropout"]  # nothing in prediction
    own = list(dropwhile(lambda word: word[0] == "activation", words))  # the former are shared
    if any(word[-1] == "softmax" for word in own):
        raise RecipeError(
            "expected layers without softmax for ensemble = true, since it would run over the "
            f"units of all heads, found {list(layers)}. Set ensemble = false or another activation"
        )
    own = list(dropwhile(lambda word: word[0] == "batchnorm", own))
    if own and own[0][0] == "activation":
        raise RecipeError(
            "expected a 'dense' layer before an activation that follows 'batchnorm' for "
            f"ensemble = true, found {list(layers)}. Set ensemble = false, or put a dense layer "
            "between them"
        )


def average_heads(heads: Sequence[Head]) -> Head:
    """One head with the mean of the heads' logits.

    Raises HeadError where that cannot be one head; `check_ensemble` says so before the training.
    """
    shared, forms = _split_shared([list(head.layers) for head in heads])
    forms = [_fold_scaling(layers) for layers in forms]
    last = len(forms[0]) - 1
    layers: list[Layer] = list(shared)
    for place, alike in enumerate(zip(*forms, strict=True)):
        if place < last and alike[0].activation == "softmax":
            raise HeadError("expected heads without a softmax inside, to average them")
        if isinstance(alike[0], Affine):
            layers.append(_side_by_side(alike))
        else:
            layers.append(_joined(alike, first=place == 0, last=place == last))
    return Head(tuple(layers), heads[0].binary)


def _split_shared(forms: list[list[Layer]]) -> tuple[list[Layer], list[list[Layer]]]:
    """The first scalings that are the same in all heads, and what then is each head's own."""
    shared: list[Layer] = []
    while all(isinstance(layers[0], Affine) for layers in forms):
        first = forms[0][0]
        assert isinstance(first, Affine)
        if not all(_same(first, layers[0]) for layers in forms):
            break
        shared.append(first)
        forms = [layers[1:] for layers in forms]
    return shared, forms


def _same(one: Affine, other: Layer) -> bool:
    return (
        isinstance(other, Affine)
        and one.activation == other.activation
        and np.array_equal(one.scale, other.scale)
        and np.array_equal(one.shift, other.shift)
    )


def _fold_scaling(layers: list[Layer]) -> list[Layer]:
    """The same layers with first scales and shifts carried out in the weights behind them."""
    if not isinstance(layers[0], Affine):
        return layers
    first, (second, *rest) = layers[0], _fold_scaling(layers[1:])
    if first.activation != "linear" or not isinstance(second, Dense):
        raise HeadError("expected a Dense layer behind the first scaling, to average heads")
    weight = first.scale[:, None] * second.weight
    bias = second.bias + first.shift @ second.weight
    return [Dense(weight, bias, second.activation), *rest]


def _side_by_side(scalings: Sequence[Layer]) -> Affine:
    """Scalings of the heads' own units."""
    parts = [(part.scale, part.shift) for part in scalings if isinstance(part, Affine)]
    scales, shifts = zip(*parts, strict=True)
    return Affine(np.concatenate(scales), np.concatenate(shifts), scalings[0].activation)


def _joined(denses: Sequence[Layer], *, first: bool, last: bool) -> Dense:
    """Dense layers of the heads as one: the first sees the features that all share, the last gives
    the mean, and those between see their own head's units alone.
    """
    parts = [(part.weight, part.bias) for part in denses if isinstance(part, Dense)]
    weights, biases = [weight for weight, _ in parts], [bias for _, bias in parts]
    if last:
        weight = np.mean(weights, axis=0) if first else np.concatenate(weights) / len(weights)
        bias = np.mean(biases, axis=0)
    elif first:
        weight, bias = np.concatenate(weights, axis=1), np.concatenate(biases)
    else:
        weight, bias = _block_diagonal(weights), np.concatenate(biases)
    return Dense(weight.astype(np.float32), bias.astype(np.float32), denses[0].activation)


def _block_diagonal(weights: Sequence[np.ndarray]) -> np.ndarray:
    whole = np.zeros(tuple(np.sum([weight.shape for weight in weights], axis=0)), np.float32)
    row = column = 0
    for weight in weights:
        height, width = weight.shape
        whole[row : row + height, column : column + width] = weight
        row, column = row + height, column + width
    return whole
