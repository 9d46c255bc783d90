"""The layers of a backbone, and which of them are candidate cuts."""

import re
from dataclasses import dataclass

from headstart.backbones import efficientnet_lite
from headstart.backbones.catalogue import Backbone, check_size
from headstart.backbones.keras_builder import build_request, in_child
from headstart.backbones.weights import Weights


@dataclass(frozen=True)
class Layer:
    """A layer of a backbone: `shape` is (height, width, channels) or (units,)."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    candidate: bool


def list_layers(entry: Backbone, size: int) -> list[Layer]:
    """Every layer for images of `size` x `size` pixels, in order, and which are candidate cuts.

    Raises BackboneError for images too small for the network.
    """
    check_size(entry, size)
    if not entry.application:
        shapes = efficientnet_lite.cut_shapes(efficientnet_lite.read_number(entry.name), size)
        return [
            Layer(name, "cut", shape, 0, efficientnet_lite.worth_measuring(name, shape, size))
            for name, shape in shapes.items()
        ]
    table = in_child(build_request("layers", entry, Weights("none", None, "none"), size))["layers"]
    pattern = re.compile(entry.cuts)
    last = table[-1]["name"]
    return [
        Layer(
            row["name"], row["kind"], tuple(row["shape"]), row["parameters"],
            bool(pattern.fullmatch(row["name"])) or row["name"] == last,
        )
        for row in table
    ]  # fmt: skip
