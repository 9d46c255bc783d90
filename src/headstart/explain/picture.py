"""One picture an image: the photo, the map over it, what is said, and whom it looks like."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from headstart.errors import BadImage
from headstart.explain.evidence import Evidence
from headstart.explain.maps import Explanation
from headstart.explain.neighbours import Neighbour
from headstart.explain.overlay import AGAINST, FOR, OPAQUE, overlay
from headstart.images.decode import decode
from headstart.images.geometry import Geometry
from headstart.images.size import MOST_FILE
from headstart.system.files import read_regular

_PAPER, _INK, _FAINT, _EMPTY = (252, 252, 250), (32, 33, 36), (95, 97, 101), (228, 228, 224)
_MARGIN, _GAP, _SIDE, _THUMB = 28, 16, 440, 160  # pixels
_BAR = 220
_NAMED = 4  # classes beside the one explained

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(
    image: np.ndarray,
    name: str,
    explanation: Explanation,
    geometry: Geometry,
    neighbours: Sequence[Neighbour] = (),
) -> np.ndarray:
    """(height, width, 3) uint8. image: (H, W, 3) uint8, upright. name: of it."""
    evidence = explanation.evidence
    assert evidence is not None, "an image that could be used"
    scale = _SIDE / max(image.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    flag = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=flag)
    height, width = image.shape[:2]
    title, text, small = (ImageFont.load_default(size) for size in (22, 14, 12))
    whole = 2 * _MARGIN + max(2 * _SIDE + _GAP, 5 * _THUMB + 4 * _GAP)
    top = _MARGIN + 84
    below = top + height + _GAP
    last = below + 66 + (_THUMB + 78 if neighbours else 0)
    sheet = Image.new("RGB", (whole, last), _PAPER)
    pen = ImageDraw.Draw(sheet)

    def write(x: int, y: int, words: str, colour: tuple[int, int, int], font: _Font,
              room: int = whole - 2 * _MARGIN) -> None:  # fmt: skip
        pen.text((x, y), _shorten(words, font, room), colour, font)

    write(_MARGIN, _MARGIN, f"{evidence.label} {evidence.probability:.1%}", _INK, title)
    write(_MARGIN, _MARGIN + 32, _list_others(explanation, evidence), _FAINT, text)
    write(_MARGIN, _MARGIN + 54, name, _FAINT, small)
    sheet.paste(Image.fromarray(image), (_MARGIN, top))
    drawn = overlay(image, evidence.values, geometry)
    sheet.paste(Image.fromarray(drawn), (_MARGIN + width + _GAP, top))

    sheet.paste(Image.fromarray(_bar()), (_MARGIN, below))
    beside = _MARGIN + _BAR + _GAP
    write(beside, below - 2, f"blue: against {evidence.label}; orange: for it, outlined where "
          "most; dark: not seen", _INK, text, whole - beside - _MARGIN)  # fmt: skip
    how = (
        f"all places add up to the log odds, {evidence.logit:+.2f}" if evidence.exact else
        f"what the log odds, {evidence.logit:+.2f}, lose where a place is hidden"
    )  # fmt: skip
    write(beside, below + 18, how, _FAINT, text, whole - beside - _MARGIN)

    if neighbours:
        row = below + 50
        write(_MARGIN, row, "It looks like these training images (distance: 0 the same, 1.4 "
              "nothing in common)", _INK, text)  # fmt: skip
    for number, neighbour in enumerate(neighbours[:5]):
        x, y = _MARGIN + number * (_THUMB + _GAP), row + 26
        sheet.paste(Image.fromarray(_thumbnail(neighbour.path)), (x, y))
        words = f"{neighbour.label}, {neighbour.distance:.2f}"
        write(x, y + _THUMB + 4, words, _INK, small, _THUMB)
        write(x, y + _THUMB + 20, Path(neighbour.name).name, _FAINT, small, _THUMB)
    return np.asarray(sheet)


def _list_others(explanation: Explanation, evidence: Evidence) -> str:
    others = [
        f"{name} {share:.1%}"
        for name, share in explanation.prediction.probabilities.items()
        if name != evidence.label
    ]
    return "   ".join(others[:_NAMED]) + ("   ..." if len(others) > _NAMED else "")


def _bar() -> np.ndarray:
    """The legend: the colours over grey, from against to for."""
    strength = np.linspace(-1, 1, _BAR)[None, :, None]
    colour = np.where(strength > 0, FOR, AGAINST)
    alpha = OPAQUE * np.abs(strength)
    return np.repeat((160 * (1 - alpha) + colour * alpha).astype(np.uint8), 16, axis=0)


def _thumbnail(path: Path) -> np.ndarray:
    """(_THUMB, _THUMB, 3) of a training image; empty if it is not there any more."""
    canvas = np.full((_THUMB, _THUMB, 3), _EMPTY, np.uint8)
    try:
        pixels = decode(read_regular(path, MOST_FILE), (_THUMB, _THUMB))
    except (BadImage, OSError):
        return canvas
    height, width = pixels.shape[:2]
    scale = _THUMB / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    flag = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    y, x = (_THUMB - height) // 2, (_THUMB - width) // 2
    canvas[y : y + height, x : x + width] = cv2.resize(pixels, (width, height), interpolation=flag)
    return canvas


def _shorten(text: str, font: _Font, width: int) -> str:
    """`text` with its middle left out until it fits."""
    shown, kept = text, len(text)
    while font.getlength(shown) > width and kept > 2:
        kept -= 1
        shown = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    return shown
