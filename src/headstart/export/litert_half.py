"""A LiteRT model's large arrays stored in half the bits; what is computed stays f32.

TensorFlow's own converter halves every array. The small ones (the first kernels of depthwise
convolutions, biases) are what costs exactness, probabilities of digits off by 0.017 in place of
0.004, and weigh next to nothing.
"""

from typing import Any

import numpy as np

from headstart.export.onnx_graph import can_be_halved


def halve(content: bytes) -> bytes:
    """The model with every large float array as f16 behind a DEQUANTIZE, as the converter writes
    them: runtimes unpack it once, when they load the model.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 3  # the first that takes f16
    number = len(model.operatorCodes)
    model.operatorCodes.append(code)
    before = _list_buffers(model)
    for graph in model.subgraphs:
        unpacked = [
            _unpack(schema, model, graph, place, number)
            for place in range(len(graph.tensors))
            if _is_large(schema, model, graph.tensors[place])
        ]
        graph.operators = [*unpacked, *graph.operators]
    for place in before - _list_buffers(model):
        model.buffers[place].data = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _list_buffers(model: Any) -> set[int]:
    """Where the tensors' numbers lie; the others hold what is told of the model."""
    return {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}


def _is_large(schema: Any, model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return (
        tensor.type == schema.TensorType.FLOAT32
        and data is not None
        and can_be_halved(np.asarray(data).view(np.float32))
    )


def _unpack(schema: Any, model: Any, graph: Any, place: int, number: int) -> Any:
    """The operator that gives the tensor at `place`, which from here on is stored in f16."""
    tensor = graph.tensors[place]
    values = np.asarray(model.buffers[tensor.buffer].data).view(np.float32)
    half, buffer = schema.TensorT(), schema.BufferT()
    buffer.data = values.astype(np.float16).view(np.uint8)
    half.type, half.shape = schema.TensorType.FLOAT16, tensor.shape
    half.name, half.buffer = tensor.name + b"_half", len(model.buffers)
    model.buffers.append(buffer)
    tensor.buffer = 0  # which is the empty one
    operator = schema.OperatorT()
    operator.opcodeIndex = number
    operator.inputs, operator.outputs = [len(graph.tensors)], [place]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    graph.tensors.append(half)
    return operator
