"""Where a backbone can be parted: which boundaries are worth trying, and what comes out of one.

Letters: N images, V views, H x W positions of a feature map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.backbones.catalogue import backbone
from headstart.backbones.cut import Cut
from headstart.data.item import Item
from headstart.errors import BackboneError, ClassifierError
from headstart.features.extract import extract_features
from headstart.features.extractor import layers, open_extractor
from headstart.recipe import Recipe

LARGEST = 8  # maps of at most so small a part of the input's side are boundaries of "auto"
BLOCKS = (2, 4, 7)  # unfrozen below the earliest cut, in the stages of boundary = "auto"


@dataclass(frozen=True)
class Boundary:
    """A layer that stays frozen with all below it, and how many blocks above it are trained."""

    layer: str
    blocks: int


def plan_descent(recipe: Recipe, cuts: Sequence[Cut]) -> tuple[Boundary, ...]:
    """The boundaries to try, the nearest to the head first. Raises BackboneError for a given one
    above the cut.

    "auto" leaves out layers near the input, and may plan none: the activations of large maps take
    more memory and time than any other, for edges and colours that seldom need to be learned anew.
    """
    table = layers(recipe)
    names = [layer.name for layer in table]
    earliest = min(names.index(cut.layer) for cut in cuts)
    below = [layer for layer in table[:earliest] if layer.candidate and separates(layer.name)][::-1]
    if recipe.boundary != "auto":
        allowed = [layer.name for layer in below]
        if recipe.boundary not in allowed:
            raise BackboneError(
                f"expected a boundary below the cut {names[earliest]}, found {recipe.boundary!r}. "
                f"There are {', '.join(allowed) or 'none'}. Type: --boundary auto"
            )
        return (Boundary(recipe.boundary, allowed.index(recipe.boundary) + 1),)
    largest = -(-recipe.geometry(backbone(recipe.backbone).size).height // LARGEST)
    small = [layer.name for layer in below if layer.shape[0] <= largest]
    counts = dict.fromkeys(min(count, len(small)) for count in BLOCKS if small)
    return tuple(Boundary(small[count - 1], count) for count in counts)


def separates(name: str) -> bool:
    """Whether all that lies above sees only this layer; not so inside a residual block."""
    return not name.endswith(("depthwise_relu", "activation", "_sepconv2_act"))


def compute_activations(items: Sequence[Item], layer: str, recipe: Recipe) -> np.ndarray:
    """(N, V, H * W * channels) of the recipe's views at the layer, through the cache.

    Raises ClassifierError for an image that could be used before and cannot be now.
    """
    below = recipe.changed(cut=str(Cut(layer, "flatten")))
    features = extract_features(items, open_extractor(below), below)
    if features.bad:
        item, reason = features.bad[0]
        raise ClassifierError(f"{item.name} changed while it was trained on: {reason}")
    return features.values
