"""EfficientNet-Lite: one definition of the network, two ways to build it.

The network is EfficientNet (Tan & Le 2019, https://arxiv.org/abs/1905.11946) without
squeeze-and-excitation and with ReLU6, stem and last layer not widened. `network` describes it in
three operations; `OpenVinoOps` builds it for inference in a twentieth of a second, without Keras,
and `keras_model` builds the same as a Keras model, for fine-tuning and export.
"""

import math
from typing import Any, Protocol

import numpy as np

from headstart.errors import BackboneError

# repeats, kernel, stride, expansion, filters
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]
SCALING = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # width, depth
EPSILON = 1e-3

Weights = dict[str, np.ndarray]


class Ops(Protocol):
    """What it takes to build the network."""

    def conv(
        self, x: Any, name: str, filters: int, kernel: int, stride: int, depthwise: bool
    ) -> Any:
        """A convolution without bias, padding 'same', then batch normalisation."""

    def relu6(self, x: Any, name: str) -> Any: ...

    def add(self, a: Any, b: Any, name: str) -> Any: ...


def read_number(name: str) -> int:
    """Which of the family the catalogue calls `name`."""
    return int(name[-1])


def blocks(number: int) -> list[tuple[str, int, int, int, int]]:
    """Name, kernel, stride, expansion and filters of each block, in order."""
    width, depth = SCALING[number]
    rows = []
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES, 1):
        # Lite keeps the first and the last stage at their depth.
        count = repeats if stage in (1, len(STAGES)) else math.ceil(repeats * depth)
        for index in range(count):
            name = f"block{stage}{chr(97 + index)}"
            rows.append(
                (name, kernel, stride if index == 0 else 1, expansion, _round(filters * width))
            )
    return rows


def _round(filters: float) -> int:
    """To a multiple of 8, never down by more than a tenth."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def network(number: int, image: Any, ops: Ops) -> dict[str, Any]:
    """Every cut of EfficientNet-Lite `number`, by layer name, the last one `top_relu`."""
    cuts: dict[str, Any] = {}
    x = ops.relu6(ops.conv(image, "stem", 32, 3, 2, False), "stem_relu")
    channels = 32
    for name, kernel, stride, expansion, filters in blocks(number):
        y = x
        if expansion > 1:
            y = ops.conv(y, f"{name}_expand", channels * expansion, 1, 1, False)
            y = ops.relu6(y, f"{name}_expand_relu")
        y = ops.conv(y, f"{name}_depthwise", channels * expansion, kernel, stride, True)
        y = cuts[f"{name}_depthwise_relu"] = ops.relu6(y, f"{name}_depthwise_relu")
        y = ops.conv(y, f"{name}_project", filters, 1, 1, False)
        if stride == 1 and channels == filters:
            x = cuts[f"{name}_add"] = ops.add(x, y, f"{name}_add")
        else:
            x = cuts[f"{name}_project_bn"] = y
        channels = filters
    x = ops.conv(x, "top", 1280, 1, 1, False)
    cuts["top_relu"] = ops.relu6(x, "top_relu")
    return cuts


def cut_shapes(number: int, size: int) -> dict[str, tuple[int, int, int]]:
    """Height, width and channels of every cut for images of `size` pixels."""
    shapes: dict[str, tuple[int, int, int]] = {}
    side, channels = math.ceil(size / 2), 32
    for name, _, stride, expansion, filters in blocks(number):
        side = math.ceil(side / stride)
        shapes[f"{name}_depthwise_relu"] = (side, side, channels * expansion)
        kind = "add" if stride == 1 and channels == filters else "project_bn"
        channels = filters
        shapes[f"{name}_{kind}"] = (side, side, channels)
    shapes["top_relu"] = (side, side, 1280)
    return shapes


def worth_measuring(name: str, shape: tuple[int, ...], size: int) -> bool:
    """Whether a cut is a candidate.

    The widened maps of the first two stages are not: reading three maps of up to 451,000 numbers
    costs an eighth of the whole network, for colours and edges that the blocks' own outputs,
    a sixth as wide, have too.
    """
    return not name.endswith("depthwise_relu") or shape[0] <= math.ceil(size / 8)


def checkpoint_names(number: int) -> dict[str, tuple[str, str]]:
    """For each convolution of ours, the names of kernel and normalisation in the checkpoint."""
    names = {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")}
    for index, (name, _, _, expansion, _) in enumerate(blocks(number)):
        prefix = f"_blocks.{index}."
        if expansion > 1:
            names[f"{name}_expand"] = (f"{prefix}_expand_conv", f"{prefix}_bn0")
        names[f"{name}_depthwise"] = (f"{prefix}_depthwise_conv", f"{prefix}_bn1")
        names[f"{name}_project"] = (f"{prefix}_project_conv", f"{prefix}_bn2")
    return names


class OpenVinoOps:
    """Builds for OpenVINO, channels first, batch normalisation folded into the kernels."""

    def __init__(self, number: int, weights: Weights) -> None:
        self.weights, self.names = weights, checkpoint_names(number)

    def conv(
        self, x: Any, name: str, filters: int, kernel: int, stride: int, depthwise: bool
    ) -> Any:
        from openvino import opset13 as op

        conv_name, bn_name = self.names[name]
        values = self.weights[f"{conv_name}.weight"]  # (out, in, k, k)
        gamma, beta, mean, variance = (
            self.weights[f"{bn_name}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        if values.shape[0] != filters or values.shape[2] != kernel:
            raise BackboneError(
                f"the weights do not fit: {conv_name} has shape {values.shape}, "
                f"expected ({filters}, ..., {kernel}, {kernel})"
            )
        factor = gamma / np.sqrt(variance + EPSILON)
        folded = (values * factor[:, None, None, None]).astype(np.float32)
        bias = (beta - mean * factor).astype(np.float32).reshape(1, -1, 1, 1)
        geometry: Any = ([stride, stride], [0, 0], [0, 0], [1, 1], "same_upper")
        y = (
            op.group_convolution(x, op.constant(folded[:, None]), *geometry)
            if depthwise
            else op.convolution(x, op.constant(folded), *geometry)
        )
        y = op.add(y, op.constant(bias))
        y.set_friendly_name(f"{name}_bn")
        return y

    def relu6(self, x: Any, name: str) -> Any:
        from openvino import opset13 as op

        return op.clamp(x, 0.0, 6.0, name=name)

    def add(self, a: Any, b: Any, name: str) -> Any:
        from openvino import opset13 as op

        return op.add(a, b, name=name)


class KerasOps:
    """Builds with Keras, in the user's image data format."""

    def conv(
        self, x: Any, name: str, filters: int, kernel: int, stride: int, depthwise: bool
    ) -> Any:
        from keras import config, layers

        options: Any = {
            "strides": stride, "padding": "same", "use_bias": False, "name": f"{name}_conv",
        }  # fmt: skip
        y = (
            layers.DepthwiseConv2D(kernel, **options)(x)
            if depthwise
            else layers.Conv2D(filters, kernel, **options)(x)
        )
        axis = 1 if config.image_data_format() == "channels_first" else -1
        return layers.BatchNormalization(axis=axis, epsilon=EPSILON, name=f"{name}_bn")(y)

    def relu6(self, x: Any, name: str) -> Any:
        from keras import layers

        return layers.ReLU(6.0, name=name)(x)

    def add(self, a: Any, b: Any, name: str) -> Any:
        from keras import layers

        return layers.Add(name=name)([a, b])


def keras_model(number: int, size: int, weights: Weights | None) -> Any:
    """EfficientNet-Lite `number` without its top as a Keras model; random without weights."""
    import keras

    channels_first = keras.config.image_data_format() == "channels_first"
    image = keras.Input((3, size, size) if channels_first else (size, size, 3))
    cuts = network(number, image, KerasOps())
    model = keras.Model(image, cuts["top_relu"], name=f"efficientnet_lite{number}")
    if weights is not None:
        for name, (conv_name, bn_name) in checkpoint_names(number).items():
            kernel = weights[f"{conv_name}.weight"]
            order = (2, 3, 0, 1) if name.endswith("depthwise") else (2, 3, 1, 0)
            model.get_layer(f"{name}_conv").set_weights([kernel.transpose(order)])
            model.get_layer(f"{name}_bn").set_weights(
                [
                    weights[f"{bn_name}.{part}"]
                    for part in ("weight", "bias", "running_mean", "running_var")
                ]
            )
    return model
