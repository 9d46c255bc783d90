"""Backbone + weights + cuts -> a compiled extractor with a fingerprint.

What an extractor computes is fixed by its description; the network it stands for is built once
and kept in the cache folder under the description's digest, so that opening it again only reads
and compiles. Everything from the uint8 image to the pooled features happens inside the graph:
normalisation, network, pooling.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from headstart.backbones import efficientnet_lite
from headstart.backbones.catalogue import (
    NORMALISATIONS,
    Backbone,
    Normalisation,
    backbone,
    cut_error,
)
from headstart.backbones.checkpoint import read_checkpoint
from headstart.backbones.keras_builder import in_child
from headstart.backbones.weights import Weights, resolve
from headstart.engines import Engine
from headstart.engines import openvino as openvino_engine
from headstart.errors import BackboneError
from headstart.files import folder_atomically
from headstart.folders import cache_folder
from headstart.images import Geometry
from headstart.recipe import Recipe

FORMAT = (
    1  # of what is kept in the cache folder; raised when the same description gives other numbers
)


@dataclass(frozen=True)
class Layer:
    """A layer of a backbone: `shape` is (height, width, channels) or (units,)."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    candidate: bool


@dataclass(frozen=True)
class Extractor:
    """A frozen backbone up to one or more cuts: uint8 images in, features out.

    slices: where each cut's numbers stand in the (D,) features. fingerprint: digest of the
    description, which names all that shapes the numbers. model: the OpenVINO IR, if there is one.
    """

    engine: Engine
    geometry: Geometry
    slices: dict[str, slice]
    fingerprint: str
    description: dict[str, Any]
    model: Path | None = None

    @property
    def cuts(self) -> tuple[str, ...]:
        """Layer names, in the order of the features."""
        return tuple(self.slices)

    @property
    def dimensions(self) -> int:
        """D, how many numbers an image has."""
        return max((part.stop for part in self.slices.values()), default=0)

    def run(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The (D,) float32 features of each (H, W, 3) uint8 image, in order."""
        return self.engine.run(images)

    def canary(self) -> np.ndarray:
        """The (D,) features of one fixed image: they change when the numbers would."""
        rows, columns, channels = np.ogrid[: self.geometry.height, : self.geometry.width, :3]
        image = ((rows * 7 + columns * 13 + channels * 61 + rows * columns // 11) % 256).astype(
            np.uint8
        )
        (features,) = self.run([image])
        return features


def open_extractor(recipe: Recipe) -> Extractor:
    """The recipe's extractor, built on first use and kept in the cache folder.

    Raises BackboneError for an unknown backbone or cut, WeightsError for weights that are
    missing or do not fit, EngineError if this processor cannot run it.
    """
    entry = backbone(recipe.backbone)
    weights = resolve(entry, recipe.weights)
    geometry = recipe.geometry(entry.size)
    _check_size(entry, geometry.height)
    normalisation = NORMALISATIONS.get(recipe.normalisation, entry.normalisation)
    network = {
        "format": FORMAT,
        "backbone": entry.name,
        "weights": weights.digest,
        "size": [geometry.height, geometry.width],
        "normalisation": str(normalisation),
        "cuts": [name for name, _, _ in recipe.taps],
        "pooling": recipe.pooling,
        "openvino": openvino_engine.version(),
    }
    folder = cache_folder() / "extractors" / _digest(network)
    if not (folder / "extractor.json").is_file():
        with folder_atomically(folder) as temporary:
            _build(temporary, entry, weights, geometry, normalisation, recipe)
    kept = json.loads((folder / "extractor.json").read_text(encoding="utf-8"))
    precision = openvino_engine.resolve_precision(recipe.precision)
    description = {**network, **kept, "geometry": str(geometry), "precision": precision}
    return Extractor(
        engine=openvino_engine.OpenVinoEngine(folder / "model.xml", precision),
        geometry=geometry,
        slices={cut: slice(*ends) for cut, ends in kept["slices"].items()},
        fingerprint=_digest(description),
        description=description,
        model=folder / "model.xml",
    )


def costs(extractor: Extractor) -> dict[str, float]:
    """Of each cut, the multiplications that an image takes up to it, as a share of all of them.

    What lies behind a cut is left out. Counted, not timed: the same on every computer.
    """
    graph = openvino_engine.core().read_model(str(extractor.model))
    ends = _ends(graph, extractor)
    counts = {cut: _multiplications(end.get_node()) for cut, end in ends.items()}
    most = max(counts.values()) or 1
    return {cut: count / most for cut, count in counts.items()}


def _multiplications(end: Any) -> int:
    """Of the convolutions and matrix products that `end` needs."""
    seen, waiting, total = set(), [end], 0
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        inputs = [node.input_value(i) for i in range(node.get_input_size())]
        waiting += [value.get_node() for value in inputs]
        kind = node.get_type_name()
        if kind in ("Convolution", "GroupConvolution", "MatMul"):
            weights = list(inputs[1].get_shape())
            each = {"Convolution": weights[1:], "GroupConvolution": weights[2:]}.get(
                kind, list(inputs[0].get_shape())[-1:]
            )
            total += int(np.prod(node.get_output_shape(0)) * np.prod(each))
    return total


def _ends(graph: Any, extractor: Extractor) -> dict[str, Any]:
    """The vector in the graph that is each cut's."""
    joined = graph.get_results()[0].input_value(0)
    if len(extractor.slices) == 1:
        return dict.fromkeys(extractor.slices, joined)
    node = joined.get_node()
    found, start = {}, 0
    for part in (node.input_value(i) for i in range(node.get_input_size())):
        start += part.get_shape()[1]
        found[start] = part
    return {cut: found[place.stop] for cut, place in extractor.slices.items()}


def speeds(extractor: Extractor, seconds: float = 0.3) -> dict[str, float]:
    """Images a second of the network up to each cut alone, on images that are already in memory.

    What lies behind a cut is left out, as in a classifier that is cut there. Each is run for about
    so many seconds.
    """
    import openvino

    graph = openvino_engine.core().read_model(str(extractor.model))
    shape = (extractor.geometry.height, extractor.geometry.width, 3)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found: dict[str, float] = {}
    for cut, end in _ends(graph, extractor).items():
        model = openvino.Model([end], graph.get_parameters(), cut)
        engine = openvino_engine.OpenVinoEngine(model, extractor.description["precision"])
        count, spent = 8, 0.0
        while spent < seconds:
            count *= 2
            begun = time.perf_counter()
            for _ in engine.run(repeat(image, count)):
                pass
            spent = time.perf_counter() - begun
        found[cut] = count / spent
    return found


def layers(recipe: Recipe) -> list[Layer]:
    """Every layer of the recipe's backbone, in order, and which are candidate cuts."""
    entry = backbone(recipe.backbone)
    size = recipe.geometry(entry.size).height
    _check_size(entry, size)
    if not entry.application:
        return [
            Layer(name, "cut", shape, 0, efficientnet_lite.worth_measuring(name, shape, size))
            for name, shape in efficientnet_lite.cut_shapes(_number(entry), size).items()
        ]
    table = in_child(_request("layers", entry, Weights("none", None, "none"), size))["layers"]
    pattern = re.compile(entry.cuts)
    last = table[-1]["name"]
    return [
        Layer(
            row["name"], row["kind"], tuple(row["shape"]), row["parameters"],
            bool(pattern.fullmatch(row["name"])) or row["name"] == last,
        )
        for row in table
    ]  # fmt: skip


def _check_size(entry: Backbone, size: int) -> None:
    if size < entry.smallest:
        raise BackboneError(
            f"{entry.name} takes images of at least {entry.smallest} pixels, found {size}. "
            f"Type: --size {entry.smallest} or more"
        )


def _digest(description: dict[str, Any]) -> str:
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _number(entry: Backbone) -> int:
    return int(entry.name[-1])


def _request(task: str, entry: Backbone, weights: Weights, size: int) -> dict[str, Any]:
    return {
        "task": task,
        "backbone": entry.name,
        "size": size,
        "weights": str(weights.path.absolute()) if weights.path else None,
        "kind": weights.kind,
    }


def _build(
    folder: Path,
    entry: Backbone,
    weights: Weights,
    geometry: Geometry,
    normalisation: Normalisation,
    recipe: Recipe,
) -> None:
    """Write the extractor's model and what must be known of it into `folder`."""
    import openvino

    wanted = list(dict.fromkeys(layer for _, layer, _ in recipe.taps))
    with TemporaryDirectory() as scratch:
        if not entry.application and weights.kind == "package":
            parameter, found = _lite_network(entry, weights, geometry, wanted)
            channels_first = True
        else:
            target = Path(scratch) / "network.xml"
            request = _request("export", entry, weights, geometry.height)
            answer = in_child({**request, "cuts": wanted, "target": str(target)})
            channels_first = answer["channels_first"]
            parameter, found = _exported_network(target, answer["cuts"], geometry, channels_first)
        image, pixels = _input(geometry, normalisation, channels_first)
        parameter.output(0).replace(pixels.output(0))
        maps = dict(zip(wanted, found, strict=True))
        taps = {
            _resolved(name, layer, maps[layer]): (maps[layer][1], pooling)
            for name, layer, pooling in recipe.taps
        }
        model, slices = _pooled(image, taps, channels_first)
        openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    text = json.dumps({"slices": slices}, indent=1)
    (folder / "extractor.json").write_text(text, encoding="utf-8")


def _resolved(name: str, layer: str, found: tuple[str, Any]) -> str:
    """The cut's name with "last" replaced by the layer that it is."""
    return found[0] + name.removeprefix(layer)


def _lite_network(
    entry: Backbone, weights: Weights, geometry: Geometry, layers: list[str]
) -> tuple[Any, list[tuple[str, Any]]]:
    """The network's parameter, and name and map of each of the layers."""
    from openvino import opset13 as op

    assert weights.path is not None
    ops = efficientnet_lite.OpenVinoOps(_number(entry), read_checkpoint(weights.path))
    parameter = op.parameter([1, 3, geometry.height, geometry.width], np.float32)
    found = efficientnet_lite.network(_number(entry), parameter, ops)
    maps = []
    for layer in layers:
        name = "top_relu" if layer == "last" else layer
        if name not in found:
            raise cut_error(entry, layer, list(found))
        maps.append((name, found[name].output(0)))
    return parameter, maps


def _exported_network(
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


def _pooled(
    image: Any, taps: dict[str, tuple[Any, str]], channels_first: bool
) -> tuple[Any, dict[str, tuple[int, int]]]:
    """The model from image to one (1, D) vector, and where each cut stands in it."""
    import openvino
    from openvino import opset13 as op

    parts, slices, start = [], {}, 0
    for cut, (feature_map, pooling) in taps.items():
        for vector in _pool(feature_map, pooling, channels_first):
            parts.append(vector)
        width = sum(part.get_output_shape(0)[1] for part in parts) - start
        slices[cut] = (start, start + width)
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
        feature_map = op.transpose(feature_map, op.constant(np.array([0, 3, 1, 2])))
    sides = [int(side) for side in feature_map.get_shape()[2:]]
    fields, strides = zip(*map(grid_field, sides), strict=True)
    grid = op.avg_pool(feature_map, list(strides), [0, 0], [0, 0], list(fields), True)
    if not channels_first:
        grid = op.transpose(grid, op.constant(np.array([0, 2, 3, 1])))
    return grid


def grid_field(side: int) -> tuple[int, int]:
    """Side and stride of the fields that halve a side of so many pixels; one alone is itself."""
    return (side + 1) // 2, max(1, side // 2)
