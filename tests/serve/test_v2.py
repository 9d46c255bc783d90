"""The open inference protocol, byte by byte."""

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest
from serve.conftest import ask

from headstart.images.decode import decode
from headstart.serve.guard import Guard
from headstart.serve.v2 import LENGTH

INFER = "/v2/models/colours/infer"


def binary(*elements: bytes, **more: Any) -> tuple[bytes, dict[str, str]]:
    """As tritonclient sends it: JSON, then each element behind its length."""
    tail = b"".join(struct.pack("<I", len(one)) + one for one in elements)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(elements)],
              "parameters": {"binary_data_size": len(tail)}}  # fmt: skip
    head = json.dumps({"id": "7", "inputs": [tensor], **more}).encode()
    return head + tail, {LENGTH: str(len(head)), "content-type": "application/octet-stream"}


def test_binary_in_and_out(app: Guard, red: bytes, blue: bytes) -> None:
    body, headers = binary(red, b"no", blue, parameters={"binary_data_output": True})
    got = ask(app, "POST", INFER, body, headers)
    assert got.status == 200, got.body
    length = int(got.headers[LENGTH])
    told, tail = json.loads(got.body[:length]), got.body[length:]
    assert (told["id"], told["model_name"]) == ("7", "colours")
    sizes = [output["parameters"]["binary_data_size"] for output in told["outputs"]]
    assert sum(sizes) == len(tail)
    rows = np.frombuffer(tail[: sizes[0]], "<f4").reshape(told["outputs"][0]["shape"])
    assert rows[1].tolist() == [0, 0]  # the broken one, which has its error
    assert rows.argmax(axis=1).tolist() == [1, 0, 0]
    assert tail[sizes[0] :].startswith(struct.pack("<I", 3) + b"red" + struct.pack("<I", 0))
    assert b"not an image" in tail


def test_json_and_pixels(app: Guard, red: bytes) -> None:
    data = [base64.b64encode(red).decode()]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": data}
    asked = {"inputs": [tensor], "outputs": [{"name": "label"}]}
    got = ask(app, "POST", INFER, json.dumps(asked).encode())
    assert got.json["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["red"]}
    ]
    pixels = decode(red)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *pixels.shape],
              "data": pixels.reshape(-1).tolist()}  # fmt: skip
    got = ask(app, "POST", INFER, json.dumps({"inputs": [tensor]}).encode())
    assert got.json["outputs"][1]["data"] == ["red"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"inputs": []}, 400, "one input"),
        ({"outputs": [{"name": "x"}]}, 400, "outputs of probabilities"),
        ({"outputs": 3}, 400, "outputs of"),
        ({"parameters": {"accuracy": "x"}}, 400, "accuracy as a number"),
        ({"parameters": {"accuracy": 5}}, 422, "accuracy from 0.5"),
    ],
)
def test_what_does_not_fit_is_told(
    app: Guard, red: bytes, change: dict[str, Any], status: int, words: str
) -> None:
    body, headers = binary(red, **change)
    got = ask(app, "POST", INFER, body, headers)
    assert got.status == status
    assert words in got.json["error"]


def test_damaged_tensors_are_told(app: Guard, red: bytes) -> None:
    body, headers = binary(red)
    assert ask(app, "POST", INFER, body[:-1], headers).status == 400
    assert ask(app, "POST", INFER, body, {LENGTH: "-1"}).status == 400
    assert ask(app, "POST", INFER, body, {LENGTH: "9" * 30}).status == 400
    body, headers = binary(b"no")
    got = ask(app, "POST", INFER, body, headers)
    assert (got.status, got.json["error"][:8]) == (400, "image 1:")
    assert ask(app, "POST", "/v2/models/x/infer", body, headers).status == 404
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8192, 8192, 3], "data": [1]}
    assert ask(app, "POST", INFER, json.dumps({"inputs": [tensor]}).encode()).status == 400


def test_metadata(app: Guard) -> None:
    told = ask(app, "GET", "/v2/models/colours").json
    assert told["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    version = told["versions"][0]
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/colours/ready",
                 f"/v2/models/colours/versions/{version}"):  # fmt: skip
        assert ask(app, "GET", path).status == 200, path
    assert ask(app, "GET", "/v2/models/colours/versions/1").status == 404
