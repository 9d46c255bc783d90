"""The extractor's graph: from the uint8 image to the pooled features of its cuts.

Normalisation, network and pooling all lie inside the OpenVINO model.
"""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from headstart.backbones import efficientnet_lite
from headstart.backbones.catalogue import Backbone, Normalisation, cut_error
from headstart.backbones.checkpoint import read_checkpoint
from headstart.backbones.cut import LAST, Cut
from headstart.backbones.keras_builder import build_request, in_child
from headstart.backbones.weights import Weights
from headstart.errors import BackboneError, WeightsError
from headstart.features import engine as openvino_engine
from headstart.images.geometry import Geometry
from headstart.recipe import Recipe
from headstart.system.digest import digest, digest_file, is_sealed, seal
from headstart.system.json import loads

RECORD, PARTS = "extractor.json", ("model.xml", "model.bin")


def build(
    folder: Path,
    entry: Backbone,
    weights: Weights,
    geometry: Geometry,
    normalisation: Normalisation,
    recipe: Recipe,
) -> None:
    """Write the extractor's model and what must be known of it into `folder`.

    Raises WeightsError for weights that are no numbers, or that changed while they were read.
    """
    layers = list(dict.fromkeys(cut.layer for cut in recipe.cuts))
    with TemporaryDirectory() as scratch:
        if not entry.application and weights.kind == "package":
            parameter, outputs = _lite_network(entry, weights, geometry, layers)
            channels_first = True
        else:
            target = Path(scratch) / "network.xml"
            request = build_request("export", entry, weights, geometry.height)
            answer = in_child({**request, "cuts": layers, "target": str(target)})
            channels_first = answer["channels_first"]
            parameter, outputs = _read_exported(target, answer["cuts"], geometry, channels_first)
        image, pixels = _input(geometry, normalisation, channels_first)
        parameter.output(0).replace(pixels.output(0))
        # "last" has become the name of the layer that it is.
        maps = dict(zip(layers, outputs, strict=True))
        taps = {
            replace(cut, layer=maps[cut.layer][0]): (
                maps[cut.layer][1],
                cut.pooling or recipe.pooling,
            )
            for cut in recipe.cuts
            for name, output in [maps[cut.layer]]
        }
        model, slices = _pool_and_join(image, taps, channels_first)
    _check_numbers(model, entry, weights)
    weights.check_unchanged()
    openvino_engine.save_model(model, folder / "model.xml")
    write_record(folder, slices)


def write_record(folder: Path, slices: dict[str, Any]) -> None:
    """What must be known of the model in `folder`: where each cut's numbers stand, its digests."""
    parts = {part: digest_file(folder / part) for part in PARTS}
    text = json.dumps(seal({"slices": slices, "parts": parts}), indent=1)
    (folder / RECORD).write_text(text, encoding="utf-8")


def read(folder: Path) -> tuple[dict[str, tuple[int, int]], Any]:
    """What `build` wrote: where each cut's numbers stand in the features, and OpenVINO's model.

    Every file is read once, and is the one that was written. Raises OSError, ValueError or
    RuntimeError if not.
    """
    record = loads((folder / RECORD).read_bytes())
    if not is_sealed(record):
        raise ValueError(f"a damaged {RECORD}")
    parts = [(folder / part).read_bytes() for part in PARTS]
    for part, content in zip(PARTS, parts, strict=True):
        if digest(content) != record["parts"][part]:
            raise ValueError(f"a damaged {part}")
    return record["slices"], openvino_engine.core().read_model(*parts)


def _check_numbers(model: Any, entry: Backbone, weights: Weights) -> None:
    """A nan among the weights would not show: maximum and ReLU make numbers of it."""
    for name, node in openvino_engine.list_constants(model):
        values = node.data
        if values.dtype.kind == "f" and (np.isnan(values).any() or (
            values.size > 1 and np.isinf(values).any())):  # fmt: skip
            raise WeightsError(
                f"expected finite weights of {entry.name} in {weights.path}, found nan or infinity "
                f"in {name}. Give another file: --weights FILE, or leave it out"
            )


def _lite_network(
    entry: Backbone, weights: Weights, geometry: Geometry, layers: list[str]
) -> tuple[Any, list[tuple[str, Any]]]:
    """The network's parameter, and name and map of each of the layers."""
    from openvino import opset13 as op

    assert weights.path is not None
    number = efficientnet_lite.read_number(entry.name)
    ops = efficientnet_lite.OpenVinoOps(number, read_checkpoint(weights.path))
    parameter = op.parameter([1, 3, geometry.height, geometry.width], np.float32)
    cuts = efficientnet_lite.network(number, parameter, ops)
    maps = []
    for layer in layers:
        name = "top_relu" if layer == LAST else layer
        if name not in cuts:
            raise cut_error(entry, layer, list(cuts))
        maps.append((name, cuts[name].output(0)))
    return parameter, maps


def _read_exported(
    path: Path, cuts: list[str], geometry: Geometry, channels_first: bool
) -> tuple[Any, list[tuple[str, Any]]]:
    height, width = geometry.height, geometry.width
    model = openvino_engine.core().read_model(str(path))
    model.reshape([1, 3, height, width] if channels_first else [1, height, width, 3])
    results = [result.input_value(0) for result in model.get_results()]
    return model.get_parameters()[0], list(zip(cuts, results, strict=True))


def _input(geometry: Geometry, normalisation: Normalisation, channels_first: bool) -> Any:
    """The uint8 image parameter and the normalised float image made of it."""
    from openvino import opset13 as op

    image = op.parameter([1, geometry.height, geometry.width, 3], np.uint8, name="image")
    x = op.convert(image, "f32")
    if normalisation.bgr:
        x = op.gather(x, op.constant(np.array([2, 1, 0])), op.constant(3))
    x = op.subtract(x, op.constant(np.array(normalisation.mean, np.float32)))
    x = op.divide(x, op.constant(np.array(normalisation.std, np.float32)))
    if channels_first:
        x = op.transpose(x, op.constant(np.array([0, 3, 1, 2])))
    return image, x


def _pool_and_join(
    image: Any, taps: dict[Cut, tuple[Any, str]], channels_first: bool
) -> tuple[Any, dict[str, tuple[int, int]]]:
    """The model from image to one (1, D) vector, and where each cut stands in it."""
    import openvino
    from openvino import opset13 as op

    parts, slices, start = [], {}, 0
    for cut, (feature_map, pooling) in taps.items():
        for vector in _pool(feature_map, pooling, channels_first):
            parts.append(vector)
        width = sum(part.get_output_shape(0)[1] for part in parts) - start
        slices[str(cut)] = (start, start + width)
        start += width
    features = op.concat(parts, 1) if len(parts) > 1 else parts[0]
    features.output(0).tensor.set_names({"features"})
    return openvino.Model([features.output(0)], [image], "extractor"), slices


def _pool(feature_map: Any, pooling: str, channels_first: bool) -> list[Any]:
    from openvino import opset13 as op

    rank = len(feature_map.get_shape())
    if rank == 2:  # already a vector
        return [op.reshape(feature_map, op.constant(np.array([1, -1])), False)]
    if rank != 4:
        raise BackboneError(
            f"a cut must be a feature map or a vector, found shape {list(feature_map.get_shape())}"
        )
    if pooling == "grid":
        feature_map = _grid(feature_map, channels_first)
    if pooling in ("flatten", "grid"):
        if channels_first:  # Keras flattens (height, width, channels)
            feature_map = op.transpose(feature_map, op.constant(np.array([0, 2, 3, 1])))
        return [op.reshape(feature_map, op.constant(np.array([1, -1])), False)]
    axes = op.constant(np.array([2, 3] if channels_first else [1, 2]))
    reductions = {"avg": [op.reduce_mean], "max": [op.reduce_max],
                  "avg+max": [op.reduce_mean, op.reduce_max]}  # fmt: skip
    return [reduce(feature_map, axes, False) for reduce in reductions[pooling]]


def _grid(feature_map: Any, channels_first: bool) -> Any:
    """Averages over 2 x 2 fields, which share a row and column where the side is odd."""
    from openvino import opset13 as op

    if not channels_first:
        feature_map = op.transpose(feature_map, op.constant(np.array([0, 3, 1, 2]))).output(0)
    sides = [int(side) for side in feature_map.get_shape()[2:]]
    fields, strides = zip(*map(grid_field, sides), strict=True)
    grid = op.avg_pool(feature_map, list(strides), [0, 0], [0, 0], list(fields), True)
    if not channels_first:
        grid = op.transpose(grid, op.constant(np.array([0, 2, 3, 1])))
    return grid


def grid_field(side: int) -> tuple[int, int]:
    """Side and stride of the fields that halve a side of so many pixels; one alone is itself."""
    return (side + 1) // 2, max(1, side // 2)
