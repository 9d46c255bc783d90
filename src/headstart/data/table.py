"""Tables of labelled images: CSV, JSON lines, Parquet."""

import csv
import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.data.cells import CALLED, UNLABELLED
from headstart.data.columns import COLUMNS, find_column
from headstart.data.item import Item, list_first, natural_key, to_class_name, to_printable
from headstart.data.parquet import SUFFIX, read_rows
from headstart.data.split import SPLIT_NAMES
from headstart.errors import DatasetError, cannot_read
from headstart.system.text import describe

TABLES = {".csv", ".tsv", ".jsonl", ".ndjson", SUFFIX}
ROWS = "Correct the rows, such as path 1.jpg and label cats"
MOST_TOLD = 20  # columns that a message names
LONGEST = 4096  # letters of a path, a label, a split or a group
MISSING = {"nan", "none", "null", "n/a", "na", "<na>"}  # as libraries of tables write no label


@dataclass(frozen=True)
class Row:
    """One line of a table; `line` counts from 1 and includes the header."""

    line: int
    path: str
    label: str
    split: str | None
    group: str | None = None
    name: str | None = None
    unlabelled: bool = False


def _names(records: Sequence[tuple[int, Mapping[str, Any]]]) -> list[str]:
    """The columns of all records: a line of JSON need not have each. None is a surplus cell."""
    return list(dict.fromkeys(name for _, record in records for name in record if name is not None))


def _lower(name: object) -> str:
    return str(name).strip().lower()


def read_table(path: Path, groups: str | None = None, told: Path | None = None) -> list[Row]:
    """The rows of a table; `groups` is the column that tells an image's group, if it has that one.

    told: what messages call it, where it is one that `cells` wrote. Raises DatasetError for a
    missing column, path, label or group, and for a cell that is no text and no number.
    """
    records = list(_records(path))
    path = told or path
    if not records:
        raise DatasetError(f"expected rows in {path}, found none. {ROWS}")
    columns = _names(records)
    names = {part: _column(part, columns, path) for part in COLUMNS}
    if groups is not None:
        names["group"] = next((name for name in columns if _lower(name) == _lower(groups)), None)
    if told is not None and CALLED in columns:
        names["name"] = CALLED
    required = ["path", *(["group"] if names.get("group") is not None else [])]
    rows, unlabelled = [], 0
    for line, record in records:
        where = f"line {line} of {path}"
        cells = {
            part: to_text(record.get(name), part, where) for part, name in names.items() if name
        }
        for part in required:
            if not cells[part]:
                raise DatasetError(f"expected a {part} in {where}, found none. {ROWS}")
        unknown = told is not None and bool(record.get(UNLABELLED))
        if not cells["label"] and not unknown:
            unlabelled = unlabelled or line
        split, group = cells.get("split") or None, cells.get("group")
        name = cells.get("name") or None
        rows.append(Row(line, cells["path"], cells["label"], split, group, name, unknown))
    if unlabelled and not any(";" in row.label or "|" in row.label for row in rows):
        # Only where images may have several classes may one have none.
        raise DatasetError(f"expected a label in line {unlabelled} of {path}, found none. {ROWS}")
    return rows


def to_text(value: Any, part: str, where: str) -> str:
    """A cell as text, "" for a missing one: None, and nan, which libraries of tables write for it.
    Of labels there may be a list.
    """
    if part == "label" and isinstance(value, list):
        return ";".join(filter(None, (to_text(one, "class", where) for one in value)))
    if value is None or value != value:
        return ""
    text = str(value).strip() if isinstance(value, str | int | float) else None
    if text is None or len(text) > LONGEST:
        found = describe(value) if text is None else f"a text of {len(text):,} letters"
        raise DatasetError(
            f"expected the {part} as a short text or a number in {where}, found {found}. {ROWS}"
        )
    return text


def parse_labels(text: str) -> tuple[str, ...]:
    """The classes of a cell such as "a;b", in natural order."""
    names = {to_class_name(part.strip()) for part in text.replace("|", ";").split(";")} - {""}
    return tuple(sorted(names, key=natural_key))


def parse_split(text: str, where: str) -> str:
    """The split of that name. Raises DatasetError if there is none."""
    split = SPLIT_NAMES.get(text.lower())
    if split is None:
        raise DatasetError(
            f"expected a split among train, validation and test, found {describe(text)} "
            f"in {where}. Correct the rows"
        )
    return split


def _column(part: str, columns: list[str], path: Path) -> str | None:
    column = find_column(part, columns)
    if column is not None or part == "split":
        return column
    by_lower = {name.strip().lower(): name for name in columns}
    near = difflib.get_close_matches(part, by_lower, n=1)
    hint = f" Did you mean {describe(by_lower[near[0]])}?" if near else ""
    raise DatasetError(
        f"expected a column {part!r} in {path}, found {_list_columns(columns)}.{hint} "
        f"Name it {part}"
    )


def _list_columns(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_TOLD:,} more" if len(names) > MOST_TOLD else ""
    return ", ".join(map(describe, names[:MOST_TOLD])) + more


def stream_paths(path: Path) -> Iterator[str]:
    """The paths that a table names, row by row; no more of it is held than a few rows.

    Where a row has none, its number stands for it in a name that no file has. Raises DatasetError
    as `read_table` does, where the row stands; labels are not asked for.
    """
    column: str | None = None
    for line, record in _records(path):
        if column is None:
            column = _column("path", _names([(line, record)]), path) or ""  # never None for paths
        where = f"line {line} of {path}"
        cell = to_text(record.get(column), "path", where)
        yield cell or f"(no path in line {line} of {path.name})"


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each row with its number, read as it is asked for."""
    suffix = path.suffix.lower()
    try:
        if suffix == SUFFIX:
            yield from enumerate(read_rows(path), 1)
            return
        with path.open(encoding="utf-8-sig", newline="") as file:
            if suffix in (".jsonl", ".ndjson"):
                yield from _json_lines(file, path)
                return
            sample = file.read(4096)
            file.seek(0)
            delimiter = "\t" if suffix == ".tsv" else _delimiter(sample)
            reader = csv.DictReader(file, delimiter=delimiter)
            for row in reader:
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise DatasetError(
            cannot_read(path, error, "text in UTF-8", "Save the table in UTF-8 and try again")
        ) from error
    except (OSError, csv.Error) as error:
        kinds = ", ".join(sorted(TABLES))
        raise DatasetError(
            cannot_read(path, error, f"a table ({kinds})", "Save it anew, or give another table")
        ) from error


def _delimiter(sample: str) -> str:
    header = sample.split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _json_lines(file: Iterable[str], path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DatasetError(
                cannot_read(
                    f"line {number} of {path}", error, "an object in JSON",
                    'Correct that line: {"path": "1.jpg", "label": "cats"}',
                )
            ) from error  # fmt: skip
        if not isinstance(record, dict):
            raise DatasetError(
                f"expected an object in line {number} of {path}, found {describe(record)}. "
                'Correct that line: {"path": "1.jpg", "label": "cats"}'
            )
        yield number, record


def table_items(
    path: Path,
    groups: str | None,
    told: Path | None = None,
    is_there: Callable[[Path, str], bool] | None = None,
) -> tuple[list[Item], list[str]]:
    """The images of a table and what the user should know. groups: a column, or something else.
    told: what messages call the table. is_there: whether there is an image in a place, of which the
    table writes so; by default whether there is a file.

    Raises DatasetError as `read_table` does, for a split that there is not, and where no file is.
    """
    rows, folder = read_table(path, groups, told), path.parent
    path = told or path
    items, missing, repeated = [], [], 0
    unlabelled = sum(row.unlabelled for row in rows)
    if unlabelled == len(rows):
        raise DatasetError(
            f"expected labels in {path}, found none: its {unlabelled:,} images are of no class. "
            "Give others, or type: headstart predict RUN with these"
        )
    seen: dict[Path, Item] = {}
    for row in rows:
        if row.unlabelled:
            continue
        file = folder / row.path
        if not (is_there(file, row.path) if is_there else is_file(file)):
            missing.append(row.path)
            continue
        split = parse_split(row.split, f"line {row.line} of {path}") if row.split else None
        names = set(parse_labels(row.label))
        before = seen.get(file)
        if before is not None:
            if names <= set(before.labels):
                repeated += 1
                continue
            names |= set(before.labels)
        labels = tuple(sorted(names, key=natural_key))
        group = None if row.group is None else to_printable(row.group)
        seen[file] = Item(file, to_printable(row.name or row.path), labels, split, group)
    items = list(seen.values())
    warnings = []
    if missing:
        if not items:
            raise DatasetError(
                f"expected paths relative to {path.parent}, found none of the {len(missing)} "
                f"files, such as {list_first(missing[:1])}. Correct the paths, or put the table "
                "where they begin"
            )
        warnings.append(f"{len(missing)} files of the table are missing: {list_first(missing)}")
    if unlabelled:
        warnings.append(f"{unlabelled:,} images without a label are left out")
    if repeated:
        warnings.append(f"{repeated} rows of the table are repeated: each counted once")
    doubtful = sorted({name for item in items for name in item.labels if name.lower() in MISSING})
    if doubtful:
        warnings.append(
            f"the class {', '.join(doubtful)} is perhaps no class but missing labels: if so, "
            "remove these rows"
        )
    return items, warnings


def is_file(path: Path) -> bool:
    """Whether there is one."""
    try:
        return path.is_file()
    except OSError:  # a name that no file system takes
        return False
