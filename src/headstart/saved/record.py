"""The fields of classifier.json that somebody reads, and what they may be.

Looked at where no digest vouches for the file: it is of an earlier version, or was changed by hand.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from headstart.backbones.cut import Cut
from headstart.images.augment import Augmentation
from headstart.images.geometry import Interpolation, Resize
from headstart.saved.folder import FORMAT
from headstart.system.reading import Names, Share, Written, format_up_to


def _cut(text: str) -> str:
    Cut.parse(text)
    return text


Side = Annotated[int, Field(ge=1, le=2048)]  # pixels, as many as a recipe allows


class Geometry(Written):
    height: Side
    width: Side
    resize: Resize
    interpolation: Interpolation


class Layer(Written):
    kind: Literal["dense", "affine"]
    activation: str


class Layers(Written):
    layers: Annotated[list[Layer], Field(min_length=1)]
    binary: bool


class Record(Written):
    """All of them. Earlier versions had neither `parts` nor `digest`."""

    format: format_up_to(FORMAT)  # type: ignore[valid-type]
    classes: Names
    geometry: Geometry
    precision: Literal["f32", "bf16"]
    head: Layers
    backbone: str
    cuts: list[Annotated[str, AfterValidator(_cut)]]
    augmentation: Augmentation | None = None
    thresholds: list[Share] | None = None
    parts: dict[str, str] | None = None
    digest: str | None = None
