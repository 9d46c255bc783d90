"""Parquet: plain tables, and tables whose cells are images, in one file or many, as Hugging Face
writes them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from headstart.data.archive import Unpacked, describe_state, keep_unpacked, measure_room
from headstart.data.cells import Cells, name_classes, names_of_classes, write_cells
from headstart.data.columns import COLUMNS, find_column
from headstart.data.item import natural_key
from headstart.data.split import SPLIT_NAMES
from headstart.errors import DatasetError, MissingExtra, cannot_read

SUFFIX = ".parquet"
FEATURES = b"headstart"  # of the metadata of a file that holds features and no images
BATCH = 4096  # rows read at a time
IMAGES = 64  # of them where they hold images


def is_parquet(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a table. Raises DatasetError for a damaged file, MissingExtra without pyarrow."""
    with _open(path) as file:
        yield from _read(file, path, BATCH)


def _read(file: Any, told: object, batch_size: int) -> Iterator[Mapping[str, Any]]:
    batches = file.iter_batches(batch_size=batch_size)
    while True:
        try:
            rows = next(batches).to_pylist()
        except StopIteration:
            return
        except Exception as error:  # pyarrow's own
            raise _damaged(told, error) from error
        yield from rows


def _open(source: Any, told: object = None) -> Any:
    """source: a path or an open file; told: what messages call it."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("reading Parquet", "parquet") from error
    try:
        return parquet.ParquetFile(source, pre_buffer=False)
    except Exception as error:  # pyarrow's own
        raise _damaged(told or source, error) from error


def _damaged(path: object, error: Exception) -> DatasetError:
    advice = "Save it anew, or as CSV"
    return DatasetError(cannot_read(path, error, "a whole Parquet file", advice))


# --- images in cells ----------------------------------------------------------------------
def holds_images(source: Any, told: str | None = None) -> bool:
    """Whether the cells of one of its columns are images. source: a path, or an open file, which
    messages call `told`. Raises as `read_rows` does.
    """
    with _open(source, told) as file:
        return _image_column(file.schema_arrow) is not None


def find_features(place: Path) -> list[Path]:
    """The Parquet files in a folder, else in the folders in it, if the first holds features; none
    where it does not. Raises as `read_rows` does.
    """
    files: list[Path] = []
    with suppress(OSError):  # a folder that may not be listed, or is gone
        files = sorted(place.glob(f"*{SUFFIX}")) or sorted(place.glob(f"*/*{SUFFIX}"))
    files = [path for path in files if is_parquet(path)]
    if not files:
        return []
    with _open(files[0]) as file:
        return files if FEATURES in (file.schema_arrow.metadata or {}) else []


def find_shards(folder: Path) -> list[Path]:
    """The Parquet files with images anywhere in a folder; none where there are none."""
    found = [path for path in folder.rglob(f"*{SUFFIX}") if is_parquet(path)]
    shards = [path for path in found if not _is_hidden(path.relative_to(folder))]
    shards.sort(key=lambda path: natural_key(path.relative_to(folder).as_posix()))
    return [path for path in shards if holds_images(path)]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def unpack_shards(shards: list[Path], source: Path) -> Unpacked:
    """Their images as files, with a table of all (cells.TABLE), written on first use.

    source: the file itself, or the folder of all. A shard whose name, or whose folder's, begins as
    a split is called (`test-00000-of-00001.parquet`) is of that one.
    Raises DatasetError for a cell that is no image and for a damaged file, CacheError.
    """
    base = source if source.is_dir() else source.parent

    def fill(folder: Path) -> list[str]:
        splits = [
            None if shard == source else find_split(shard.relative_to(base).parts)
            for shard in shards
        ]
        parts = (read_cells(shard, shard.relative_to(base).as_posix(), split)
                 for shard, split in zip(shards, splits, strict=True))  # fmt: skip
        room = measure_room(folder, sum(shard.stat().st_size for shard in shards))
        write_cells(chain.from_iterable(parts), base, folder, room)
        return []

    # "1" is the way they lie in their folder.
    states = "\n".join(map(describe_state, shards))
    return keep_unpacked(f"cells 1 {base.resolve()}\n{states}", str(source.resolve()), fill)


def read_cells(source: Any, origin: str, split: str | None = None) -> Iterator[Cells]:
    """The rows of a file with images in its cells, some at a time. source: its path, or a file open
    for reading anywhere; origin: what it is called. split: where no column tells one.

    Raises DatasetError where no cell holds images, and as `read_rows` does.
    """
    with _open(source, origin) as file:
        kinds = read_kinds(file.schema_arrow)
        names = file.schema_arrow.names
        image = _image_column(file.schema_arrow)
        if image is None:
            raise DatasetError(
                f"expected a column of images in {origin}, found {', '.join(names)}. Give a table "
                "whose cells hold the images' bytes"
            )
        classes = {name: known for name, kind in kinds.items() if (known := names_of_classes(kind))}
        renamed = _label_column(names, classes, origin)
        for number, record in enumerate(_read(file, origin, IMAGES), 1):
            rest = {name: value for name, value in record.items() if name != image}
            facts = {renamed.get(n, n): value for n, value in name_classes(rest, classes).items()}
            if split is not None:
                facts.setdefault("split", split)
            yield Cells(origin, number, record[image], facts)


def find_split(parts: Sequence[str]) -> str | None:
    """What a shard is of, by the first word of its name, or its folder's (`parts` of its path);
    None for training: where there is no validation split one is made of it.
    """
    splits = [SPLIT_NAMES.get(re.split(r"[-_.]", part.lower())[0]) for part in reversed(parts)]
    split = next(filter(None, splits), None)
    return None if split == "train" else split


def read_kinds(schema: Any) -> dict[str, Any]:
    """What Hugging Face's description says of each column; nothing where there is none."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _image_column(schema: Any) -> str | None:
    """The column that holds images: the one that is said to, or else whose cells are bytes, alone
    or beside a path; of several, the one that is called so.
    """
    import pyarrow.types as types

    def has_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(field.name == "bytes" for field in kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    kinds = read_kinds(schema)
    said = [n for n in schema.names
            if isinstance(kinds.get(n), dict) and kinds[n].get("_type") == "Image"]  # fmt: skip
    names = said or [field.name for field in schema if has_bytes(field.type)]
    if len(names) < 2:
        return names[0] if names else None
    return find_column("path", names) or names[0]


def _label_column(
    names: list[str], classes: dict[str, tuple[str, ...]], path: str
) -> dict[str, str]:
    """Where no column is called so, the one whose numbers stand for classes is the label's.

    Raises DatasetError if there are several such.
    """
    if find_column("label", names) is not None or not classes:
        return {}
    if len(classes) > 1:
        raise DatasetError(
            f"expected one column of classes in {path}, found {', '.join(classes)}. "
            f"Name the one to be learned {COLUMNS['label'][0]}"
        )
    return {next(iter(classes)): COLUMNS["label"][0]}
