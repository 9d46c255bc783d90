"""Labelled images as people have them, from a folder to a data frame -> where they lie on disk.

What is given in memory is kept in the cache folder, so that a run can be gone on with, shown and
explained as any other.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.address import file_name, read_address, to_place
from headstart.data.archive import keep_unpacked
from headstart.data.cells import (
    CALLED,
    ORIGIN,
    TABLE,
    Cells,
    from_root,
    is_fact,
    open_cell,
    to_plain,
    write_cells,
)
from headstart.data.frames import Columns, is_table
from headstart.data.split import SPLIT_NAMES
from headstart.errors import DatasetError
from headstart.system.lock import Hold
from headstart.system.text import describe

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
        sides = {side: _resolve(place) for side, place in self.sides.items()}
        return Source(_resolve(self.place), **sides, holds=self.holds)

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
        validation, test = (to_place(record[side]) if record.get(side) else None
                            for side in ("validation", "test"))  # fmt: skip
        return cls(to_place(record["source"]), validation, test)


def name_place(place: str | os.PathLike[str]) -> str:
    """What a place is called, without the folders that it is in."""
    address = read_address(os.fspath(place))
    return Path(place).name if address is None else file_name(address)


def _resolve(place: Path) -> Path:
    return place if read_address(place) else place.resolve()


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
    if has_splits(source):
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


def has_splits(source: Any) -> bool:
    """Whether it is several sources under the names of splits, as a DatasetDict has them."""
    if not isinstance(source, Mapping) or not source:
        return False
    splits = [SPLIT_NAMES.get(str(name).lower()) for name in source]
    return "train" in splits or all(splits)


def _take_sides(source: Mapping[str, Any], sides: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The training images, and those of the other sides."""
    taken = {SPLIT_NAMES.get(str(name).lower()): one for name, one in source.items()}
    main = taken.pop("train", None)
    twice = [side for side in sides if sides[side] is not None and side in taken]
    if main is None or None in taken or twice or len(taken) + 1 != len(source):
        raise DatasetError(
            "expected train, and perhaps validation and test, once each, found "
            f"{', '.join(map(describe, source))}"
            f"{''.join(f' and {side}=' for side in twice)}. Give a dict such as "
            '{"train": ..., "test": ...}'
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
        return Source(to_place(source))
    rows = _list_rows(source, labels)
    if next(iter(rows), None) is None:
        raise DatasetError(f"expected images, found none. Give {KINDS}")

    def fill(folder: Path) -> list[str]:
        write_cells(rows, Path.cwd(), folder, shutil.disk_usage(folder).free // 2)
        return []

    # "1" is the way they lie in their folder.
    kept = keep_unpacked(f"memory 1 {_digest(rows)}", "images given in memory", fill)
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
        content = data.tobytes() if isinstance(data, np.ndarray) else data or b""
        digest.update(f"{getattr(data, 'shape', '')} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Rows:
    """Images and what is known of each, which can be gone through again."""

    records: Iterable[tuple[Any, Mapping[str, Any]]]

    def __iter__(self) -> Iterator[Cells]:
        for number, (image, facts) in enumerate(self.records, 1):
            if not is_fact(facts.get("label")):
                raise DatasetError(
                    f"expected the label of image {number:,} as a text, a number or a list of "
                    f"these, found {describe(facts['label'])}. Give each class a name"
                )
            yield Cells(ORIGIN, number, image, facts)


def _list_rows(source: Any, labels: Any) -> _Rows:
    if not has_splits(source) and is_table(source):
        columns = Columns(source, labels)
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
        yield from_root(image), {"label": to_plain(label)}


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
