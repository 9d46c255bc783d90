"""Images in the cells of a table (bytes, pixels, or paths): as files with a table beside them, in
the cache folder.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, overload

import numpy as np

from headstart.data.archive import take
from headstart.data.item import to_printable
from headstart.errors import BadImage, DatasetError
from headstart.images.decode import from_pixels, recognise
from headstart.system.text import describe, shorten

TABLE = "images.jsonl"
CALLED = "_called"  # its column with what to call an image, where that is not its path
UNLABELLED = "_unlabelled"  # its column that says of an image that nobody has told its class
NO_CLASS = -1  # as data sets write that
ORIGIN = "image"  # what one without a file is called, with its number
LONGEST = 120  # bytes of a file's name that are kept in one of ours
NUMBERED = re.compile(r"#\d+$")  # in the end of a name without suffix: what `name_cell` calls so
SUFFIXES = {"Jpeg": ".jpg", "Tiff": ".tif"}  # of files whose format has another usual one


@dataclass(frozen=True)
class Cells:
    """A row. origin: what it is in, as it is to be told (`photos.parquet`). number: from 1. image:
    bytes, a path, {"bytes": ..., "path": ...}, pixels, or None. facts: all else that is known,
    label, split and group among it.
    """

    origin: str
    number: int
    image: Any
    facts: Mapping[str, Any]

    @property
    def place(self) -> str:
        """As a message tells it."""
        return f"row {self.number:,} of {self.origin}"


def write_cells(rows: Iterable[Cells], base: Path, folder: Path, room: int) -> None:
    """Each image as a file in the folder, of the bytes that it came as, or as PNG where there were
    only pixels; and the table of all. Paths, relative to `base`, stay where they are.

    An image's file is called `ORIGIN#NUMBER.jpg`, or as it had been called: `ORIGIN#ant.jpg`.
    room: bytes that they may have in all. Raises DatasetError for a cell that holds no image, or
    one that has no room.
    """
    taken: set[str] = set()
    with (folder / TABLE).open("w", encoding="utf-8") as table:
        for row in rows:
            place, data = open_cell(row)
            if data is None:
                path = f"{row.origin}#{row.number}" if place is None else os.path.join(base, place)
            else:
                try:
                    room = take("the image", len(data), room)
                except ValueError as error:
                    raise _no_image(row, str(error)) from error
                path = name_cell(row, place, data, taken)
                file = folder / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            facts = {name: value for name, value in row.facts.items() if is_fact(value)}
            table.write(json.dumps({**facts, "path": path}) + "\n")


def is_fact(value: Any) -> bool:
    """Whether a cell is a text, a number, nothing, or a list of texts and numbers."""
    if isinstance(value, list):
        return all(isinstance(one, str | int | float) for one in value)
    return value is None or isinstance(value, str | int | float)


@overload
def open_cell(row: Cells) -> tuple[str | None, bytes | None]: ...
@overload
def open_cell(
    row: Cells, *, encoded: Literal[False]
) -> tuple[str | None, bytes | np.ndarray | None]: ...
def open_cell(row: Cells, *, encoded: bool = True) -> tuple[str | None, bytes | np.ndarray | None]:
    """Path and bytes of the image, as far as the cell has them; of pixels as PNG, or where they
    need not be encoded as they are, (H, W, 3) uint8. Raises DatasetError.
    """
    image: Any = row.image
    place = None
    if isinstance(row.image, Mapping):  # as Hugging Face's datasets write it
        image, place = row.image.get("bytes"), row.image.get("path")
        if not isinstance(place, str | None):
            raise _no_image(row, describe(place))
        if image is None:
            image = place
    if image is None or (isinstance(image, float) and image != image):
        return None, None
    if isinstance(image, str | os.PathLike):
        return os.path.expanduser(os.fspath(image)), None
    if isinstance(image, bytes | bytearray | memoryview):
        return place, bytes(image)
    try:
        pixels = from_pixels(image)
        return place or getattr(image, "filename", None), encode(pixels) if encoded else pixels
    except BadImage as error:
        raise _no_image(row, error.reason) from error


def from_root(image: Any) -> Any:
    """A path named from the root, also one without the bytes that might stand beside it."""
    if isinstance(image, Mapping) and image.get("bytes") is None and "path" in image:
        image = image["path"]
    if isinstance(image, str | os.PathLike):
        return os.path.abspath(os.path.expanduser(os.fspath(image)))
    return image


def to_plain(value: Any) -> Any:
    """A number or text as Python has it; several classes as a list."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple | set | frozenset) else value


def encode(pixels: np.ndarray) -> bytes:
    """PNG of (H, W, 3) uint8 pixels: which are the same again when it is decoded."""
    import cv2

    done, data = cv2.imencode(".png", pixels[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise BadImage(f"pixels of shape {pixels.shape}, which cannot be written as PNG")
    return data.tobytes()


def _no_image(row: Cells, found: str) -> DatasetError:
    return DatasetError(
        f"expected an image in {row.place}: bytes, a path, an array or a PIL image, found: "
        f"{found}. Correct the rows"
    )


def name_cell(row: Cells, place: str | None, data: bytes, taken: set[str]) -> str:
    """Of its file: by what it had been called where that is new, else by its number. taken: the
    names so far, to which it is added.
    """
    kind = recognise(data)
    suffix = SUFFIXES.get(kind, f".{kind.lower()}") if kind else ""
    if place is not None:
        own = PurePosixPath(place.replace("\\", "/"))
        stem = shorten(to_printable(own.stem), LONGEST)
        name = f"{row.origin}#{stem}{suffix or to_printable(own.suffix)[:8]}"
        if stem and name not in taken:
            taken.add(name)
            return name
    taken.add(name := f"{row.origin}#{row.number}{suffix}")
    return name


def names_of_classes(kind: Any) -> tuple[str, ...] | None:
    """What the numbers of a column mean, by Hugging Face's description of it; None if they mean
    nothing. Of lists of numbers, what those mean that are in them.
    """
    if isinstance(kind, Sequence) and not isinstance(kind, str) and len(kind) == 1:
        return names_of_classes(kind[0])
    names, inner = _get(kind, "names"), _get(kind, "feature")
    if isinstance(names, Sequence) and not isinstance(names, str):
        return tuple(map(str, names))
    return None if inner is None else names_of_classes(inner)


def name_classes(
    facts: Mapping[str, Any], classes: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """The facts with the classes that numbers stand for, by column; of NO_CLASS that it is so."""
    named = {name: _name_class(value, classes.get(name, ())) for name, value in facts.items()}
    if any(facts[name] == NO_CLASS for name in classes if name in facts):
        named[UNLABELLED] = True
    return named


def _name_class(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_name_class(one, names) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and -1 <= value < len(names):
        return None if value == NO_CLASS else names[value]
    return value


def _get(kind: Any, name: str) -> Any:
    return kind.get(name) if isinstance(kind, Mapping) else getattr(kind, name, None)
