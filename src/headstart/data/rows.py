"""Many images as columns: what a list of items says of them, in some fifty bytes an image.

A list of items takes some hundreds of bytes an image, most of them for Python's objects. `Rows` is
such a list too, whose items are made as they are asked for; the functions here work on either.
Letters: N images.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from headstart.data.item import HASH_BYTES, Item, change_item, with_content

Some = TypeVar("Some", bound=Sequence[Item])
CONTENT = np.dtype(f"S{HASH_BYTES}")
AT_ONCE = 4096  # items that are there at a time when all are gone through


@dataclass(frozen=True)
class Column:
    """What N images have of a kind, such as their labels: image n has values[codes[n]]."""

    values: tuple[Any, ...]
    codes: np.ndarray

    @classmethod
    def of(cls, given: Iterable[Any]) -> "Column":
        """The values in the order in which they are met first."""
        coder = Coder()
        coder.add(given)
        return coder.column()

    def take(self, rows: np.ndarray) -> "Column":
        """Of some images, with only the values that they have, in the order of these images."""
        codes = self.codes[rows]
        used, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        return Column(tuple(self.values[used[place]] for place in order.tolist()), rank[inverse])


class Coder:
    """Makes a column of values that come one after the other."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.codes = array("i")

    def add(self, given: Iterable[Any]) -> None:
        """What the next images have."""
        numbers = self.numbers
        self.codes.extend(numbers.setdefault(value, len(numbers)) for value in given)

    def column(self) -> Column:
        """Of all so far."""
        return Column(tuple(self.numbers), np.frombuffer(self.codes, np.int32).copy())


@dataclass(frozen=True)
class Texts:
    """N texts as one: text n is what lies between two ends."""

    data: bytes | bytearray
    ends: np.ndarray

    def __getitem__(self, number: int) -> str:
        start = self.ends[number - 1] if number else 0
        return self.data[start : self.ends[number]].decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Table:
    """All that is known of N images. contents: (N,) their hashes. folder: where they lie; below it
    an image is at its name without the prefix. None where nobody can say: there `nowhere` stands
    for all.
    """

    names: Texts
    contents: np.ndarray
    columns: dict[str, Column]
    prefixes: Column
    folder: Path | None
    nowhere: Path

    def item(self, number: int) -> Item:
        """One of them."""
        name = self.names[number]
        prefix, labels, split, group = (
            column.values[column.codes[number]] for column in (self.prefixes, *(
                self.columns[field] for field in ("labels", "split", "group")))
        )  # fmt: skip
        path = self.folder / name if self.folder else self.nowhere
        key = self.contents[number].ljust(HASH_BYTES, b"\0")  # numpy drops zeros at the end
        return with_content(Item(path, prefix + name, labels, split, group), key)


class Rows(Sequence[Item]):
    """Some of the images of a table. numbers: (N,) which."""

    def __init__(self, table: Table, numbers: np.ndarray) -> None:
        self.table, self.numbers = table, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> "Rows": ...
    def __getitem__(self, place: int | slice) -> "Item | Rows":
        if isinstance(place, slice):
            return self.take(place)
        return self.table.item(int(self.numbers[place]))

    def __iter__(self) -> Iterator[Item]:
        for start in range(0, len(self), AT_ONCE):
            for number in self.numbers[start : start + AT_ONCE].tolist():
                yield self.table.item(number)

    def take(self, rows: "np.ndarray | slice") -> "Rows":
        """Some of them, by their places or a mask."""
        return Rows(self.table, self.numbers[rows])


class Named(Mapping[str, Item]):
    """Images of a table by their names: an index of hashes, not of names."""

    def __init__(self, rows: Rows) -> None:
        hashes = np.fromiter((hash(item.name) for item in rows), np.int64, len(rows))
        order = np.argsort(hashes)
        self.rows, self.hashes = rows.take(order), hashes[order]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return (item.name for item in self.rows)

    def __getitem__(self, name: str) -> Item:
        first, last = (np.searchsorted(self.hashes, hash(name), side) for side in ("left", "right"))
        for item in self.rows[int(first) : int(last)]:
            if item.name == name:
                return item
        raise KeyError(name)


def index_names(parts: Sequence[Sequence[Item]]) -> Mapping[str, Item]:
    """Images by their names; none of those that are known to be nowhere."""
    places: dict[str, Item] = {}
    for part in parts:
        if not isinstance(part, Rows):
            places |= {item.name: item for item in part}
        elif part.table.folder is not None:  # all parts are of one table
            every = np.concatenate([rows.numbers for rows in parts if isinstance(rows, Rows)])
            return Named(Rows(part.table, every))
    return places


def list_contents(items: Sequence[Item]) -> np.ndarray:
    """(N,) hashes of what the images hold. Equal ones are equal; zeros at the end are not shown."""
    if isinstance(items, Rows):
        contents: np.ndarray = items.table.contents[items.numbers]
        return contents
    return np.array([item.content_hash for item in items], CONTENT)


def list_column(items: Sequence[Item], field: str) -> Column:
    """The "labels", "split" or "group" of images, in the order in which they are met first."""
    if isinstance(items, Rows):
        return items.table.columns[field].take(items.numbers)
    return Column.of(getattr(item, field) for item in items)


def change(items: Some, field: str, column: Column) -> Some:
    """The same images with another split or group each."""
    if not isinstance(items, Rows):
        kind: Any = type(items)  # list or tuple
        changed: Some = kind(
            item if getattr(item, field) == (value := column.values[code])
            else change_item(item, **{field: value})
            for item, code in zip(items, column.codes.tolist(), strict=True)
        )  # fmt: skip
        return changed
    codes = np.zeros(len(items.table.contents), np.int32)
    codes[items.numbers] = column.codes
    columns = {**items.table.columns, field: Column(column.values, codes)}
    return Rows(replace(items.table, columns=columns), items.numbers)  # type: ignore[return-value]


def take(items: Sequence[Item], rows: np.ndarray) -> Sequence[Item]:
    """Some of the images, by a mask or their places."""
    if isinstance(items, Rows):
        return items.take(rows)
    return tuple(items[place] for place in np.arange(len(items))[rows].tolist())


def find_repeated(values: np.ndarray) -> np.ndarray:
    """(N,) which of them occur more than once."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    repeated: np.ndarray = counts[inverse] > 1
    return repeated
