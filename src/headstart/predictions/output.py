"""Files of predictions, written as these come: CSV, JSON lines, Parquet.

What a killed process leaves is gone on with: whole rows stay, the beginning of one is cut off.
Beside the file stands NAME.about.json: which classifier said it, and what it was asked.
"""

import csv
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from headstart.classifier import Prediction
from headstart.errors import HeadstartError, MissingExtra, StorageError, cannot_read
from headstart.predictions.about import compare_about, write_about
from headstart.predictions.rows import ANSWERED, FAILED, Form, Row
from headstart.system.atomic import cannot_write, file_atomically
from headstart.system.json import dumps, loads
from headstart.system.lock import held_alone
from headstart.system.text import escape

ABOUT = ".about.json"
PARTS = ".parts"
PART = 8192  # rows of a part of Parquet: what a kill can cost


class Output(Protocol):
    """Where predictions go."""

    def write(self, prediction: Prediction) -> None:
        """One more row."""

    def flush(self) -> None:
        """Rows written so far can be read by others."""


class _File(Output, Protocol):
    path: Path

    def exists(self) -> bool: ...
    def read(self) -> Iterator[Row]:
        """The rows that are there; what is no whole row at the end is cut off."""
        ...

    def open(self) -> None: ...
    def close(self, *, whole: bool) -> None: ...


@contextmanager
def open_output(
    path: Path, form: Form, about: dict[str, Any], *, resume: bool = False
) -> Iterator[tuple[Output, Iterator[Row]]]:
    """The file to write to, its format by its suffix, and the rows it has, to be read first.

    about: what must be the same when it is gone on with. Raises HeadstartError for an unknown
    suffix, for a file that is there without `resume`, or with it was made by another classifier,
    with other options, or is being written by another process; StorageError.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise HeadstartError(
            f"expected --out with a file that ends in {', '.join(_KINDS)}, found {path}. "
            "Type: --out labels.csv"
        )
    file = kind(path, form)
    note = path.with_name(path.name + ABOUT)
    there = file.exists()
    if there and not resume:
        raise HeadstartError(
            f"expected a new file with --out, found one at {path}. Type: --resume to go on with "
            "it, or another name"
        )
    if there:
        compare_about(path, note, about)
    else:
        write_about(note, about)
    with held_alone(note) as alone:
        if not alone:
            raise HeadstartError(
                f"expected {path} to be written by nobody else, found another process that writes "
                "it. Wait for its end, or give another name"
            )
        whole = False
        try:
            rows = file.read() if there else iter(())
            yield _Opening(file), rows
            whole = True
        finally:
            file.close(whole=whole)


class _Opening:
    """Opens its file with the first row: until then what is there is read."""

    def __init__(self, file: _File) -> None:
        self.file, self.opened = file, False

    def write(self, prediction: Prediction) -> None:
        self._guard(self._write, prediction)

    def flush(self) -> None:
        if self.opened:
            self._guard(self.file.flush)

    def _write(self, prediction: Prediction) -> None:
        if not self.opened:
            self.file.open()
            self.opened = True
        self.file.write(prediction)

    def _guard(self, act: Any, *given: Any) -> None:
        try:
            act(*given)
        except StorageError:
            raise
        except OSError as error:
            raise cannot_write(self.file.path, 0, error) from error


# --- text ---------------------------------------------------------------------------------
class _Text:
    """A row a line."""

    def __init__(self, path: Path, form: Form) -> None:
        self.path, self.form = path, form
        self.file: BinaryIO | None = None

    def exists(self) -> bool:
        return self.path.exists()

    def header(self) -> str:
        return ""

    def line(self, prediction: Prediction) -> str:
        raise NotImplementedError

    def parse(self, line: str) -> Row:
        """What a line says; ValueError, KeyError, IndexError if it is none of ours."""
        raise NotImplementedError

    def read(self) -> Iterator[Row]:
        _cut_off(self.path)
        with self.path.open(encoding="utf-8", newline="\n") as file:
            header = self.header()
            for number, line in enumerate(file, 1):
                try:
                    if number > 1 or not header:
                        yield self.parse(line)
                    elif line != header:
                        raise ValueError(line.strip()[:80])
                except (ValueError, KeyError, IndexError, TypeError) as error:
                    where = f"line {number} of {self.path}"
                    advice = "Give another name, or mend the file"
                    raise HeadstartError(
                        cannot_read(where, error, "a row of predictions", advice)
                    ) from error

    def open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab", buffering=2**20)
        if not file.tell():
            file.write(self.header().encode())
        self.file = file

    def write(self, prediction: Prediction) -> None:
        assert self.file is not None
        self.file.write(self.line(prediction).encode())
        self.file.flush()  # microseconds: what a kill finds is all that was said

    def flush(self) -> None:
        assert self.file is not None
        self.file.flush()

    def close(self, *, whole: bool) -> None:
        if self.file is None and whole and not self.exists():
            self.open()  # a header alone, of no image
        if self.file is not None:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()


def _cut_off(path: Path) -> None:
    """What stands behind the last line's end was being written when the process was killed."""
    with path.open("rb+") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 2**16)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)


class _Csv(_Text):
    """Every cell is escaped, so that no line ends within one."""

    def header(self) -> str:
        return write_csv(self.form.columns)

    def line(self, prediction: Prediction) -> str:
        return write_csv(self.form.cells(prediction))

    def parse(self, line: str) -> Row:
        (cells,) = csv.reader([line])
        row = dict(zip(self.form.columns, cells, strict=True))
        return row["image"], FAILED if row["error"] else row.get("answer", ANSWERED)


def write_csv(cells: list[Any]) -> str:
    """One line of CSV, with its end."""
    text = io.StringIO()
    shown = ("" if c is None else f"{c:.6f}" if isinstance(c, float) else escape(c) for c in cells)
    csv.writer(text, lineterminator="\n").writerow(shown)
    return text.getvalue()


class _JsonLines(_Text):
    def line(self, prediction: Prediction) -> str:
        return dumps(self.form.describe(prediction)) + "\n"

    def parse(self, line: str) -> Row:
        row = loads(line.encode())
        return row["image"], FAILED if "error" in row else row.get("answer", ANSWERED)


# --- Parquet ------------------------------------------------------------------------------
class Table:
    """Predictions as rows of Parquet. Raises MissingExtra where there is no pyarrow."""

    def __init__(self, form: Form) -> None:
        self.form = form
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingExtra("writing Parquet", "parquet") from error
        self.arrow = pyarrow
        fields = [(name, self._kind(name)) for name in form.columns]
        if form.several:
            fields.append(("labels", pyarrow.list_(pyarrow.string())))
            fields.append(("probabilities", pyarrow.list_(pyarrow.float32())))
        self.schema = pyarrow.schema(fields)

    def _kind(self, column: str) -> Any:
        numbers = column.startswith("probability_" if self.form.several else "probability")
        return self.arrow.float32() if numbers else self.arrow.string()

    def cells(self, prediction: Prediction) -> list[Any]:
        """Of one row."""
        cells = self.form.cells(prediction)
        if self.form.several:
            labels, shares = prediction.labels, prediction.probabilities
            cells.append(None if labels is None else list(labels))
            cells.append(None if labels is None else [shares[label] for label in labels])
        return [escape(c) if isinstance(c, str) else c for c in cells]

    def build(self, rows: list[list[Any]]) -> Any:
        """An arrow table of rows of cells."""
        columns = [[row[k] for row in rows] for k in range(len(self.schema))]
        arrays = [self.arrow.array(c, f.type) for c, f in zip(columns, self.schema, strict=True)]
        return self.arrow.Table.from_arrays(arrays, schema=self.schema)


class _Parquet:
    """Parts beside the file while it is written, each whole or not there; one file in the end."""

    def __init__(self, path: Path, form: Form) -> None:
        self.path = path
        self.parts = path.with_name(path.name + PARTS)
        self.rows: list[list[Any]] = []
        self.count = 0
        self.table = Table(form)
        self.arrow, self.schema = self.table.arrow, self.table.schema

    def exists(self) -> bool:
        return self.path.exists() or self.parts.exists()

    def read(self) -> Iterator[Row]:
        if self.path.exists() and not self._is_first_part():
            yield from self._read(self.path)
            shutil.rmtree(self.parts, ignore_errors=True)  # all of them are in it
            return
        for part in self._list():
            yield from self._read(part)
            self.count += 1

    def _is_first_part(self) -> bool:
        first = self.parts / _name_part(0)
        return first.exists() and first.samefile(self.path)

    def _read(self, part: Path) -> Iterator[Row]:
        columns = [name for name in ("image", "answer", "error") if name in self.schema.names]
        try:
            with self.arrow.parquet.ParquetFile(part) as file:
                if not file.schema_arrow.equals(self.schema):
                    raise ValueError(f"columns {', '.join(file.schema_arrow.names)}")
                for batch in file.iter_batches(PART, columns=columns):
                    for row in batch.to_pylist():
                        answer = row.get("answer", ANSWERED)
                        yield row["image"], FAILED if row["error"] else answer
        except (ValueError, KeyError, self.arrow.ArrowException) as error:
            advice = "Give another name, or move the file away"
            raise HeadstartError(
                cannot_read(part, error, "rows of predictions in Parquet", advice)
            ) from error

    def open(self) -> None:
        self.parts.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not self._is_first_part():
            # It was whole, and more is to come: it becomes the first part, and stays there too
            # until the new one takes its place.
            try:
                os.link(self.path, self.parts / _name_part(0))
            except OSError:  # no links on this file system
                os.replace(self.path, self.parts / _name_part(0))
            self.count = 1

    def write(self, prediction: Prediction) -> None:
        self.rows.append(self.table.cells(prediction))
        if len(self.rows) >= PART:
            self._write_part()

    def flush(self) -> None:
        """Parts are written when they are full, and at the end."""

    def _write_part(self) -> None:
        if not self.rows:
            return
        with file_atomically(self.parts / _name_part(self.count)) as temporary:
            self.arrow.parquet.write_table(self.table.build(self.rows), temporary)
        self.count += 1
        self.rows = []

    def close(self, *, whole: bool) -> None:
        if self.rows:
            self._write_part()
        if not whole or (self.path.exists() and not self._list()):
            return
        with (
            file_atomically(self.path) as temporary,
            self.arrow.parquet.ParquetWriter(temporary, self.schema) as writer,
        ):
            for part in self._list():
                with self.arrow.parquet.ParquetFile(part) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group))
        shutil.rmtree(self.parts, ignore_errors=True)

    def _list(self) -> list[Path]:
        return sorted(self.parts.glob("[0-9]*.parquet"))


def _name_part(number: int) -> str:
    return f"{number:08}.parquet"


_KINDS: dict[str, Any] = {
    ".csv": _Csv, ".jsonl": _JsonLines, ".ndjson": _JsonLines, ".parquet": _Parquet
}  # fmt: skip
SUFFIXES = tuple(_KINDS)
