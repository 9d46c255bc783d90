"""Many images in one file, as big data sets lie: WebDataset's tar archives, Parquet. Read from a
file that is open anywhere, image after image, with memory for no more than a few.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from headstart.data.cells import Cells, name_cell, open_cell
from headstart.data.columns import find_column
from headstart.data.item import Held, to_printable
from headstart.data.parquet import read_cells
from headstart.data.samples import NO_ROOM, Names, read_samples
from headstart.data.table import parse_labels, parse_split, to_text
from headstart.images.size import MOST_FILE


def read_tar(
    file: BinaryIO,
    origin: str,
    *,
    groups: str | None = None,
    split: str | None = None,
    classes: Names | None = None,
) -> Iterator[Held]:
    """The images of a tar archive, as they come; it is read once from its beginning to its end.

    Their labels are what a member of the same stem says (`1.jpg` and `1.cls`, or `1.json`), else
    the last folder they are in, else `1.txt`. Names are `ORIGIN/MEMBER`, without an
    origin those of the members. groups: the field of the
    .json that tells the group. split: that of all images of which none is told. classes: names of
    numbered classes, unless the archive has its own `classes.txt` before them.
    Raises DatasetError for a damaged archive or label, StorageError where reading fails.
    """
    for row in read_samples(file, origin, classes=classes):
        place, data = open_cell(row)
        name = f"{origin}/{place}" if origin else str(place)
        yield _hold(row, data, name, NO_ROOM, groups, split)


def read_parquet_images(
    file: Any, origin: str, *, groups: str | None = None, split: str | None = None
) -> Iterator[Held]:
    """The images in the cells of a Parquet file, row by row, named as `dataset.load` names them.

    file: a path, or what pyarrow opens for random access (`open_input_file`). groups: the column
    that tells the group. split: that of all images of which no column tells one. An image whose
    cell has no bytes cannot be read. Raises DatasetError for a file that is damaged or has no
    images, MissingExtra.
    """
    taken: set[str] = set()  # of one file: shards have thousands of rows, not millions
    for row in read_cells(file, origin, split):
        place, data = open_cell(row)
        name = f"{origin}#{row.number}" if data is None else name_cell(row, place, data, taken)
        yield _hold(row, data, name, f"no image in {row.place}", groups, split)


def _hold(
    row: Cells, data: bytes | None, name: str, missing: str, groups: str | None, split: str | None
) -> Held:
    """The image with what the row says of it. missing: why there is none, where that is so."""
    if data is not None and len(data) > MOST_FILE:
        data, missing = None, NO_ROOM
    said = {part: to_text(row.facts[column], part, row.place)
            for part, column in _columns(row.facts, groups).items()}  # fmt: skip
    own, group = said.get("split"), said.get("group")
    return Held(
        Path("elsewhere"), to_printable(name), parse_labels(said.get("label", "")),
        parse_split(own, row.place) if own else split, to_printable(group) if group else None,
        data=data, missing=missing,
    )  # fmt: skip


def _columns(facts: Mapping[str, Any], groups: str | None) -> dict[str, str]:
    """Which fact is which."""
    found = {part: find_column(part, facts) for part in ("label", "split")}
    if groups is not None:
        own = groups.strip().lower()
        found["group"] = next((name for name in facts if name.strip().lower() == own), None)
    return {part: name for part, name in found.items() if name is not None}
