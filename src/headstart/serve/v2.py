"""The open inference protocol (v2) over REST, with its binary tensors: for clients that speak it
already, such as tritonclient.

https://github.com/open-inference-protocol/open-inference-protocol, and for tensors behind the JSON
https://docs.nvidia.com/deeplearning/triton-inference-server, "Binary Tensor Data Extension".

Input `image`: BYTES (N,), each element an encoded image (in JSON: base64), or UINT8 (N, H, W, 3).
Outputs: `probabilities` FP32 (N, C), `label` BYTES (N,), `answer` BYTES (N,), `error` BYTES (N,).
"""

import math
import struct
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response

from headstart import __version__
from headstart.serve import documents
from headstart.serve.bodies import Refused, from_base64, read_object
from headstart.serve.guard import to_json
from headstart.serve.models import Answer, Options, Served
from headstart.serve.service import Service

LENGTH = "inference-header-content-length"
OUTPUTS = ("probabilities", "label", "answer", "error")
SIDE = 8192  # pixels of an array


def add_routes(app: FastAPI, service: Service) -> None:
    """GET /v2..., POST /v2/models/NAME/infer."""
    told: dict[str, Any] = {"tags": ["v2"], **documents.OK}
    known: dict[str, Any] = {
        "tags": ["v2"],
        "responses": documents.answers({"type": "object"}, 401, 404),
    }

    @app.get("/v2", **told)
    async def server() -> Response:
        """Who is there."""
        extensions = ["binary_tensor_data"]
        return _json({"name": "headstart", "version": __version__, "extensions": extensions})

    @app.get("/v2/health/live", **told)
    async def live() -> Response:
        """Whether the process is alive."""
        return _json({"live": True})

    @app.get("/v2/health/ready", tags=["v2"], **documents.READY)
    async def ready() -> Response:
        """Whether it takes requests."""
        return _json({"ready": service.ready}, 200 if service.ready else 503)

    @app.get("/v2/models/{name}/ready", **known)
    @app.get("/v2/models/{name}/versions/{version}/ready", **known)
    async def model_ready(name: str, version: str | None = None) -> Response:
        """Whether a model can be asked."""
        return _json({"name": service.find(name, version).name, "ready": True})

    @app.get("/v2/models/{name}", **known)
    @app.get("/v2/models/{name}/versions/{version}", **known)
    async def model(name: str, version: str | None = None) -> Response:
        """Its inputs and outputs."""
        return _json(describe_tensors(service.find(name, version)))

    @app.post("/v2/models/{name}/infer", tags=["v2"], **documents.INFER)
    @app.post("/v2/models/{name}/versions/{version}/infer", tags=["v2"], **documents.INFER)
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Ask a model. Parameters: `accuracy`, `reject` as in /v1/predict."""
        served = service.find(name, version)
        asked, rest = split_body(request.headers.get(LENGTH), request.state.body)
        sources = read_input(asked, rest, service.limits.images)
        wanted, options = read_outputs(asked), read_options(asked)
        images = [(f"image {number}", source) for number, source in enumerate(sources, 1)]
        answers = await service.answer(served, images, options)
        failed = [answer.prediction for answer in answers if answer.prediction.error is not None]
        request.state.notes.update(model=name, images=len(images), failed=len(failed))
        if failed and (len(failed) == len(answers) or "error" not in wanted):
            raise Refused(400, f"{failed[0].name}: {failed[0].error}")
        return _answer(served, asked.get("id"), answers, wanted)


def describe_tensors(served: Served) -> dict[str, Any]:
    """A model's metadata."""
    outputs = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in OUTPUTS]
    outputs[0] = {"name": "probabilities", "datatype": "FP32",
                  "shape": [-1, len(served.classifier.classes)]}  # fmt: skip
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": "headstart_openvino",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
        "parameters": {"classes": list(served.classifier.classes)},
    }


def split_body(length: str | None, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON object at the body's beginning, and the tensors behind it. Raises Refused."""
    if length is None:
        return read_object(body), b""
    if not length.isascii() or not length.isdigit() or int(length) > len(body):
        raise Refused(400, f"expected {LENGTH} to be the length of the JSON, found another")
    return read_object(body[: int(length)]), body[int(length) :]


def read_input(asked: dict[str, Any], rest: bytes, most: int) -> list[Any]:
    """The images: bytes, or (H, W, 3) uint8. Raises Refused for whatever else there is."""
    match asked.get("inputs"):
        case [{"name": "image", "datatype": str(kind), "shape": list(shape)} as tensor]:
            pass
        case _:
            raise Refused(
                400, "expected one input, image, with its datatype and shape, found another"
            )
    if not shape or not all(type(side) is int and 0 < side <= SIDE for side in shape):
        raise Refused(400, f"expected a shape of numbers from 1 to {SIDE}, found another")
    if shape[0] > most:
        raise Refused(413, f"expected at most {most} images a request, found {shape[0]}")
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or size != len(rest)):
        raise Refused(400, "expected binary_data_size to be the bytes behind the JSON, found other")
    data = tensor.get("data")
    if kind == "BYTES" and math.prod(shape) == shape[0]:
        images: list[Any] = split_elements(rest) if size is not None else _from_text(data)
    elif kind == "UINT8" and len(shape) == 4 and shape[3] == 3:
        images = _split_pixels(rest if size is not None else data, shape)
    else:
        raise Refused(400, "expected BYTES of shape (N) or (N, 1), each an image file, or UINT8 of "
                      f"shape (N, H, W, 3), found {kind[:20]!r} of {len(shape)} axes")  # fmt: skip
    if len(images) != shape[0]:
        raise Refused(400, f"expected {shape[0]} images, found {len(images)}")
    return images


def split_elements(data: bytes) -> list[bytes]:
    """The elements of a BYTES tensor: each behind its length, 4 bytes, the least first."""
    elements, position = [], 0
    while position < len(data):
        if position + 4 > len(data):
            raise Refused(400, "expected a length of 4 bytes before each image, found fewer")
        (length,) = struct.unpack_from("<I", data, position)
        position += 4
        if position + length > len(data):
            raise Refused(400, "expected whole images, found the last cut short")
        elements.append(data[position : position + length])
        position += length
    return elements


def _from_text(data: Any) -> list[bytes]:
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data):
        raise Refused(400, "expected data as a list of base64, found other")
    return [from_base64(text, number) for number, text in enumerate(data, 1)]


def _split_pixels(data: Any, shape: list[int]) -> list[np.ndarray]:
    if not isinstance(data, bytes):
        try:
            numbers = np.array(data, float).reshape(-1)
            if not ((numbers >= 0) & (numbers <= 255) & (numbers % 1 == 0)).all():
                raise ValueError
            data = numbers.astype(np.uint8).tobytes()
        except (ValueError, TypeError, OverflowError, MemoryError):
            raise Refused(400, "expected data of numbers from 0 to 255, found other") from None
    if len(data) != math.prod(shape):
        raise Refused(400, f"expected {math.prod(shape):,} numbers, found {len(data):,}")
    return list(np.frombuffer(data, np.uint8).reshape(shape))


def read_outputs(asked: dict[str, Any]) -> dict[str, bool]:
    """The outputs that are asked for, and whether each is to be binary. Raises Refused."""
    own = asked.get("parameters")
    own = own if isinstance(own, dict) else {}
    binary = own.get("binary_data_output") is True
    outputs = asked.get("outputs")
    if not outputs:
        return dict.fromkeys(OUTPUTS, binary)
    wanted = {}
    for output in outputs if isinstance(outputs, list) else [None]:
        name = output.get("name") if isinstance(output, dict) else None
        if name not in OUTPUTS:
            raise Refused(400, f"expected outputs of {', '.join(OUTPUTS)}, found another")
        more = output.get("parameters") if isinstance(output, dict) else None
        more = more if isinstance(more, dict) else {}
        if more.get("classification"):
            raise Refused(400, "expected outputs as they are, found the classification extension")
        wanted[name] = more.get("binary_data", binary) is True
    return wanted


def read_options(asked: dict[str, Any]) -> Options:
    """`accuracy` and `reject` among the parameters. Raises Refused for what are no numbers."""
    own = asked.get("parameters")
    own = own if isinstance(own, dict) else {}
    values: dict[str, Any] = {}
    for name in ("accuracy", "reject"):
        value = own.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise Refused(400, f"expected {name} as a number, found other")
        values[name] = value
    return Options(1, **values)


def _answer(served: Served, identity: Any, answers: list[Answer], wanted: dict[str, bool]) -> Any:
    classes = served.classifier.classes
    texts: dict[str, list[str]] = {"label": [], "answer": [], "error": []}
    rows = np.zeros((len(answers), len(classes)), "<f4")
    for number, answer in enumerate(answers):
        said = answer.prediction
        texts["label"].append(said.label or "")
        texts["answer"].append("" if said.error else said.silence or "answered")
        texts["error"].append(said.error or "")
        if said.error is None:
            rows[number] = [said.probabilities[name] for name in classes]
    outputs, tail = [], []
    for name, binary in wanted.items():
        numbers = name == "probabilities"
        output: dict[str, Any] = {
            "name": name,
            "datatype": "FP32" if numbers else "BYTES",
            "shape": list(rows.shape) if numbers else [len(answers)],
        }
        if binary:
            raw = rows.tobytes() if numbers else join_elements(texts[name])
            output["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        else:
            output["data"] = rows.reshape(-1).tolist() if numbers else texts[name]
        outputs.append(output)
    told = {"model_name": served.name, "model_version": served.version, "outputs": outputs}
    if isinstance(identity, str):
        told["id"] = identity[:200]
    head = to_json(told)
    if not tail:
        return Response(head, media_type="application/json")
    return Response(b"".join([head, *tail]), headers={
        "content-type": "application/octet-stream", LENGTH: str(len(head)),
    })  # fmt: skip


def join_elements(texts: list[str]) -> bytes:
    """A BYTES tensor of texts."""
    encoded = [text.encode() for text in texts]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


def _json(content: Any, status: int = 200) -> Response:
    return Response(to_json(content), status, media_type="application/json")
