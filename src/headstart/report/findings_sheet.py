"""A picture of what an audit found: a row a finding, its images side by side, the words below."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from headstart.report.contact_sheet import shorten, wrap

_PAPER, _INK, _FAINT = (252, 252, 250), (32, 33, 36), (120, 122, 126)
_MARGIN, _GAP, _LINE = 28, 10, 17  # pixels
SIDE, ACROSS = 150, 5  # pixels of an image; images of a finding that are shown


@dataclass(frozen=True)
class Row:
    """One finding. pictures: (SIDE, SIDE, 3) uint8 each; names below them; text under all."""

    pictures: Sequence[np.ndarray]
    names: Sequence[str]
    text: str


def draw_findings(title: str, rows: Sequence[Row]) -> np.ndarray:
    """(height, width, 3) uint8."""
    head, small = ImageFont.load_default(20), ImageFont.load_default(13)
    width = 2 * _MARGIN + ACROSS * (SIDE + _GAP) - _GAP
    texts = [wrap(row.text, small, width - 2 * _MARGIN) for row in rows]
    heights = [SIDE + _LINE * (len(lines) + 2) + _GAP for lines in texts]
    sheet = Image.new("RGB", (width, 2 * _MARGIN + 34 + sum(heights)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), title, _INK, head)
    y = _MARGIN + 34
    for row, lines, height in zip(rows, texts, heights, strict=True):
        for place, (picture, name) in enumerate(zip(row.pictures, row.names, strict=True)):
            x = _MARGIN + place * (SIDE + _GAP)
            sheet.paste(Image.fromarray(picture), (x, y))
            pen.text((x, y + SIDE + 2), shorten(name, small, SIDE), _FAINT, small)
        for number, line in enumerate(lines):
            pen.text((_MARGIN, y + SIDE + _LINE * (number + 1) + 4), line, _INK, small)
        y += height
    return np.asarray(sheet)
