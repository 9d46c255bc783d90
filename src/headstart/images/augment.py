"""View k of an image: seeded random transforms of the pixels.

Only training images are augmented. Validation and test images never are: a score on altered
images answers another question. Which images come here is the caller's choice.

The geometry, the brightness and the channel shift mean what they mean in Keras'
`ImageDataGenerator`: drawn uniformly over the same ranges and, for the same drawn numbers, the
same pixels to within the rounding of the interpolation. It differs where that class slips: here
`width_shift` moves columns by a fraction of the width (there it moves rows), and the centre of
an image that is not square is its centre.

Shapes: pixels are (H, W, 3) uint8 RGB.
"""

import hashlib
import math
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from headstart.errors import RecipeError
from headstart.images.transform import FILL_MODES, Box, Draw, FillMode, apply

_EXACT = {"horizontal_flip", "vertical_flip", "quarter_turns"}  # finitely many views
_SETTINGS = {"crop_ratio", "fill_mode", "cval"}  # how, not whether: alone they change nothing

# Least and greatest value, for each number of a field.
_LIMITS: dict[str, list[tuple[float, float]]] = {
    "rotation": [(0, 180)],
    "width_shift": [(0, 0.99)],
    "height_shift": [(0, 0.99)],
    "shear": [(0, 89)],
    "zoom": [(0, 0.99)],
    "brightness": [(0, 10)] * 2,
    "channel_shift": [(0, 255)],
    "colour_jitter": [(0, 1), (0, 1), (0, 1), (0, 0.5)],
    "crop": [(0.01, 1)] * 2,
    "crop_ratio": [(0.1, 10)] * 2,
    "erase": [(0, 1)],
    "cval": [(0, 255)],
}
_ERASED_AREA = (0.02, 0.4)  # of the image; both ranges are those of Zhong et al. (AAAI 2020)
_ERASED_RATIO = (0.3, 1 / 0.3)  # width over height


def _check(name: str, value: object) -> None:
    limits = _LIMITS.get(name, [])
    values = (value,) if len(limits) == 1 else value
    fits = (
        isinstance(values, tuple)
        and len(values) == len(limits)
        and all(isinstance(v, Real) and not isinstance(v, bool) for v in values)
        and all(low <= v <= high for v, (low, high) in zip(values, limits, strict=True))
        and (len(limits) != 2 or values[0] <= values[1])
    )
    if name in _EXACT:
        fits = isinstance(value, bool)
    elif name == "fill_mode":
        fits = value in FILL_MODES
    if not fits:
        raise RecipeError(f"augmentation: expected {name} to be {expected(name)}; found {value!r}")


def expected(name: str) -> str:
    """What values a field of an Augmentation takes, in words."""
    if name in _EXACT:
        return "true or false"
    if name == "fill_mode":
        return f"one of {', '.join(FILL_MODES)}"
    if name == "colour_jitter":
        return "brightness, contrast, saturation (0 to 1 each) and hue (0 to 0.5)"
    low, high = _LIMITS[name][0]
    number = "a number" if len(_LIMITS[name]) == 1 else "two numbers, the lower first,"
    return f"{number} from {low} to {high}"


def _says(description: str, *examples: list[float]) -> dict[str, Any]:
    """The metadata of a field: what it means, and values of one that is not set."""
    return {"description": description, "examples": examples}


@dataclass(frozen=True)
class Augmentation:
    """The ranges that views are drawn from; everything is off by default.

    Raises RecipeError for a value out of its limits.
    """

    rotation: float = field(default=0.0, metadata=_says("Degrees, either way."))
    width_shift: float = field(default=0.0, metadata=_says("Fraction of the width, either way."))
    height_shift: float = field(default=0.0, metadata=_says("Fraction of the height, either way."))
    shear: float = field(default=0.0, metadata=_says("Degrees, either way."))
    zoom: float = field(
        default=0.0, metadata=_says("Each axis its own factor in 1 - zoom to 1 + zoom.")
    )
    horizontal_flip: bool = field(default=False, metadata=_says("Left and right may change sides."))
    vertical_flip: bool = field(default=False, metadata=_says("Top and bottom may change sides."))
    quarter_turns: bool = field(
        default=False, metadata=_says("For pictures without an upside: aerial, microscopy.")
    )
    brightness: tuple[float, float] | None = field(
        default=None, metadata=_says("Lowest and highest factor; 1 changes nothing.", [0.8, 1.2])
    )
    channel_shift: float = field(
        default=0.0, metadata=_says("Levels of 255 added to all channels, either way.")
    )
    colour_jitter: tuple[float, float, float, float] | None = field(
        default=None,
        metadata=_says(
            "Greatest change of brightness, contrast, saturation and hue, the circle being 1.",
            [0.2, 0.2, 0.2, 0.05],
        ),
    )
    crop: tuple[float, float] | None = field(
        default=None,
        metadata=_says("Random resized crop: least and greatest share of the area.", [0.6, 1.0]),
    )
    crop_ratio: tuple[float, float] = field(
        default=(3 / 4, 4 / 3),
        metadata=_says("The crop's width over its height, least and greatest."),
    )
    erase: float = field(
        default=0.0, metadata=_says("Probability that a random box is filled with noise.")
    )
    fill_mode: FillMode = field(
        default="nearest", metadata=_says("What a warp finds outside the image.")
    )
    cval: float = field(
        default=0.0, metadata=_says('The level that fill_mode "constant" fills with.')
    )

    # Read by pydantic when a recipe holds an augmentation: a misspelled key is an error.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for choice in fields(self):
            value = getattr(self, choice.name)
            if value != choice.default:
                _check(choice.name, value)

    def __str__(self) -> str:
        """Canonical and versioned, for cache keys: equal only where all views are equal."""
        shown = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        parts = [_part(name, getattr(self, name)) for name in shown] if _on(self) else ["none"]
        return " ".join(["augmentation v1:", *parts])


def distinct_views(augmentation: Augmentation) -> int | None:
    """How many views differ (2 for FLIP); None where every draw is new.

    Finite cases are enumerated, not drawn: with FLIP view 1 is the flipped image, and from
    `distinct_views` on the views repeat.
    """
    return None if _on(augmentation) - _EXACT else len(_symmetries(augmentation))


def draw(
    augmentation: Augmentation, *, seed: int, image_hash: bytes, view: int, height: int, width: int
) -> Draw:
    """What view `view` does to an image of height x width pixels; view 0 does nothing.

    A pure function of its arguments: no order, thread or file name enters. Raises RecipeError
    for quarter turns of an image that is not square.
    """
    if view == 0:
        return Draw()
    if augmentation.quarter_turns and height != width:
        raise RecipeError(
            f"quarter_turns: expected square images, found {width}x{height}. "
            "Set quarter_turns = false or a square input size"
        )
    if not _on(augmentation) - _EXACT:
        symmetries = _symmetries(augmentation)
        turns, horizontal, vertical = symmetries[view % len(symmetries)]
        return Draw(horizontal_flip=horizontal, vertical_flip=vertical, turns=turns)

    key = f"{augmentation}|{seed}|{view}|{height}x{width}|".encode() + image_hash
    digest = hashlib.blake2b(key, digest_size=16).digest()
    random = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    u = iter(random.random(16).tolist())

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(u)

    def either_way(limit: float) -> float:
        return between(-limit, limit)

    a = augmentation  # the order of the lines below belongs to v1 of the canonical form
    b, c, s, h = a.colour_jitter or (0.0, 0.0, 0.0, 0.0)
    return Draw(
        rotation=either_way(a.rotation),
        shift_x=either_way(a.width_shift) * width,
        shift_y=either_way(a.height_shift) * height,
        shear=either_way(a.shear),
        zoom_x=1 + either_way(a.zoom),
        zoom_y=1 + either_way(a.zoom),
        fill_mode=a.fill_mode,
        cval=a.cval,
        channel_shift=either_way(a.channel_shift),
        horizontal_flip=next(u) < 0.5 and a.horizontal_flip,
        vertical_flip=next(u) < 0.5 and a.vertical_flip,
        turns=int(4 * next(u)) if a.quarter_turns else 0,
        brightness=between(*(a.brightness or (1.0, 1.0))),
        jitter=(1 + either_way(b), 1 + either_way(c), 1 + either_way(s), either_way(h)),
        crop=_box(random, a.crop, a.crop_ratio, height, width) if a.crop else None,
        erase=_box(random, _ERASED_AREA, _ERASED_RATIO, height, width)
        if next(u) < a.erase
        else None,
        noise=int.from_bytes(digest[:8], "little"),
    )


def make_view(
    pixels: np.ndarray, augmentation: Augmentation, *, seed: int, image_hash: bytes, view: int
) -> np.ndarray:
    """View `view` of `pixels`, (H, W, 3) uint8, same shape; view 0 is `pixels` itself.

    `image_hash` is that of the file's bytes. Raises RecipeError as `draw` does.
    """
    height, width = pixels.shape[:2]
    drawn = draw(
        augmentation, seed=seed, image_hash=image_hash, view=view, height=height, width=width
    )
    return apply(pixels, drawn)


def _part(name: str, value: object) -> str:
    if value is True:
        return name
    numbers = value if isinstance(value, tuple) else (value,)
    texts = [n if isinstance(n, str) else repr(float(n)).removesuffix(".0") for n in numbers]
    return f"{name}={','.join(texts)}"


def _on(augmentation: Augmentation) -> set[str]:
    """Names of the transforms that are on."""
    changed = {f.name for f in fields(augmentation) if getattr(augmentation, f.name) != f.default}
    return changed - _SETTINGS


def _symmetries(augmentation: Augmentation) -> list[tuple[int, bool, bool]]:
    """Distinct (quarter turns, horizontal flip, vertical flip), the image itself first."""
    horizontal, vertical = augmentation.horizontal_flip, augmentation.vertical_flip
    if augmentation.quarter_turns:  # a vertical flip is a horizontal one and two quarter turns
        mirrors = (False, True) if horizontal or vertical else (False,)
        return [(turns, mirror, False) for turns in range(4) for mirror in mirrors]
    return [
        (0, h, v)
        for v in ((False, True) if vertical else (False,))
        for h in ((False, True) if horizontal else (False,))
    ]


def _box(
    random: np.random.Generator,
    area: tuple[float, float],
    ratio: tuple[float, float],
    height: int,
    width: int,
) -> Box | None:
    """A box of random area and width over height inside the image; None if ten tries fail.

    Area uniform, ratio uniform in its logarithm, place uniform.
    """
    areas = height * width * (area[0] + (area[1] - area[0]) * random.random(10))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = np.exp(low + (high - low) * random.random(10))
    x, y = random.random(2)
    for box_area, box_ratio in zip(areas, ratios, strict=True):
        w, h = math.sqrt(box_area * box_ratio), math.sqrt(box_area / box_ratio)
        if w <= width and h <= height:
            return float(x * (width - w)), float(y * (height - h)), w, h
    return None


NONE = Augmentation()
FLIP = Augmentation(horizontal_flip=True)
LESSON = Augmentation(
    rotation=40, width_shift=0.2, height_shift=0.2, shear=0.2, zoom=0.2, horizontal_flip=True
)
