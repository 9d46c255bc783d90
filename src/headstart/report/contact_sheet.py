"""A picture of images beside their views: what an augmentation does, to look at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from headstart.errors import RecipeError
from headstart.images.augment import Augmentation, distinct_views, make_view

_PAPER, _INK, _FAINT, _LINE = (252, 252, 250), (32, 33, 36), (120, 122, 126), (222, 222, 218)
_MARGIN, _GAP, _CAPTION = 28, 10, 24  # pixels
_COLUMNS = 6  # most views side by side; more go on further lines


def contact_sheet(
    images: Sequence[np.ndarray],
    augmentation: Augmentation,
    views: int,
    seed: int,
    hashes: Sequence[bytes],
    names: Sequence[str] = (),
) -> np.ndarray:
    """One row per image: the image itself, then its views 1 .. views.

    `images` are (H, W, 3) uint8, all of one shape; `hashes` are those of their files' bytes, so
    that the views are the very ones a training sees; `names` are written below the images.
    Views beyond the distinct ones are left out. Returns (height, width, 3) uint8. Raises
    RecipeError without images, without views or with images of several shapes.
    """
    shapes = {image.shape for image in images}
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
    title, small, tiny = (ImageFont.load_default(size) for size in (20, 13, 12))
    lines = -(-views // _COLUMNS)
    columns = -(-views // lines)
    row_height = lines * (height + _CAPTION) + _GAP
    divider = _MARGIN + width + _GAP  # a line between the images and their views
    sheet_width = max(divider + _GAP + columns * (width + _GAP) - _GAP + _MARGIN, 420)
    settings = wrap(f"{augmentation}, seed {seed}", small, sheet_width - 2 * _MARGIN)
    top = _MARGIN + 34 + 18 * len(settings) + 16

    sheet = Image.new("RGB", (sheet_width, top + row_height * len(images) + _MARGIN // 2), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), "Views of the training images", _INK, title)
    for line, text in enumerate(settings):
        pen.text((_MARGIN, _MARGIN + 34 + 18 * line), text, _FAINT, small)
    bottom = top + row_height * len(images) - _GAP - 8
    pen.line([(divider, top), (divider, bottom)], _LINE)

    for row, (pixels, image_hash) in enumerate(zip(images, hashes, strict=True)):
        y = top + row * row_height
        caption = names[row] if names else "original"
        sheet.paste(Image.fromarray(pixels), (_MARGIN, y))
        pen.text((_MARGIN, y + height + 4), shorten(caption, tiny, width), _INK, tiny)
        for number in range(1, views + 1):
            line, column = divmod(number - 1, columns)
            x = divider + _GAP + column * (width + _GAP)
            below = y + line * (height + _CAPTION)
            changed = make_view(pixels, augmentation, seed=seed, image_hash=image_hash, view=number)
            sheet.paste(Image.fromarray(changed), (x, below))
            pen.text((x, below + height + 4), f"view {number}", _FAINT, tiny)
    return np.asarray(sheet)


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
