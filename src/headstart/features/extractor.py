"""Backbone + weights + cuts -> a compiled extractor with a fingerprint.

What an extractor computes is fixed by its description; the network it stands for is built once
and kept in the cache folder under the description's digest, so that opening it again only reads
and compiles. Everything from the uint8 image to the pooled features happens inside the graph:
normalisation, network, pooling.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.backbones.catalogue import (
    NORMALISATIONS,
    backbone,
    check_size,
)
from headstart.backbones.cut import Cut
from headstart.backbones.layers import Layer, list_layers
from headstart.backbones.weights import resolve
from headstart.errors import EngineError
from headstart.features import engine as openvino_engine
from headstart.features.engine import Engine
from headstart.features.graph import RECORD, build, read
from headstart.images.geometry import Geometry, draw_canary
from headstart.recipe import Recipe
from headstart.system.lock import Hold, read_and_hold
from headstart.system.places import cache_folder

# Of what is kept in the cache folder; raised when the same description gives other numbers.
FORMAT = 2


@dataclass(frozen=True)
class Extractor:
    """A frozen backbone up to one or more cuts: uint8 images in, features out.

    slices: where each cut's numbers stand in the (D,) features. fingerprint: digest of the
    description, which names all that shapes the numbers. model: the OpenVINO IR, if there is one.
    network: the same in memory. hold: keeps the folder of `model` from being pruned. warnings: what
    the user should know of how it was opened.
    """

    engine: Engine
    geometry: Geometry
    slices: dict[Cut, slice]
    fingerprint: str
    description: dict[str, Any]
    model: Path | None = None
    network: Any = field(default=None, repr=False, compare=False)
    hold: Hold | None = field(default=None, repr=False, compare=False)
    warnings: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """In the order of the features."""
        return tuple(self.slices)

    @property
    def dimensions(self) -> int:
        """D, how many numbers an image has."""
        return max((part.stop for part in self.slices.values()), default=0)

    def run(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The (D,) float32 features of each (H, W, 3) uint8 image, in order."""
        return self.engine.run(images)

    def graph(self) -> Any:
        """An OpenVINO model of its own for who asks, to build on; there even if the files are not.

        Raises EngineError if there is no network behind this extractor.
        """
        if self.network is None:
            raise EngineError(
                f"expected an extractor with a network, found {type(self.engine).__name__} alone. "
                "Open one with open_extractor"
            )
        return self.network.clone()

    def canary(self) -> np.ndarray:
        """The (D,) features of one fixed image: they change when the numbers would."""
        (features,) = self.run([draw_canary(self.geometry)])
        return features


def open_extractor(recipe: Recipe) -> Extractor:
    """The recipe's extractor, built on first use and kept in the cache folder.

    Raises BackboneError for an unknown backbone or cut, WeightsError for weights that are
    missing or do not fit, EngineError if this processor cannot run it.
    """
    entry = backbone(recipe.backbone)
    weights = resolve(entry, recipe.weights)
    geometry = recipe.geometry(entry.size)
    check_size(entry, geometry.height)
    normalisation = NORMALISATIONS.get(recipe.normalisation, entry.normalisation)
    network = {
        "format": FORMAT,
        "backbone": entry.name,
        "weights": weights.digest,
        "size": [geometry.height, geometry.width],
        "normalisation": str(normalisation),
        "cuts": [str(cut) for cut in recipe.cuts],
        "pooling": recipe.pooling,
        "openvino": openvino_engine.version(),
    }
    folder = cache_folder() / "extractors" / digest_description(network)

    def make(temporary: Path) -> None:
        build(temporary, entry, weights, geometry, normalisation, recipe)

    held = read_and_hold(folder, RECORD, make, read)
    slices, graph = held.content
    precision = openvino_engine.resolve_precision(recipe.precision)
    description = {
        **network, "slices": slices, "geometry": str(geometry), "precision": precision,
    }  # fmt: skip
    return Extractor(
        engine=openvino_engine.OpenVinoEngine(graph, precision),
        geometry=geometry,
        slices={Cut.parse(cut): slice(*ends) for cut, ends in slices.items()},
        fingerprint=digest_description(description),
        description=description,
        model=folder / "model.xml",
        network=graph,
        hold=held.hold,
        warnings=(f"built again, for it was damaged: the extractor {folder}",) * held.again,
    )


def layers(recipe: Recipe) -> list[Layer]:
    """Every layer of the recipe's backbone at its size. Raises as `list_layers` does."""
    entry = backbone(recipe.backbone)
    return list_layers(entry, recipe.geometry(entry.size).height)


def digest_description(description: dict[str, Any]) -> str:
    """What all that shapes an extractor's numbers is kept under."""
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
