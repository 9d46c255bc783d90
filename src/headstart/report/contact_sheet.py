"""A picture of images beside their views: what an augmentation does, to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from headstart.errors import RecipeError
from headstart.images.augment import Augmentation, distinct_views, make_view
from headstart.report import style

_MARGIN, _GAP, _CAPTION, _LABEL = 28, 10, 24, 22  # pixels
_COLUMNS = 6  # most views side by side; more go on further lines


@dataclass(frozen=True)
class Shown:
    """An image of a sheet. pixels: (H, W, 3) uint8 as it is trained on; photo: the whole of it, of
    any size, or None; content: the hash of its file, so that the views are the very ones that a
    training sees.
    """

    pixels: np.ndarray
    content: bytes
    photo: np.ndarray | None = None
    name: str = ""
    label: str = ""


def contact_sheet(
    images: Sequence[Shown],
    augmentation: Augmentation,
    views: int,
    seed: int,
    about: str = "",
    dark: bool = False,
) -> np.ndarray:
    """One row per image: the whole photo, what is trained on of it, then its views 1 .. views.

    `images` are trained on at one shape; `about` tells how they came to it. Views beyond the
    distinct ones are left out. Returns (height, width, 3) uint8. Raises RecipeError without images,
    without views or with images of several shapes.
    """
    shapes = {image.pixels.shape for image in images}
    if len(shapes) != 1:
        sizes = " and ".join(f"{w}x{h}" for h, w, _ in sorted(shapes)) or "no image"
        raise RecipeError(f"contact sheet: expected images of one size, found {sizes}. Resize them")
    views = min(views, (distinct_views(augmentation) or views + 1) - 1)
    if views < 1:
        raise RecipeError(
            f"contact sheet: expected an augmentation and 1 view or more, found {views} of "
            f"'{augmentation}'. Choose an augmentation, such as lesson"
        )
    height, width, _ = shapes.pop()
    paper, ink, faint, line = (
        pair[dark] for pair in (style.PAPER, style.INK, style.SOFT, style.LINE)
    )
    title, small, tiny = (ImageFont.load_default(size) for size in (20, 13, 12))
    lines = -(-views // _COLUMNS)
    columns = -(-views // lines)
    row_height = lines * (height + _CAPTION) + _LABEL + _GAP
    before = 1 + any(image.photo is not None for image in images)
    divider = _MARGIN + before * (width + _GAP)  # a line between the images and their views
    sheet_width = max(divider + _GAP + columns * (width + _GAP) - _GAP + _MARGIN, 420)
    told = f"{about}; {augmentation}, seed {seed}" if about else f"{augmentation}, seed {seed}"
    settings = wrap(told, small, sheet_width - 2 * _MARGIN)
    top = _MARGIN + 34 + 18 * len(settings) + 16

    sheet = Image.new("RGB", (sheet_width, top + row_height * len(images) + _MARGIN // 2), paper)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), "Views of the training images", ink, title)
    for number, text in enumerate(settings):
        pen.text((_MARGIN, _MARGIN + 34 + 18 * number), text, faint, small)
    pen.line([(divider, top), (divider, top + row_height * len(images) - _GAP - 8)], line)

    for row, image in enumerate(images):
        x, y = _MARGIN, top + row * row_height
        if image.photo is not None:
            photo = _fit(image.photo, width, height)
            sheet.paste(photo, (x + (width - photo.width) // 2, y + (height - photo.height) // 2))
            pen.text((x, y + height + 4), f"photo, {_size(image.photo)}", faint, tiny)
            x += width + _GAP
        sheet.paste(Image.fromarray(image.pixels), (x, y))
        pen.text((x, y + height + 4), f"trained on, {_size(image.pixels)}", faint, tiny)
        named = " ".join(filter(None, [image.label and f"{image.label}:", image.name]))
        pen.text((_MARGIN, y + height + _CAPTION),
                 shorten(named, small, divider - _GAP - _MARGIN), ink, small)  # fmt: skip
        for number in range(1, views + 1):
            at, column = divmod(number - 1, columns)
            x = divider + _GAP + column * (width + _GAP)
            below = y + at * (height + _CAPTION)
            changed = make_view(
                image.pixels, augmentation, seed=seed, image_hash=image.content, view=number
            )
            sheet.paste(Image.fromarray(changed), (x, below))
            pen.text((x, below + height + 4), f"view {number}", faint, tiny)
    return np.asarray(sheet)


def _fit(pixels: np.ndarray, width: int, height: int) -> Image.Image:
    photo = Image.fromarray(pixels)
    scale = min(width / photo.width, height / photo.height)
    return photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]:,}x{pixels.shape[0]:,}"


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def wrap(text: str, font: _Font, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels; a word that is longer has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def shorten(text: str, font: _Font, width: int) -> str:
    """`text` with its middle left out until it fits."""
    length = len(text)
    shown = text
    while font.getlength(shown) > width and length > 2:
        length -= 1
        shown = f"{text[: length // 2]}...{text[len(text) - (length - length // 2) :]}"
    return shown
