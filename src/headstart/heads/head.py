"""What a trained head computes, as plain arrays: the one form that predicts, saves and exports.

A head is a list of layers from features to class probabilities. NumPy computes it here,
`to_openvino` appends it to an extractor's graph; both give the same numbers.
Letters: N images, D features, C classes, U units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart.errors import ClassifierError
from headstart.system.memory import iterate_blocks

# An inner product of fewer numbers than this is written as multiply and sum, which OpenVINO
# leaves in f32 behind the last convolution even where the network runs in bf16.
SMALL = 1_000_000
BLOCK = 1024  # images at a time, so that temporary arrays stay small

ACTIVATIONS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid",
    "softplus", "softmax",
)  # fmt: skip


@dataclass(frozen=True)
class Dense:
    """x (N, D) @ weight (D, U) + bias (U,), then the activation."""

    weight: np.ndarray
    bias: np.ndarray
    activation: str = "linear"

    @property
    def units(self) -> int:
        """U."""
        return len(self.bias)


@dataclass(frozen=True)
class Affine:
    """x * scale + shift, elementwise: batch normalisation in inference mode."""

    scale: np.ndarray
    shift: np.ndarray
    activation: str = "linear"

    @property
    def units(self) -> int:
        """U."""
        return len(self.shift)


Layer = Dense | Affine


@dataclass(frozen=True)
class Head:
    """Layers from (N, D) features to (N, C) probabilities.

    binary: the last layer gives one number, the probability of the second class.
    """

    layers: tuple[Layer, ...]
    binary: bool = field(default=False)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features to (N, C) float32 probabilities; nan from a head that diverged."""
        if not len(features):
            return self.probabilities(np.zeros((1, self.dimensions), np.float32))[:0]
        with np.errstate(all="ignore"):
            blocks = [self._forward(block) for _, block in iterate_blocks(features, BLOCK)]
        return np.concatenate(blocks)

    @property
    def dimensions(self) -> int:
        """D, how many numbers an image must have."""
        first = self.layers[0]
        return len(first.weight if isinstance(first, Dense) else first.scale)

    @property
    def outputs(self) -> int:
        """C, how many probabilities an image is given."""
        return 2 if self.binary else self.layers[-1].units

    def _forward(self, x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float32, copy=False)
        for layer in self.layers:
            if isinstance(layer, Dense):
                x = x @ layer.weight + layer.bias
            else:
                x = x * layer.scale + layer.shift
            x = activate(x, layer.activation)
        return np.concatenate([1 - x, x], axis=1) if self.binary else x

    def to_openvino(self, features: Any) -> Any:
        """The (1, C) probabilities in OpenVINO's graph, from its (1, D) features."""
        from openvino import opset13 as op

        x = features
        for layer in self.layers:
            if isinstance(layer, Affine):
                x = op.add(op.multiply(x, op.constant(layer.scale[None])),
                           op.constant(layer.shift[None]))  # fmt: skip
            else:
                x = op.add(_product(x, layer.weight), op.constant(layer.bias[None]))
            x = _activation_node(x, layer.activation)
        if self.binary:
            one = op.constant(np.ones((1, 1), np.float32))
            x = op.concat([op.subtract(one, x), x], 1)
        return x

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by a name, for safetensors."""
        arrays = {}
        for index, layer in enumerate(self.layers):
            names = ("weight", "bias") if isinstance(layer, Dense) else ("scale", "shift")
            for name in names:
                arrays[f"{index}.{name}"] = np.ascontiguousarray(getattr(layer, name), np.float32)
        return arrays

    def description(self) -> dict[str, Any]:
        """What is not an array, for JSON."""
        kinds = [
            {"kind": type(layer).__name__.lower(), "activation": layer.activation}
            for layer in self.layers
        ]
        return {"layers": kinds, "binary": self.binary}


def from_arrays(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Head:
    """The head saved as `description()` and `arrays()`. Raises ClassifierError if damaged."""
    layers: list[Layer] = []
    try:
        for index, row in enumerate(description["layers"]):
            if row["kind"] == "dense":
                layers.append(
                    Dense(arrays[f"{index}.weight"], arrays[f"{index}.bias"], row["activation"])
                )
            else:
                layers.append(
                    Affine(arrays[f"{index}.scale"], arrays[f"{index}.shift"], row["activation"])
                )
        head = Head(tuple(layers), bool(description["binary"]))
    except (KeyError, TypeError) as error:
        raise ClassifierError(
            f"expected a whole head, found one without {error}. Train again, or restore its folder"
        ) from error
    _check_shapes(head)
    return head


def _check_shapes(head: Head) -> None:
    """Raises ClassifierError unless each layer takes what the one before it gives."""
    width = head.dimensions
    for index, layer in enumerate(head.layers):
        units = layer.units
        if isinstance(layer, Dense):
            found = layer.weight.shape, layer.bias.shape
            expected: tuple[tuple[int, ...], ...] = (width, units), (units,)
        else:
            found, expected = (layer.scale.shape, layer.shift.shape), ((width,), (width,))
        if found != expected or layer.activation not in ACTIVATIONS:
            raise ClassifierError(
                f"expected arrays of the shapes {expected} and a known activation in layer {index} "
                f"of the head, found {found} and {layer.activation!r}. Train again, or restore its "
                "folder"
            )
        width = units
    if head.binary and width != 1:
        raise ClassifierError(
            f"expected one number from the last layer of a head for two classes, found {width}. "
            "Train again, or restore its folder"
        )


def activate(x: np.ndarray, name: str) -> np.ndarray:
    """The activation of (N, U) numbers, by Keras' name."""
    if name == "linear":
        return x
    if name == "relu":
        return np.maximum(x, 0)
    if name == "relu6":
        return np.clip(x, 0, 6)
    if name == "leaky_relu":
        return np.where(x > 0, x, np.float32(0.2) * x)
    if name == "elu":
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    if name == "selu":
        return np.float32(1.0507009873554805) * np.where(
            x > 0, x, np.float32(1.6732632423543772) * np.expm1(np.minimum(x, 0))
        )
    if name == "gelu":
        return (x * 0.5 * (1 + _erf(x / np.float32(2**0.5)))).astype(np.float32)
    if name == "silu":
        return x * _sigmoid(x)
    if name == "tanh":
        return np.tanh(x)
    if name == "sigmoid":
        return _sigmoid(x)
    if name == "softplus":
        return np.logaddexp(x, 0).astype(np.float32)
    if name == "softmax":
        exponents = np.exp(x - x.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)
    raise ClassifierError(f"expected an activation among {', '.join(ACTIVATIONS)}, found {name!r}")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # exp of a negative number only: no overflow on either side.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def _erf(x: np.ndarray) -> np.ndarray:
    """Abramowitz & Stegun 7.1.26, absolute error below 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x.astype(np.float64)))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741
             + t * (-1.453152027 + t * 1.061405429))))  # fmt: skip
    return np.sign(x) * (1 - series * np.exp(-(x.astype(np.float64) ** 2)))


def _product(x: Any, weight: np.ndarray) -> Any:
    from openvino import opset13 as op

    if weight.size > SMALL:
        return op.matmul(x, op.constant(np.ascontiguousarray(weight, np.float32)), False, False)
    columns = np.ascontiguousarray(weight.T, np.float32)[None]  # (1, U, D)
    products = op.multiply(op.unsqueeze(x, op.constant(np.array([1]))), op.constant(columns))
    return op.reduce_sum(products, op.constant(np.array([2])), False)


def _activation_node(x: Any, name: str) -> Any:
    from openvino import opset13 as op

    simple = {"relu": op.relu, "tanh": op.tanh, "sigmoid": op.sigmoid, "softplus": op.softplus}
    if name == "linear":
        return x
    if name in simple:
        return simple[name](x)
    if name == "relu6":
        return op.clamp(x, 0.0, 6.0)
    if name == "leaky_relu":
        return op.prelu(x, op.constant(np.array([0.2], np.float32)))
    if name == "elu":
        return op.elu(x, 1.0)
    if name == "selu":
        return op.selu(x, op.constant(np.float32(1.6732632423543772)),
                       op.constant(np.float32(1.0507009873554805)))  # fmt: skip
    if name == "gelu":
        return op.gelu(x, "erf")
    if name == "silu":
        return op.swish(x)
    if name == "softmax":
        return op.softmax(x, 1)
    raise ClassifierError(f"expected an activation among {', '.join(ACTIVATIONS)}, found {name!r}")
