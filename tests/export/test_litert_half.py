"""Large arrays of a LiteRT model in half the bits: same answers, metadata kept."""

import numpy as np
import pytest

flatbuffers = pytest.importorskip("flatbuffers")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
interpreter = pytest.importorskip("ai_edge_litert.interpreter")

from headstart.export.litert_half import halve  # noqa: E402

INPUTS, OUTPUTS = 64, 32


def product(weight: np.ndarray, bias: np.ndarray) -> bytes:
    """A model of one fully connected layer, with a note."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version = 3
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    model.operatorCodes = [code]
    model.buffers = [schema.BufferT() for _ in range(4)]
    for place, data in ((1, weight), (2, bias), (3, np.frombuffer(b"a note", np.uint8))):
        model.buffers[place].data = data.reshape(-1).view(np.uint8)
    graph.tensors = []
    for name, shape, buffer in (
        (b"x", [1, INPUTS], 0), (b"w", weight.shape, 1), (b"b", bias.shape, 2),
        (b"y", [1, OUTPUTS], 0),
    ):  # fmt: skip
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = schema.TensorType.FLOAT32
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [3]
    note = schema.MetadataT()
    note.name, note.buffer = b"note", 3
    model.subgraphs, model.metadata = [graph], [note]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    model = interpreter.Interpreter(model_content=content)
    model.allocate_tensors()
    model.set_tensor(model.get_input_details()[0]["index"], x)
    model.invoke()
    found: np.ndarray = model.get_tensor(model.get_output_details()[0]["index"])
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_large_arrays_are_halved_and_small_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(OUTPUTS, INPUTS)).astype(np.float32)
    bias = np.full(OUTPUTS, 1e-6, np.float32)  # of which f16 would keep two digits
    content = product(weight, bias)
    halved = halve(content)
    x = rng.normal(size=(1, INPUTS)).astype(np.float32)
    expected = x @ weight.astype(np.float16).astype(np.float32).T + bias
    np.testing.assert_allclose(run(content, x), x @ weight.T + bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(halved, x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(halved, 0 * x)[0], bias, rtol=1e-6)
    assert len(halved) < len(content) - weight.nbytes / 2 + 512
    model = schema.ModelT.InitFromPackedBuf(halved, 0)
    assert bytes(model.buffers[model.metadata[0].buffer].data) == b"a note"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_f16_cannot_hold_stays() -> None:
    weight = np.full((OUTPUTS, INPUTS), 1e6, np.float32)
    content = product(weight, np.zeros(OUTPUTS, np.float32))
    x = np.ones((1, INPUTS), np.float32)
    np.testing.assert_allclose(run(halve(content), x), x @ weight.T)
