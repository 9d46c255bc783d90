"""Tables in memory: frames of pandas and Polars, data sets of Hugging Face, tables of Arrow, dicts
of lists. They are known by what they can do: no package of theirs is imported, or needed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from headstart.data.cells import (
    ORIGIN,
    Cells,
    from_root,
    name_classes,
    names_of_classes,
    open_cell,
    to_plain,
)
from headstart.data.columns import find_column
from headstart.data.parquet import read_kinds
from headstart.errors import DatasetError
from headstart.system.text import describe


def is_table(source: Any) -> bool:
    """Whether it has columns by name: a data frame, a data set, a dict of lists."""
    return (
        isinstance(source, Mapping) or hasattr(source, "column_names") or hasattr(source, "columns")
    )


def list_images(table: Any) -> list[Any]:
    """The images of a table's rows: a path, bytes or (H, W, 3) uint8 pixels each.

    Raises DatasetError where no column holds images, and for a cell that is none.
    """
    images = []
    for number, (image, _) in enumerate(Columns(table, None, labelled=False), 1):
        place, data = open_cell(Cells(ORIGIN, number, image, {}), encoded=False)
        images.append(place if data is None else data)
    return images


class Columns:
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
            rest = {n: to_plain(value) for n, value in record.items() if n != self.image}
            named = name_classes(rest, self.classes)
            facts = {name: value for name, value in named.items() if name != "label"}
            if self.label is not None:
                facts["label"] = facts.pop(self.label, named.get("label"))
            yield from_root(record[self.image]), facts

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
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            raise DatasetError(
                f"expected columns of one length, found {', '.join(map(str, sorted(lengths)))}. "
                "Give a label for each image"
            )
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
