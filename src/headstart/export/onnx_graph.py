"""An OpenVINO graph written as an ONNX model, node by node.

One way for all networks: whatever a classifier's graph is made of, EfficientNet-Lite and Keras'
applications alike, is one of some forty operations, each with one or two counterparts in ONNX.
One that is not among them is named, never guessed. All shapes are fixed, so what depends on shapes
alone (padding "same", a reshape) is written as numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headstart.errors import EngineError
from headstart.features.eight_bits import fold

OPSET, IR = 18, 8  # of the end of 2022: read by runtimes of that time and all since
HALVED = 1024  # numbers from which on an array is stored in f16: smaller ones weigh nothing


def to_onnx(graph: Any, *, half: bool = False) -> Any:
    """The ONNX model of an OpenVINO model with fixed shapes; inputs and outputs keep their names.

    half: store large arrays in f16; what is computed stays f32. Raises EngineError naming an
    operation that is not known, MissingExtra without the package `onnx`.
    """
    weights = _weights_in_8_bits(graph)
    fold(graph)
    writer = _Writer(half, weights)
    for node in graph.get_ordered_ops():
        writer.write(node)
    return writer.model([port.get_any_name() for port in graph.outputs])


def _weights_in_8_bits(graph: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Integers and their scales by the name of the node that multiplies them, which may be folded
    into a constant of that name.
    """
    found = {}
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Multiply":
            continue
        convert, scale = (node.input_value(place).get_node() for place in (0, 1))
        if convert.get_type_name() != "Convert" or scale.get_type_name() != "Constant":
            continue
        source = convert.input_value(0).get_node()
        if source.get_type_name() == "Constant" and source.data.dtype == np.int8:
            found[node.get_friendly_name()] = np.array(source.data), np.array(scale.data)
    return found


class _Writer:
    """What has been written so far: nodes, arrays, and by which name each port of OpenVINO's graph
    goes.
    """

    def __init__(
        self, half: bool, weights: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
    ) -> None:
        from headstart.export.extras import import_extra

        self.onnx = import_extra("onnx", "ONNX", "onnx")
        self.half = half
        self.weights = weights or {}
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.names: dict[tuple[str, int], str] = {}
        self.values: dict[str, np.ndarray] = {}  # of constants
        self.count = 0

    def write(self, node: Any) -> None:
        kind = node.get_type_name()
        if kind == "Parameter":
            name = node.output(0).get_any_name()
            self.inputs.append(self._port(name, node.output(0)))
            self._bind(node, name)
        elif node.get_friendly_name() in self.weights:
            self._bind(node, self.dequantised(*self.weights[node.get_friendly_name()]))
        elif kind == "Constant":
            self._bind(node, self.array(np.array(node.data)))
        elif kind == "Result":
            source = node.input_value(0)
            name = node.output(0).get_any_name()
            self.emit("Identity", [self.name(source)], output=name)
            self.outputs.append(self._port(name, source))
        elif kind in OPERATIONS:
            self._bind(node, OPERATIONS[kind](self, node))
        else:
            raise EngineError(
                f"expected operations that ONNX has, found {kind} ({node.get_friendly_name()}), "
                "for which nothing is known here. Type: headstart export RUN --to openvino"
            )

    def model(self, names: Sequence[str]) -> Any:
        """All of it, outputs in the order of the names. The checker has looked at it."""
        helper = self.onnx.helper
        order = {name: place for place, name in enumerate(names)}
        outputs = sorted(self.outputs, key=lambda port: order[port.name])
        used = {name for node in self.nodes for name in node.input}
        arrays = [array for array in self.arrays if array.name in used]
        graph = helper.make_graph(self.nodes, "classifier", self.inputs, outputs, arrays)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR,
            producer_name="headstart",
        )  # fmt: skip
        self.onnx.checker.check_model(model)
        return model

    def emit(
        self, kind: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any
    ) -> str:
        """One node of ONNX's; the name of its output."""
        output = output or self._new(kind.lower())
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def array(self, values: np.ndarray) -> str:
        """The name of an array; large ones are stored in half where that is wanted and possible."""
        name = self._new("array")
        self.values[name] = values
        if self.half and can_be_halved(values):
            stored = f"{name}_half"
            halved = values.astype(np.float16)
            self.arrays.append(self.onnx.numpy_helper.from_array(halved, stored))
            return self.emit("Cast", [stored], output=name, to=self.onnx.TensorProto.FLOAT)
        self.arrays.append(self.onnx.numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def dequantised(self, integers: np.ndarray, scales: np.ndarray) -> str:
        """The name of an array kept in 8 bits with one scale, or one a channel."""
        if integers.ndim == 5:  # of a convolution in groups, here in ONNX's form
            integers = integers.reshape(-1, *integers.shape[2:])
            scales = scales.reshape(-1, *[1] * 3)
        axis = int(np.argmax(scales.shape)) if scales.size > 1 else 0
        flat = scales.reshape(-1) if scales.size > 1 else scales.reshape(())
        parts = [self.array(part) for part in (integers, flat, np.zeros(flat.shape, np.int8))]
        name = self.emit("DequantizeLinear", parts, axis=axis)
        self.values[name] = (integers * scales).astype(np.float32)
        return name

    def add_bias(self, output: str, bias: np.ndarray) -> str:
        """Into the convolution of that output, which is now behind its bias."""
        (node,) = [node for node in self.nodes if output in node.output]
        self.nodes.remove(node)
        node.input.append(self.array(bias))
        self.nodes.append(node)
        return output

    def integers(self, values: Any) -> str:
        return self.array(np.array(values, np.int64).reshape(-1))

    def number(self, value: float) -> str:
        return self.array(np.array(value, np.float32))

    def name(self, port: Any) -> str:
        """By which a port of OpenVINO's graph goes here."""
        return self.names[port.get_node().get_friendly_name(), port.get_index()]

    def input(self, node: Any, index: int = 0) -> str:
        return self.name(node.input_value(index))

    def inputs_of(self, node: Any) -> list[str]:
        return [self.name(value) for value in node.input_values()]

    def constant(self, node: Any, index: int) -> np.ndarray:
        """The numbers of an input. Raises EngineError where they depend on the image."""
        name = self.input(node, index)
        if name not in self.values:
            raise EngineError(
                f"expected numbers that do not depend on the image as input {index} of "
                f"{node.get_type_name()} ({node.get_friendly_name()}), found others. "
                "Type: headstart export RUN --to openvino"
            )
        return self.values[name]

    def _bind(self, node: Any, name: str) -> None:
        self.names[node.get_friendly_name(), 0] = name

    def _new(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def _port(self, name: str, port: Any) -> Any:
        kinds = self.onnx.TensorProto
        kind = {"u8": kinds.UINT8, "f32": kinds.FLOAT}[port.get_element_type().get_type_name()]
        return self.onnx.helper.make_tensor_value_info(name, kind, list(port.get_shape()))


def can_be_halved(values: np.ndarray) -> bool:
    """Whether an array is stored in f16 where half the size is wanted: it is large, and its numbers
    are not.
    """
    large = values.dtype == np.float32 and values.size >= HALVED
    return large and bool(np.abs(values).max() <= np.finfo(np.float16).max)


Operation = Callable[[_Writer, Any], str]


def _same(kind: str) -> Operation:
    """All inputs as they are, no attributes."""
    return lambda writer, node: writer.emit(kind, writer.inputs_of(node))


def _convert(writer: _Writer, node: Any) -> str:
    source, target = node.input_value(0), node.get_attributes()["destination_type"]
    name = writer.name(source)
    if source.get_element_type().get_type_name() == target:
        return name
    if name in writer.values and target == "f32":
        return writer.array(writer.values[name].astype(np.float32))
    kinds = writer.onnx.TensorProto
    known = {"f32": kinds.FLOAT, "i64": kinds.INT64, "i32": kinds.INT32, "u8": kinds.UINT8}
    if target not in known:
        raise EngineError(
            f"expected a conversion to one of {', '.join(known)}, found {target} "
            f"({node.get_friendly_name()}). Type: headstart export RUN --to openvino"
        )
    return writer.emit("Cast", [name], to=known[target])


def _convolve(writer: _Writer, node: Any) -> str:
    kernel = writer.constant(node, 1)
    groups = 1
    weight = writer.input(node, 1)
    if node.get_type_name() == "GroupConvolution":  # (groups, out, in, h, w)
        groups = node.input_value(1).get_shape()[0]
        if kernel.ndim == 5:
            weight = writer.array(kernel.reshape(-1, *kernel.shape[2:]))
    sides = list(kernel.shape[-2:])
    options = _window(node, sides)
    return writer.emit(
        "Conv", [writer.input(node), weight], kernel_shape=sides, group=groups, **options
    )


def _add(writer: _Writer, node: Any) -> str:
    """What is added to each channel of a convolution is its bias: a runtime takes both as one, in
    8 bits too.
    """
    for place in (0, 1):
        source, other = node.input_value(place), node.input_value(1 - place)
        bias = writer.values.get(writer.name(other))
        if (
            source.get_node().get_type_name() in ("Convolution", "GroupConvolution")
            and len(source.get_target_inputs()) == 1
            and bias is not None
            and bias.shape == (1, source.get_shape()[1], 1, 1)
        ):
            return writer.add_bias(writer.name(source), bias.reshape(-1))
    return writer.emit("Add", writer.inputs_of(node))


def _quantise(writer: _Writer, node: Any) -> str:
    """Rounded to 256 levels between two ends, of all or of each channel, and back."""
    low, high, *ends = (writer.constant(node, place) for place in (1, 2, 3, 4))
    levels = node.get_attributes()["levels"]
    if levels != 256 or not all(map(np.array_equal, (low, high), ends)):
        raise EngineError(
            f"expected 256 levels between the same ends, found {levels} "
            f"({node.get_friendly_name()}). Type: headstart export RUN --to openvino"
        )
    shape = low.shape if low.size > 1 else ()
    scale = ((high - low) / (levels - 1)).astype(np.float32).reshape(-1 if shape else ())
    zero = np.clip(np.rint(-low.reshape(scale.shape) / scale), 0, 255).astype(np.uint8)
    axis = int(np.argmax(shape)) if shape else 1
    parts = [writer.array(scale), writer.array(zero)]
    small = writer.emit("QuantizeLinear", [writer.input(node), *parts], axis=axis)
    return writer.emit("DequantizeLinear", [small, *parts], axis=axis)


def _window(node: Any, sides: Sequence[int]) -> dict[str, Any]:
    """Strides, dilations and padding of a convolution or pooling, the padding in numbers."""
    about = node.get_attributes()
    strides, dilations = list(about["strides"]), list(about.get("dilations", [1, 1]))
    begin, end = list(about["pads_begin"]), list(about["pads_end"])
    if about["auto_pad"] in ("same_upper", "same_lower"):
        shapes = node.input_value(0).get_shape()[2:], node.output(0).get_shape()[2:]
        for axis, (length, out) in enumerate(zip(*shapes, strict=True)):
            reach = dilations[axis] * (sides[axis] - 1) + 1
            total = max(0, (out - 1) * strides[axis] + reach - length)
            small, large = total // 2, total - total // 2
            upper = about["auto_pad"] == "same_upper"
            begin[axis], end[axis] = (small, large) if upper else (large, small)
    elif about["auto_pad"] == "valid":
        begin, end = [0, 0], [0, 0]
    return {"strides": strides, "dilations": dilations, "pads": [*begin, *end]}


def _pool(writer: _Writer, node: Any) -> str:
    about = node.get_attributes()
    options = _window(node, about["kernel"])
    options["kernel_shape"] = list(about["kernel"])
    options["ceil_mode"] = int(about["rounding_type"] != "floor")
    if node.get_type_name() == "MaxPool":
        return writer.emit("MaxPool", [writer.input(node)], **options)
    if options.pop("dilations") != [1, 1]:
        raise EngineError("expected averages over whole windows, found dilated ones")
    options["count_include_pad"] = int(not about["exclude-pad"])
    return writer.emit("AveragePool", [writer.input(node)], **options)


def _normalise(writer: _Writer, node: Any) -> str:
    epsilon = node.get_attributes()["epsilon"]
    return writer.emit("BatchNormalization", writer.inputs_of(node), epsilon=epsilon)


def _reduce(kind: str) -> Operation:
    def write(writer: _Writer, node: Any) -> str:
        axes = writer.integers(writer.constant(node, 1))
        keep = int(node.get_attributes()["keep_dims"])
        return writer.emit(kind, [writer.input(node), axes], keepdims=keep)

    return write


def _reshape(writer: _Writer, node: Any) -> str:
    """Reshape, Squeeze and Unsqueeze: the shape is known."""
    shape = writer.integers(list(node.output(0).get_shape()))
    return writer.emit("Reshape", [writer.input(node), shape])


def _transpose(writer: _Writer, node: Any) -> str:
    order = writer.constant(node, 1).reshape(-1).tolist()
    name = writer.input(node)
    if name in writer.values:
        return writer.array(writer.values[name].transpose(order))
    return writer.emit("Transpose", [name], perm=order)


def _pad(writer: _Writer, node: Any) -> str:
    mode = node.get_attributes()["pad_mode"]
    if mode != "constant":
        raise EngineError(f"expected padding with a constant, found {mode}")
    pads = np.concatenate([writer.constant(node, 1), writer.constant(node, 2)])
    value = writer.number(float(writer.constant(node, 3)))
    return writer.emit("Pad", [writer.input(node), writer.integers(pads), value])


def _slice(writer: _Writer, node: Any) -> str:
    parts = [writer.integers(writer.constant(node, place)) for place in (1, 2, 4, 3)]
    return writer.emit("Slice", [writer.input(node), *parts])  # start, stop, axes, step


def _gather(writer: _Writer, node: Any) -> str:
    axis = int(writer.constant(node, 2).reshape(-1)[0])
    indices = writer.array(writer.constant(node, 1).astype(np.int64))
    return writer.emit("Gather", [writer.input(node), indices], axis=axis)


def _multiply_matrices(writer: _Writer, node: Any) -> str:
    about = node.get_attributes()
    names = []
    for place, flag in enumerate(("transpose_a", "transpose_b")):
        name = writer.input(node, place)
        if about[flag]:
            rank = len(node.input_value(place).get_shape())
            order = [*range(rank - 2), rank - 1, rank - 2]
            name = writer.emit("Transpose", [name], perm=order)
        names.append(name)
    return writer.emit("MatMul", names)


def _clamp(writer: _Writer, node: Any) -> str:
    about = node.get_attributes()
    ends = [writer.number(about["min"]), writer.number(about["max"])]
    return writer.emit("Clip", [writer.input(node), *ends])


def _swish(writer: _Writer, node: Any) -> str:
    x = scaled = writer.input(node)
    if node.get_input_size() > 1 and float(writer.constant(node, 1).reshape(-1)[0]) != 1:
        scaled = writer.emit("Mul", [x, writer.input(node, 1)])
    return writer.emit("Mul", [x, writer.emit("Sigmoid", [scaled])])


def _gelu(writer: _Writer, node: Any) -> str:
    """x / 2 (1 + erf(x / sqrt 2)); ONNX has it in one piece since later versions only."""
    mode = node.get_attributes().get("approximation_mode", "ERF")
    if str(mode).upper() != "ERF":
        raise EngineError(f"expected the exact GELU, found the approximation {mode}")
    x = writer.input(node)
    inner = writer.emit("Erf", [writer.emit("Mul", [x, writer.number(0.5**0.5)])])
    outer = writer.emit("Add", [inner, writer.number(1.0)])
    return writer.emit("Mul", [writer.emit("Mul", [x, writer.number(0.5)]), outer])


def _selu(writer: _Writer, node: Any) -> str:
    alpha, gamma = (float(writer.constant(node, place).reshape(-1)[0]) for place in (1, 2))
    return writer.emit("Selu", [writer.input(node)], alpha=alpha, gamma=gamma)


def _with(kind: str, **attributes: str | float) -> Operation:
    """The first input alone; a text among the attributes names one of the node's."""

    def write(writer: _Writer, node: Any) -> str:
        about = node.get_attributes()
        values: Any = {k: about[v] if isinstance(v, str) else v for k, v in attributes.items()}
        return writer.emit(kind, [writer.input(node)], **values)

    return write


def _concatenate(writer: _Writer, node: Any) -> str:
    return writer.emit("Concat", writer.inputs_of(node), axis=node.get_attributes()["axis"])


OPERATIONS: dict[str, Operation] = {
    "Convert": _convert,
    "Convolution": _convolve, "GroupConvolution": _convolve,
    "MaxPool": _pool, "AvgPool": _pool,
    "BatchNormInference": _normalise,
    "MatMul": _multiply_matrices,
    "FakeQuantize": _quantise,
    "Add": _add, "Subtract": _same("Sub"), "Multiply": _same("Mul"),
    "Divide": _same("Div"), "Power": _same("Pow"), "Maximum": _same("Max"), "Minimum": _same("Min"),
    "Sqrt": _same("Sqrt"), "Negative": _same("Neg"), "Exp": _same("Exp"), "Log": _same("Log"),
    "Erf": _same("Erf"), "Abs": _same("Abs"), "GreaterEqual": _same("GreaterOrEqual"),
    "Relu": _same("Relu"), "Sigmoid": _same("Sigmoid"), "Tanh": _same("Tanh"),
    "SoftPlus": _same("Softplus"), "PRelu": _same("PRelu"), "HSwish": _same("HardSwish"),
    "HSigmoid": _with("HardSigmoid", alpha=1 / 6, beta=0.5),
    "Elu": _with("Elu", alpha="alpha"),
    "Softmax": _with("Softmax", axis="axis"),
    "Clamp": _clamp, "Swish": _swish, "Gelu": _gelu, "Selu": _selu,
    "ReduceMean": _reduce("ReduceMean"), "ReduceMax": _reduce("ReduceMax"),
    "ReduceMin": _reduce("ReduceMin"), "ReduceSum": _reduce("ReduceSum"),
    "Reshape": _reshape, "Squeeze": _reshape, "Unsqueeze": _reshape,
    "Transpose": _transpose, "Concat": _concatenate, "Pad": _pad, "Slice": _slice,
    "Gather": _gather,
}  # fmt: skip
