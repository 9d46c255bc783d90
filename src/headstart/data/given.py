"""Labelled images as people have them, from a folder to a data frame -> where they lie on disk.

What is given in memory is kept in the cache folder, so that a run can be gone on with, shown and
explained as any other. Pandas, Polars and Hugging Face's datasets are known by what they can do:
none of them is imported, or needed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.archive import keep_unpacked
from headstart.data.cells import (
    CALLED,
    TABLE,
    Cells,
    is_fact,
    name_classes,
    names_of_classes,
    open_cell,
    write_cells,
)
from headstart.data.columns import find_column
from headstart.data.parquet import read_kinds
from headstart.data.split import SPLIT_NAMES
from headstart.errors import DatasetError
from headstart.system.lock import Hold
from headstart.system.text import describe

ORIGIN = "image"  # what an image without a name is called, with its number
KINDS = (
    "a folder, a table, an archive, a list of (image, label), images with labels=, a data frame or "
    "a data set of Hugging Face"
)


@dataclass(frozen=True)
class Source:
    """Where labelled images lie: a folder, table, archive or Parquet. validation, test: places of
    images that are on that side of the split, if they lie elsewhere.
    """

    place: Path
    validation: Path | None = None
    test: Path | None = None
    holds: tuple[Hold | None, ...] = field(default=(), repr=False, compare=False)

    def __fspath__(self) -> str:
        return str(self.place)

    def __str__(self) -> str:
        return str(self.place)

    @property
    def sides(self) -> dict[str, Path]:
        """The places of images that are on one side of the split."""
        places = {"validation": self.validation, "test": self.test}
        return {side: place for side, place in places.items() if place is not None}

    @property
    def words(self) -> list[str]:
        """As they are typed after headstart train."""
        typed = [(f"--{side}", str(place)) for side, place in self.sides.items()]
        return [str(self.place), *chain.from_iterable(typed)]

    def resolve(self) -> "Source":
        """The same places, named from the root."""
        sides = {side: place.resolve() for side, place in self.sides.items()}
        return Source(self.place.resolve(), **sides, holds=self.holds)

    def to_dict(self) -> dict[str, str]:
        """As a run notes it: what can be found again from any folder."""
        found = self.resolve()
        return {
            "source": str(found.place),
            **{side: str(place) for side, place in found.sides.items()},
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Source":
        """What a run has noted."""
        validation, test = (Path(record[side]) if record.get(side) else None
                            for side in ("validation", "test"))  # fmt: skip
        return cls(Path(record["source"]), validation, test)


def settle(source: Any, labels: Any = None, validation: Any = None, test: Any = None) -> Source:
    """Where the images lie, once what is in memory has been written into the cache folder.

    source: a path; a list of (image, label); N images with as many `labels`, as arrays
    (N, H, W, 3) uint8, or one by one: paths, bytes, PIL images, arrays; columns by name, as a data
    frame, a data set or a dict has them, whose label is in the column `labels` if that is a name;
    or any of these under "train", "validation" and "test". validation, test: as source; of images
    on that side alone.
    Raises DatasetError for anything else and for an image that is none, CacheError.
    """
    sides = {"validation": validation, "test": test}
    if _has_splits(source):
        source, sides = _take_sides(source, sides)
    settled = {side: settle(one, labels if isinstance(labels, str) else None)
               for side, one in sides.items() if one is not None}  # fmt: skip
    main = source if isinstance(source, Source) else _settle(source, labels)
    for side, one in settled.items():
        if one.sides:
            raise DatasetError(
                f"expected one place for {side}, found one with {' and '.join(one.sides)} of its "
                "own. Give a folder with one folder for each class"
            )
    places = {side: one.place for side, one in settled.items()}
    holds = tuple(chain(main.holds, *(one.holds for one in settled.values())))
    return Source(main.place, **{**main.sides, **places}, holds=holds)


def _has_splits(source: Any) -> bool:
    """Whether it is several sources under the names of splits, as a DatasetDict has them."""
    return isinstance(source, Mapping) and any(
        isinstance(name, str) and name.lower() in SPLIT_NAMES for name in source
    )


def _take_sides(source: Mapping[str, Any], sides: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The training images, and those of the other sides."""
    taken = {SPLIT_NAMES.get(str(name).lower()): one for name, one in source.items()}
    main = taken.pop("train", None)
    twice = [side for side in sides if sides[side] is not None and side in taken]
    if main is None or None in taken or twice or len(taken) + 1 != len(source):
        raise DatasetError(
            "expected train, and perhaps validation and test, once each, found "
            f"{', '.join(map(describe, source))}"
            f"{''.join(f' and {side}=' for side in twice)}. Type: train={{...}} with these"
        )
    return main, {**sides, **{str(side): one for side, one in taken.items()}}


def _settle(source: Any, labels: Any) -> Source:
    if isinstance(source, str | os.PathLike):
        if labels is not None:
            raise DatasetError(
                f"expected images beside labels=, found the place {describe(os.fspath(source))}, "
                "whose folders or table have the labels. Type: it without labels="
            )
        check_named(source)
        return Source(Path(source))
    rows = _list_rows(source, labels)
    first = next(iter(rows()), None)
    if first is None:
        raise DatasetError(f"expected images, found none. Give {KINDS}")

    def fill(folder: Path) -> list[str]:
        write_cells(rows(), Path.cwd(), folder, shutil.disk_usage(folder).free // 2)
        return []

    # "1" is the way they lie in their folder.
    kept = keep_unpacked(f"memory 1 {_digest(rows())}", "images given in memory", fill)
    return Source(kept.folder / TABLE, holds=(kept.hold,))


def check_named(source: "str | os.PathLike[str]") -> None:
    """Raises DatasetError for an empty name, which Path would take for the current folder."""
    if source == "":
        raise DatasetError(
            "expected a folder, table or archive, found an empty name. Type: . for the folder here"
        )


def _digest(rows: Iterable[Cells]) -> str:
    """Of images and all that is known of them."""
    digest = hashlib.sha256()
    for row in rows:
        place, data = open_cell(row, encoded=False)
        facts = {name: value for name, value in row.facts.items() if is_fact(value)}
        digest.update(json.dumps([place, facts], sort_keys=True).encode())
        if isinstance(data, np.ndarray):
            digest.update(str(data.shape).encode())
        digest.update(b"" if data is None else np.ascontiguousarray(data).data
                      if isinstance(data, np.ndarray) else data)  # fmt: skip
    return digest.hexdigest()


class _Rows:
    """Rows that can be asked for again."""

    def __init__(self, records: Iterable[tuple[Any, Mapping[str, Any]]]) -> None:
        self.records = records

    def __call__(self) -> Iterator[Cells]:
        for number, (image, facts) in enumerate(self.records, 1):
            if not is_fact(facts.get("label")):
                raise DatasetError(
                    f"expected the label of image {number:,} as a text, a number or a list of "
                    f"these, found {describe(facts['label'])}. Give each class a name"
                )
            yield Cells(ORIGIN, number, image, facts)


def _list_rows(source: Any, labels: Any) -> _Rows:
    if is_table(source):
        columns = _Columns(source, labels)
        first = next(iter(columns), (None, None))[0]
        return _Rows(_name_paths(columns) if isinstance(first, str) else columns)
    if not isinstance(source, Iterable) or isinstance(source, bytes | bytearray | memoryview):
        raise DatasetError(f"expected {KINDS}, found {describe(source)}")
    if labels is None:
        pairs = [_pair(one, number) for number, one in enumerate(source, 1)]
        return _Rows(_name_paths(_label(pairs)))
    images, given = list(source), list(labels)
    if len(images) != len(given):
        raise DatasetError(
            f"expected a label for each image, found {len(given):,} labels of {len(images):,} "
            "images. Give as many"
        )
    return _Rows(_name_paths(_label(zip(images, given, strict=True))))


def _pair(one: Any, number: int) -> tuple[Any, Any]:
    if isinstance(one, tuple | list) and len(one) == 2:
        return one[0], one[1]
    raise DatasetError(
        f"expected (image, label) as element {number}, found {describe(one)}. Give such pairs, or "
        "the labels by themselves: labels=[...]"
    )


def _label(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, dict[str, Any]]]:
    for image, label in pairs:
        yield _absolute(image), {"label": _plain(label)}


def _name_paths(
    rows: Iterable[tuple[Any, dict[str, Any]]],
) -> list[tuple[Any, dict[str, Any]]]:
    """Images that are files, called by their place below the folder that holds all of these."""
    rows = list(rows)
    paths = [image for image, _ in rows if isinstance(image, str)]
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    except ValueError:  # on several drives
        return rows
    return [(image, {**facts, CALLED: Path(os.path.relpath(image, common)).as_posix()}
             if isinstance(image, str) else facts) for image, facts in rows]  # fmt: skip


def _absolute(image: Any) -> Any:
    """A path named from the root, also one without the bytes that might stand beside it."""
    if isinstance(image, Mapping) and image.get("bytes") is None and "path" in image:
        image = image["path"]
    if isinstance(image, str | os.PathLike):
        return os.path.abspath(os.path.expanduser(os.fspath(image)))
    return image


def _plain(value: Any) -> Any:
    """A number or text as Python has it; several classes as a list."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple | set | frozenset) else value


# --- columns ------------------------------------------------------------------------------
def is_table(source: Any) -> bool:
    """Whether it has columns by name: a data frame, a data set, a dict of lists."""
    if isinstance(source, Mapping):
        return not _has_splits(source)
    return hasattr(source, "column_names") or hasattr(source, "columns")


def list_images(table: Any) -> list[Any]:
    """The images of a table's rows: a path, bytes or (H, W, 3) uint8 pixels each.

    Raises DatasetError where no column holds images, and for a cell that is none.
    """
    images = []
    for row in _Rows(_Columns(table, None, labelled=False))():
        place, data = open_cell(row, encoded=False)
        images.append(place if data is None else data)
    return images


class _Columns:
    """The rows of a table: image, and all else that is known of it. labels: the name of the column
    with the label, if it is not called so.
    """

    def __init__(self, table: Any, labels: Any, *, labelled: bool = True) -> None:
        if labels is not None and not isinstance(labels, str):
            raise DatasetError(
                f"expected the name of a column as labels= of a table, found {describe(labels)}. "
                "Type: labels='species'"
            )
        self.names = [str(name) for name in _column_names(table)]
        kinds = getattr(table, "features", None) or read_kinds(getattr(table, "schema", None))
        self.image = self._find_image(kinds, table)
        self.label = self._find_label(labels, kinds) if labelled else None
        self.classes = {name: names for name in self.names
                        if name in kinds and (names := names_of_classes(kinds[name]))}  # fmt: skip
        self.table = _undecoded(table, self.image, kinds)

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        for record in _records(self.table, self.names):
            rest = {n: _plain(value) for n, value in record.items() if n != self.image}
            named = name_classes(rest, self.classes)
            facts = {"label" if n == self.label else n: value for n, value in named.items()}
            yield _absolute(record[self.image]), facts

    def _find_image(self, kinds: Mapping[str, Any], table: Any) -> str:
        said = [name for name in self.names if type(kinds.get(name)).__name__ == "Image"]
        found = said[0] if len(said) == 1 else find_column("path", said or self.names)
        if found is None:
            first = next(_records(table, self.names), {})
            held = [name for name, cell in first.items() if _is_image(cell)]
            found = held[0] if len(held) == 1 else None
        if found is None:
            raise DatasetError(
                f"expected a column 'image' or 'path', found {self._tell_names()}. Name it image"
            )
        return found

    def _find_label(self, labels: str | None, kinds: Mapping[str, Any]) -> str:
        known = [name for name in self.names if name in kinds and names_of_classes(kinds[name])]
        found = labels or find_column("label", self.names) or (known[0] if len(known) == 1 else "")
        if found not in self.names:
            raise DatasetError(
                f"expected a column {describe(labels or 'label')}, found {self._tell_names()}. "
                "Type: labels= with its name"
            )
        return found

    def _tell_names(self) -> str:
        return ", ".join(map(describe, self.names[:20])) or "none"


def _column_names(table: Any) -> Iterable[Any]:
    if isinstance(table, Mapping):
        return table.keys()
    names = getattr(table, "column_names", None)
    if names is None:
        names = getattr(table, "columns", None)
    if names is None:  # a stream that does not know its columns before it is read
        return next(iter(table), {}).keys()
    return list(names)


def _records(table: Any, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """The rows, whatever makes them."""
    if hasattr(table, "to_pylist"):  # Arrow
        yield from table.to_pylist()
    elif hasattr(table, "iter_rows"):  # Polars
        yield from table.iter_rows(named=True)
    elif hasattr(table, "column_names"):  # Hugging Face
        yield from table
    else:
        columns = [table[name] for name in _column_names(table)]
        for row in zip(*columns, strict=True):
            yield dict(zip(names, row, strict=True))


def _undecoded(table: Any, image: str, kinds: Mapping[str, Any]) -> Any:
    """A data set that gives an image's own bytes, not pixels that would have to be packed anew."""
    kind: Any = kinds.get(image)
    if getattr(kind, "decode", False) is True and hasattr(table, "cast_column"):
        return table.cast_column(image, type(kind)(decode=False))
    return table


def _is_image(cell: Any) -> bool:
    held = isinstance(cell, bytes | bytearray | memoryview | np.ndarray) or hasattr(
        cell, "getbands"
    )
    return held or (isinstance(cell, Mapping) and "bytes" in cell)
