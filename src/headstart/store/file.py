"""A file of features: Parquet, so that any tool reads it, whole or not at all.

A row is an image: `key` (16 bytes that stand for its content), `name`, `labels`, `split`, `group`
and `features`, D numbers in 32 or 16 bits. What the numbers are stands in the schema's metadata
under `headstart`, as JSON. Every page of the file has a checksum.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart import __version__
from headstart.data.item import Item
from headstart.data.parquet import FEATURES
from headstart.data.rows import CONTENT
from headstart.errors import DatasetError, MissingExtra, RecipeError, cannot_read
from headstart.features.extractor import Extractor
from headstart.recipe import Recipe
from headstart.store.folder import Folder
from headstart.system.json import dumps, loads

FORMAT = 1
FACTS = ["key", "name", "labels", "split", "group"]
DTYPES = {"f32": np.float32, "f16": np.float16}
BATCH = 512  # rows read at a time
# The choices of a recipe that shape the numbers; how heads see several cuts goes with them.
SHAPING = ("backbone", "weights", "size", "resize", "interpolation", "normalisation", "cut",
           "pooling", "precision", "fusion")  # fmt: skip
SAME = 1e-4  # of the largest number: what rounding of f32 on another processor comes to
ADVICE = "Remove it and type the headstart features command again, which makes what is missing"


class Damaged(Exception):
    """A file that is not what was written."""


def measure_distance(canary: np.ndarray, other: np.ndarray) -> float:
    """How far another's (D,) numbers of a fixed image are from these, at most, as a share of the
    largest.
    """
    if canary.shape != other.shape:
        return np.inf
    largest = max(float(np.abs(canary).max()), 1e-12)
    return float(np.abs(other - canary).max()) / largest


@dataclass(frozen=True)
class Header:
    """What a file says of its numbers. extractor: the fingerprint. description: all that shapes
    them, the place of each cut's numbers (`slices`) among it. recipe: the choices by which to open
    that extractor again. canary: (D,) features of one fixed image. base: the folder that names are
    relative to, "" where there is none. bad: images that were left out, with reasons.
    """

    extractor: str
    description: dict[str, Any]
    recipe: dict[str, Any]
    canary: np.ndarray
    dtype: str
    base: str = ""
    bad: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, extractor: Extractor, recipe: Recipe, dtype: str) -> "Header":
        """Of what this processor computes."""
        choices = recipe.model_dump(mode="json", include=set(SHAPING))
        choices["precision"] = extractor.description["precision"]
        return cls(extractor.fingerprint, extractor.description, choices, extractor.canary(), dtype)

    @property
    def mark(self) -> str:
        """What tells networks apart."""
        return self.extractor

    @property
    def dimensions(self) -> int:
        """D."""
        return len(self.canary)

    def distance(self, canary: np.ndarray) -> float:
        """How far another's (D,) features of the fixed image are from these, at most, as a share of
        the largest.
        """
        return measure_distance(self.canary, canary)

    def to_json(self) -> bytes:
        """As `parse` reads it."""
        return dumps({
            "format": FORMAT, "headstart": __version__, "extractor": self.extractor,
            "description": self.description, "recipe": self.recipe, "dtype": self.dtype,
            "canary": [float(f"{number:.9g}") for number in self.canary], "base": self.base,
            "unreadable": [list(one) for one in self.bad],
        }).encode()  # fmt: skip

    @classmethod
    def parse(cls, text: bytes) -> "Header":
        """Raises Damaged for what `to_json` did not write."""
        try:
            told = loads(text)
            if told["format"] > FORMAT:
                raise Damaged(
                    f"format {told['format']}, of a newer headstart. Type: pip install --upgrade "
                    "headstart"
                )
            return cls(
                str(told["extractor"]), dict(told["description"]), dict(told["recipe"]),
                np.array(told["canary"], np.float32), str(told["dtype"]), str(told["base"]),
                tuple((str(name), str(why)) for name, why in told.get("unreadable", [])),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise Damaged(f"no description of its features ({error})") from error


def import_parquet() -> Any:
    """pyarrow.parquet. Raises MissingExtra where there is no pyarrow."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("keeping features in Parquet files", "parquet") from error
    return parquet


@dataclass(frozen=True)
class File:
    """One in a folder."""

    folder: Folder
    name: str

    def __str__(self) -> str:
        return self.folder.show(self.name)


def encode(header: Header, items: Sequence[Item], values: np.ndarray) -> bytes:
    """The file of N images with their (N, D) features, in the header's dtype.

    Raises RecipeError for numbers too large for 16 bits.
    """
    parquet = import_parquet()
    import pyarrow as pa

    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(values, DTYPES[header.dtype])
    if not np.isfinite(numbers).all() and np.isfinite(values).all():
        raise RecipeError(
            f"expected features of at most 65,504 for f16, found {np.abs(values).max():,.0f}. "
            "Type: --dtype f32"
        )
    texts = pa.string()
    columns = {
        "key": pa.array([item.content_hash for item in items], pa.binary(16)),
        "name": pa.array([item.name for item in items], texts),
        "labels": pa.array([list(item.labels) for item in items], pa.list_(texts)),
        "split": pa.array([item.split for item in items], texts),
        "group": pa.array([item.group for item in items], texts),
        "features": pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), header.dimensions),
    }
    table = pa.table(columns).replace_schema_metadata({FEATURES: header.to_json()})
    sink = pa.BufferOutputStream()
    parquet.write_table(
        table, sink, compression="none", use_dictionary=False, write_page_checksum=True
    )
    return bytes(sink.getvalue())


def read_header(file: File) -> Header | None:
    """What the file says of its features; None for Parquet of another kind. Raises Damaged."""
    return read_footer(file)[0]


def read_footer(file: File) -> tuple[Header | None, int]:
    """The same, and of how many images it has features. Raises Damaged."""
    with _open(file) as opened:
        about = (opened.schema_arrow.metadata or {}).get(FEATURES)
        return None if about is None else Header.parse(about), opened.metadata.num_rows


def read_note(file: File, key: bytes) -> bytes:
    """What stands under that key of the file's metadata. Raises Damaged where nothing does."""
    with _open(file) as opened:
        note: bytes | None = (opened.schema_arrow.metadata or {}).get(key)
    if note is None:
        raise Damaged("no description of itself")
    return note


@dataclass(frozen=True)
class Facts:
    """What a file says of some of its rows beside the features. keys: (n,) 16 bytes each."""

    keys: np.ndarray
    names: list[str]
    labels: list[tuple[str, ...]]
    splits: list[str | None]
    groups: list[str | None]


def read_facts(file: File) -> Iterator[Facts]:
    """Some rows after the other. Raises Damaged."""
    for batch in _batches(file, FACTS):
        column = batch.column("key")
        keys = np.frombuffer(column.buffers()[1], CONTENT, len(batch), 16 * column.offset)
        names, labels, splits, groups = (batch.column(name).to_pylist() for name in FACTS[1:])
        yield Facts(keys, names, list(map(tuple, labels)), splits, groups)


def read_features(file: File, dimensions: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Some rows after the other: their names and (n, D) features. Raises Damaged."""
    for batch in _batches(file, ["name", "features"]):
        column = batch.column("features")
        values = column.flatten().to_numpy(zero_copy_only=False)
        if values.size != len(batch) * dimensions:
            raise Damaged(f"{values.size} numbers in {len(batch)} rows of {dimensions}")
        yield batch.column("name").to_pylist(), values.reshape(-1, dimensions)


def check_whole(file: File) -> None:
    """Read all there is. Raises Damaged."""
    for _ in _batches(file, None):
        pass


def damaged(file: File, error: object) -> DatasetError:
    """The error for a file that is damaged."""
    return DatasetError(cannot_read(str(file), error, "a whole file of features", ADVICE))


def _batches(file: File, columns: list[str] | None) -> Iterator[Any]:
    with _open(file) as opened:
        try:
            yield from opened.iter_batches(batch_size=BATCH, columns=columns)
        except Exception as error:  # pyarrow's own
            raise Damaged(str(error)) from error


def _open(file: File) -> Any:
    parquet = import_parquet()
    try:
        return parquet.ParquetFile(file.folder.open(file.name), page_checksum_verification=True)
    except Exception as error:  # pyarrow's own
        raise Damaged(str(error)) from error


def find_base(items: Sequence[Item]) -> str:
    """The folder that the names of all images are relative to; "" where there is none."""
    base = str(items[0].path.absolute()).removesuffix(items[0].name) if items else ""
    if not base.endswith(("/", "\\")):
        return ""
    folder = Path(base)
    return base if all(item.path.absolute() == folder / item.name for item in items) else ""
