"""Where a backbone can be parted, and which parts are worth training."""

from collections.abc import Sequence

from headstart.backbones.catalogue import backbone
from headstart.backbones.cut import Cut
from headstart.errors import BackboneError
from headstart.features.extractor import layers
from headstart.recipe import Recipe

LARGEST = 8  # maps of at most so small a part of the input's side are boundaries of "auto"
BLOCKS = (2, 4, 7)  # unfrozen below the earliest cut, in the stages of boundary = "auto"


def boundaries(recipe: Recipe, cuts: Sequence[Cut]) -> list[tuple[str, int]]:
    """(layer, blocks above it that are trained), the nearest to the head first. Raises
    BackboneError for a given one above the cut.

    "auto" leaves out layers near the input, and may find none: the activations of large maps take
    more memory and time than any other, for edges and colours that seldom need to be learned anew.
    """
    blocks = [layer.name for layer in layers(recipe) if layer.candidate and separates(layer.name)]
    every = [layer.name for layer in layers(recipe)]
    earliest = min(every.index(cut.layer) for cut in cuts)
    below = [name for name in blocks if every.index(name) < earliest][::-1]
    if recipe.boundary != "auto":
        if recipe.boundary not in below:
            raise BackboneError(
                f"expected a boundary below the cut {every[earliest]}, found {recipe.boundary!r}. "
                f"There are {', '.join(below)}"
            )
        return [(recipe.boundary, below.index(recipe.boundary) + 1)]
    side = {layer.name: layer.shape[0] for layer in layers(recipe)}
    most = -(-recipe.geometry(backbone(recipe.backbone).size).height // LARGEST)
    below = [name for name in below if side[name] <= most]
    wanted = dict.fromkeys(min(count, len(below)) for count in BLOCKS if below)
    return [(below[count - 1], count) for count in wanted]


def separates(name: str) -> bool:
    """Whether all that lies above sees only this layer; not so inside a residual block."""
    return not name.endswith(("depthwise_relu", "activation", "_sepconv2_act"))
