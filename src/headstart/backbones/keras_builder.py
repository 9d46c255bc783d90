"""Builds a Keras application and hands it to OpenVINO; run in a child process.

Keras fixes its backend at import, and the user's process may hold another one, so the parent
starts `python -m headstart.backbones.keras_builder` with KERAS_BACKEND=openvino, writes one JSON
request to its standard input and reads one JSON answer from the last line of its output.

Channels first where the application can be built so: OpenVINO then needs none of the hundred or
so transpositions around each convolution and runs 2 to 5 times faster, with the same weights.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from headstart.backbones import efficientnet_lite
from headstart.backbones.catalogue import Backbone, backbone, check_size, cut_error
from headstart.backbones.checkpoint import read_checkpoint
from headstart.backbones.weights import Weights
from headstart.errors import (
    BackboneError,
    EngineError,
    HeadstartError,
    WeightsError,
    cannot_read,
)
from headstart.system.json import loads

_OTHERS = "Type: --weights with another file, or --weights default"


def build_request(task: str, entry: Backbone, weights: Weights, size: int) -> dict[str, Any]:
    """What `in_child` is asked: task is "layers" or "export"."""
    return {
        "task": task,
        "backbone": entry.name,
        "size": size,
        "weights": str(weights.path.absolute()) if weights.path else None,
        "kind": weights.kind,
    }


def in_child(request: dict[str, Any]) -> dict[str, Any]:
    """The answer of a child process to `request`; its HeadstartError is raised here."""
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "headstart.backbones.keras_builder"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "KERAS_BACKEND": "openvino", "PYTHONIOENCODING": "utf-8"},
    )
    lines = child.stdout.strip().splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        tail = "; ".join(child.stderr.strip().splitlines()[-5:])
        raise EngineError(f"the network could not be built: {tail}") from None
    errors = {"BackboneError": BackboneError, "WeightsError": WeightsError}
    if "error" in answer:
        raise errors.get(answer["error"], EngineError)(answer["message"])
    return answer


def keras_backbone(name: str, size: int, weights: str | None, kind: str = "file") -> Any:
    """The backbone as a Keras model on this process' backend, with its weights loaded.

    weights: path of the file, or None for random ones. Raises WeightsError if they do not fit.
    """
    import keras

    entry = backbone(name)
    check_size(entry, size)
    if not entry.application:
        number = efficientnet_lite.read_number(entry.name)
        if kind == "file" and weights is not None:
            model = efficientnet_lite.keras_model(number, size, None)
            load_weights(model, Path(weights))
            return model
        tensors = read_checkpoint(Path(weights)) if weights is not None else None
        return efficientnet_lite.keras_model(number, size, tensors)
    channels_first = keras.config.image_data_format() == "channels_first"
    model = getattr(keras.applications, entry.application)(
        include_top=False,
        weights=None,
        input_shape=(3, size, size) if channels_first else (size, size, 3),
    )
    if weights is not None:
        load_weights(model, Path(weights))
    return model


def load_weights(model: Any, path: Path) -> None:
    """Load a Keras 2 style HDF5, `.weights.h5` or `.keras` file into `model`.

    Raises WeightsError naming the first layer that does not fit and both shapes.
    """
    import h5py

    try:
        if path.suffix == ".keras":
            _transfer(model, path)
        elif path.name.endswith(".weights.h5"):
            model.load_weights(path)
        else:
            with h5py.File(path, "r") as file:
                group = file.get("model_weights", file)
                if "layer_names" not in group.attrs:
                    reason = "HDF5 without 'layer_names'"
                    raise WeightsError(cannot_read(path, reason, "weights by Keras", _OTHERS))
                _load_legacy(model, group, path)
    except WeightsError:
        raise
    except Exception as error:  # whatever a foreign file makes the loaders raise
        expected = f"whole weights that fit {model.name}"
        raise WeightsError(cannot_read(path, error, expected, _OTHERS)) from error


def _load_legacy(model: Any, group: Any, path: Path) -> None:
    """Layer by layer in order, as Keras does, but saying what does not fit."""

    def text(value: Any) -> str:
        return value.decode() if isinstance(value, bytes) else str(value)

    stored = []
    for name in map(text, group.attrs["layer_names"]):
        names = [text(weight) for weight in group[name].attrs["weight_names"]]
        if names:
            stored.append((name, [group[name][weight] for weight in names]))
    ours = [layer for layer in model.layers if layer.weights]
    for layer, (name, values) in zip(ours, stored, strict=False):
        expected = [tuple(weight.shape) for weight in layer.weights]
        shapes = [tuple(value.shape) for value in values]
        if expected != shapes:
            raise WeightsError(
                f"{path.name} does not fit {model.name}: layer {layer.name!r} expects "
                f"{expected}, found {shapes} (in the file: {name!r}). {_OTHERS}"
            )
    if len(ours) != len(stored):
        raise WeightsError(
            f"{path.name} does not fit {model.name}: expected {len(ours)} layers with weights, "
            f"found {len(stored)}. Are these weights with the top, or of another network? {_OTHERS}"
        )
    for layer, (_, values) in zip(ours, stored, strict=True):
        layer.set_weights([value[()] for value in values])


def _transfer(model: Any, path: Path) -> None:
    """From a whole saved model, layer by layer by name."""
    import keras

    _check_harmless(path)
    saved = keras.models.load_model(path, compile=False, safe_mode=True)
    layers = {layer.name: layer for layer in _flat(saved)}
    for layer in model.layers:
        if not layer.weights:
            continue
        source = layers.get(layer.name)
        if source is None:
            raise WeightsError(
                f"{path.name} does not fit {model.name}: expected a layer {layer.name!r}, "
                f"found none. {_OTHERS}"
            )
        expected = [tuple(weight.shape) for weight in layer.weights]
        shapes = [tuple(weight.shape) for weight in source.weights]
        if expected != shapes:
            raise WeightsError(
                f"{path.name} does not fit {model.name}: layer {layer.name!r} expects "
                f"{expected}, found {shapes}. {_OTHERS}"
            )
        layer.set_weights(source.get_weights())


# What a network's description may name; Keras would import and call anything.
_HARMLESS = re.compile(
    r"keras\.((src\.)?(layers|models|ops|initializers|regularizers|constraints|activations|"
    r"dtype_policies)\.|(DTypePolicy|Model|Sequential)$)"
)

_DATA = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__"}  # its marks


def _check_harmless(path: Path) -> None:
    """Raises WeightsError for a saved model that describes more than Keras' own layers."""
    with zipfile.ZipFile(path) as archive:
        parts = [loads(archive.read("config.json"))]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            module, name = part.get("module"), part.get("class_name")
            known = name in _DATA or _HARMLESS.match(f"{module}.{name}")
            if name is not None and (not known or name == "Lambda"):
                raise WeightsError(
                    f"expected layers of Keras' own in {path}, found {name!r} of {module!r}, which "
                    f"may be any program. {_OTHERS}"
                )
            parts += part.values()
        elif isinstance(part, list):
            parts += part


def _flat(model: Any) -> list[Any]:
    layers = []
    for layer in model.layers:
        layers += _flat(layer) if hasattr(layer, "layers") else [layer]
    return layers


def _layer_table(model: Any, channels_first: bool) -> list[dict[str, Any]]:
    table = []
    for layer in model.layers:
        shape = list(layer.output.shape[1:])
        if channels_first and len(shape) == 3:
            shape = [shape[1], shape[2], shape[0]]
        table.append({"name": layer.name, "kind": type(layer).__name__, "shape": shape,
                      "parameters": layer.count_params()})  # fmt: skip
    return table


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    import keras

    entry = backbone(request["backbone"])
    if request["task"] == "address":
        return _address(entry)
    channels_first = entry.channels_first
    keras.config.set_image_data_format("channels_first" if channels_first else "channels_last")
    keras.utils.set_random_seed(0)
    model = keras_backbone(entry.name, request["size"], request["weights"], request["kind"])
    if request["task"] == "layers":
        return {"layers": _layer_table(model, channels_first)}
    names = [layer.name for layer in model.layers]
    cuts = [names[-1] if cut == "last" else cut for cut in request["cuts"]]
    for cut in cuts:
        if cut not in names:
            raise cut_error(entry, cut, names)
    outputs = [model.get_layer(cut).output for cut in cuts]
    model.trainable = False
    keras.Model(model.input, outputs).export(request["target"], format="openvino", verbose=False)
    return {"cuts": cuts, "channels_first": channels_first}


class _Question(Exception):
    """Keras wants to fetch a file: where from, and its checksum."""


def _address(entry: Backbone) -> dict[str, Any]:
    """Where Keras would fetch the weights without the top; nothing is fetched."""
    import keras
    from keras.src.utils import file_utils

    def raise_question(*names: Any, **options: Any) -> None:
        url = options.get("origin") or names[1]
        raise _Question(url, options.get("file_hash") or options.get("md5_hash"))

    file_utils.get_file = raise_question
    try:
        getattr(keras.applications, entry.application)(include_top=False, weights="imagenet")
    except _Question as question:
        url, md5 = question.args
        return {"url": url, "md5": md5}
    raise WeightsError(f"Keras names no address for the weights of {entry.name}")


class _WithoutTensorFlow:
    """Keras would spend four seconds on importing TensorFlow, if it is there, for nothing."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "tensorflow":
            raise ImportError("not needed to build a network")


def main() -> None:
    """One request in, one answer out; whatever Keras prints goes before the answer."""
    sys.meta_path.insert(0, _WithoutTensorFlow())
    request = json.load(sys.stdin)
    try:
        answer = _answer(request)
    except HeadstartError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print("\n" + json.dumps(answer))


if __name__ == "__main__":
    main()
