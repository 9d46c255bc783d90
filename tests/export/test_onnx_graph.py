"""ONNX against OpenVINO, operation by operation, on graphs of a few nodes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as op

from headstart.errors import EngineError
from headstart.export.onnx_graph import to_onnx
from headstart.features.engine import OpenVinoEngine

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(0)


def constant(*shape: int) -> Any:
    return op.constant(RNG.normal(0, 0.5, shape).astype(np.float32))


def numbers(*values: int) -> Any:
    return op.constant(np.array(values))


def number(value: float) -> Any:
    return op.constant(np.float32(value))


def graph(build: Callable[[Any], Any]) -> Any:
    """A model from a uint8 image (1, 9, 7, 3) to what `build` makes of its f32 values around 0."""
    image = op.parameter([1, 9, 7, 3], np.uint8, name="image")
    image.output(0).tensor.set_names({"image"})
    x = op.subtract(op.divide(op.convert(image, "f32"), number(64.0)), number(2.0))
    result = build(op.transpose(x, numbers(0, 3, 1, 2)))
    result.output(0).tensor.set_names({"probabilities"})
    return openvino.Model([result.output(0)], [image], "test")


def small(*shape: int) -> Any:
    """Weights kept in 8 bits, one scale for each of the first axes but the last three."""
    integers = op.constant(RNG.integers(-127, 128, shape, dtype=np.int8))
    scales = RNG.uniform(0.001, 0.01, (*shape[:-3], 1, 1, 1)).astype(np.float32)
    return op.multiply(op.convert(integers, "f32"), op.constant(scales))


def rounded(x: Any, *shape: int) -> Any:
    """To 256 levels, 0 among them, of the whole or of each channel."""
    scale = RNG.uniform(0.01, 0.02, shape).astype(np.float32)
    ends = [op.constant(np.float32(level) * scale) for level in (-100, 155)]
    return op.fake_quantize(x, *ends, *ends, 256)


BUILT: dict[str, Callable[[Any], Any]] = {
    "convolution": lambda x: op.convolution(
        x, constant(4, 3, 3, 2), [2, 1], [1, 0], [2, 1], [1, 2]
    ),
    "same_upper": lambda x: op.convolution(
        x, constant(4, 3, 3, 4), [2, 2], [0, 0], [0, 0], [1, 1], "same_upper"
    ),
    "same_lower": lambda x: op.convolution(
        x, constant(4, 3, 2, 2), [2, 2], [0, 0], [0, 0], [1, 1], "same_lower"
    ),
    "groups": lambda x: op.group_convolution(
        x, constant(3, 2, 1, 3, 3), [1, 1], [0, 0], [0, 0], [1, 1], "same_upper"
    ),
    "max pool": lambda x: op.max_pool(
        x, [2, 2], [1, 1], [0, 0], [1, 0], [3, 2], "ceil", "explicit", "i64"
    ).output(0).get_node(),
    "avg pool": lambda x: op.avg_pool(x, [2, 2], [1, 1], [0, 0], [3, 3], True),
    "avg pool with its border": lambda x: op.avg_pool(x, [2, 2], [1, 1], [0, 0], [3, 3], False),
    "normalise": lambda x: op.batch_norm_inference(
        x, constant(3), constant(3), constant(3), op.constant(np.ones(3, np.float32)), 1e-3
    ),
    "reduce": lambda x: op.concat(
        [reduce(x, numbers(2, 3), False)
         for reduce in (op.reduce_mean, op.reduce_max, op.reduce_min, op.reduce_sum)], 1
    ),
    "keep": lambda x: op.multiply(x, op.reduce_mean(x, numbers(2, 3), True)),
    "pad and slice": lambda x: op.slice(
        op.pad(x, numbers(0, 0, 1, 2), numbers(0, 0, 0, 1), "constant", number(0.5)),
        numbers(1, 0), numbers(9, 5), numbers(2, 1), numbers(2, 3),
    ),
    "gather": lambda x: op.gather(x, numbers(2, 1, 0), op.constant(1)),
    "reshape": lambda x: op.squeeze(
        op.unsqueeze(op.reshape(x, numbers(1, -1), False), numbers(1)), numbers(1)
    ),
    "8 bits": lambda x: op.add(
        op.convolution(rounded(x), small(4, 3, 3, 2), [1, 1], [0, 0], [0, 0], [1, 1]),
        constant(1, 4, 1, 1),
    ),
    "8 bits in groups": lambda x: op.group_convolution(
        rounded(x, 1, 3, 1, 1), small(3, 2, 1, 3, 3), [1, 1], [0, 0], [0, 0], [1, 1]
    ),
    "no bias": lambda x: (lambda y: op.concat([op.add(y, constant(1, 4, 1, 1)), y], 1))(
        op.convolution(x, constant(4, 3, 3, 2), [1, 1], [0, 0], [0, 0], [1, 1])
    ),
    "matrices": lambda x: op.matmul(
        op.reshape(x, numbers(1, -1), False), constant(5, 189), False, True
    ),
    "clamp": lambda x: op.clamp(x, -0.5, 1.0),
    "swish": lambda x: op.add(op.swish(x), op.swish(x, number(2.0))),
    "hswish": lambda x: op.add(op.hswish(x), op.hsigmoid(x)),
    "gelu": lambda x: op.gelu(x, "erf"),
    "selu": lambda x: op.selu(x, number(1.67), number(1.05)),
    "elu": lambda x: op.elu(x, 1.0),
    "leaky": lambda x: op.prelu(x, op.constant(np.array([0.2], np.float32))),
    "softplus": lambda x: op.softplus(op.tanh(op.sigmoid(op.relu(x)))),
    "softmax": lambda x: op.softmax(x, 1),
    "arithmetic": lambda x: op.maximum(
        op.minimum(op.power(op.sqrt(op.abs(x)), number(2.0)), number(1.0)),
        op.negative(op.log(op.exp(op.divide(x, number(3.0))))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUILT)
def test_each_operation_gives_the_same(name: str) -> None:
    model = graph(BUILT[name])
    image = RNG.integers(0, 256, (1, 9, 7, 3), dtype=np.uint8)
    (expected,) = OpenVinoEngine(model.clone(), "f32").run([image[0]])
    session = onnxruntime.InferenceSession(
        to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["probabilities"], {"image": image})
    assert found[0].shape == expected.shape
    assert np.abs(found[0] - expected).max() < 1e-5


def test_weights_of_8_bits_stay_so() -> None:
    model = to_onnx(graph(BUILT["8 bits in groups"]))
    assert [a.data_type for a in model.graph.initializer if len(a.dims) == 4] == [3]  # int8


def test_other_levels_are_refused() -> None:
    ends = [number(-1.0), number(1.0)]
    with pytest.raises(EngineError, match=r"expected 256 levels .* found 16 .*--to openvino"):
        to_onnx(graph(lambda x: op.fake_quantize(x, *ends, *ends, 16)))


def test_half_is_half_as_large_and_near() -> None:
    model = graph(lambda x: op.matmul(op.reshape(x, numbers(1, -1), False), constant(189, 512),
                                      False, False))  # fmt: skip
    image = RNG.integers(0, 256, (1, 9, 7, 3), dtype=np.uint8)
    full = to_onnx(model.clone()).SerializeToString()
    half = to_onnx(model.clone(), half=True).SerializeToString()
    assert 0.5 < len(half) / len(full) < 0.52
    session = onnxruntime.InferenceSession(half, providers=["CPUExecutionProvider"])
    (expected,) = OpenVinoEngine(model, "f32").run([image[0]])
    (found,) = session.run(["probabilities"], {"image": image})
    assert 0 < np.abs(found[0] - expected).max() < 1e-2


def test_numbers_that_half_cannot_hold_stay_whole() -> None:
    large = op.constant(np.full((189, 64), 1e6, np.float32))
    model = graph(lambda x: op.matmul(op.reshape(x, numbers(1, -1), False), large, False, False))
    (array,) = [a for a in to_onnx(model, half=True).graph.initializer if len(a.dims) == 2]
    assert array.data_type == 1  # f32


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(EngineError, match=r"operations that ONNX has, found Sin .*--to openvino"):
        to_onnx(graph(op.sin))
