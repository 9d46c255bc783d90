"""Folder, archive or table -> Dataset: images with their labels, classes and splits.

Classes travel by name.
"""

import difflib
import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from headstart.archives import is_archive, opened
from headstart.errors import DatasetError
from headstart.items import Item, natural, printable, some
from headstart.splits import divided, grouped, in_training, leaks, thin
from headstart.tables import TABLES, has_column, read_table

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
PASSED_OVER = {"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"}
SIDE_FILES = {".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html",
              ".py", ".ipynb", ".pdf", ".parquet", ".db", ".log", ".npy", ".npz", ".ini", ".toml",
              ".zip", ".tar", ".gz", ".rst", ".doc", ".docx", ".xls", ".xlsx", ".mat"}  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """Labelled images. classes: in natural order. warnings: what the user should know.

    multi: images may be in several classes; an item's label is then "a;b".
    """

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())
    multi: bool = False

    def split(self, name: str) -> tuple[Item, ...]:
        """The items of "train", "validation" or "test", in a fixed order."""
        return tuple(item for item in self.items if item.split == name)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many images each class has, by split."""
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        for item in self.items:
            counted[item.split or "all"][item.label or ""] += 1
        return {
            split: {name: counted[split][name] for name in self.classes}
            for split in ("train", "validation", "test", "all")
            if split in counted
        }

    def fingerprint(self) -> str:
        """Of content, labels and splits; names and places do not matter."""
        rows = sorted((i.content_hash.hex(), i.label or "", i.split or "") for i in self.items)
        return hashlib.sha256(repr(rows).encode()).hexdigest()[:24]


def load(
    source: str | Path,
    *,
    validation_fraction: float = 0.2,
    seed: int = 0,
    split: bool = True,
    groups: str | None = None,
) -> Dataset:
    """The labelled images in a folder, table or archive.

    source: a folder with one folder per class; one with train/ and validation/ (or valid, val)
    and perhaps test/ above them; a CSV, JSON-lines or Parquet table with path, label and perhaps
    split; a zip or tar of one of these. split: make a validation split where none is given, by
    content, stratified; without it items keep the split they come with, or None. groups: a column
    of the table, or a regular expression on the images' names whose first group (or whole match)
    is the group; then whole groups are split.
    Raises DatasetError if there is nothing to learn from, saying how images are to be arranged.
    """
    path = _existing(Path(source))
    folder = opened(path) if is_archive(path) else path
    table = _table(folder, path)
    items, warnings = _table_items(table, groups) if table else _folder_items(folder)
    if not items:
        raise DatasetError(f"expected images in {path}, found none. {ARRANGE}")
    _hash_all(items)
    multi = table is not None and any(";" in (item.label or "") for item in items)
    classes = _classes(items, multi)
    if groups is not None:
        items, more = grouped(items, groups)
        warnings += more
    if split:
        warnings += _check(items, classes, path)
        if not any(item.split == "validation" for item in items):
            items = divided(items, validation_fraction, seed)
            warnings += thin(items, classes)
        else:
            items = [in_training(item) for item in items]
        warnings += leaks(items)
    return Dataset(tuple(items), classes, tuple(warnings), multi)


ARRANGE = (
    "Arrange them as one folder for each class, such as photos/cats/1.jpg and photos/dogs/2.jpg"
)


def images_in(sources: Iterable[str | Path]) -> list[Item]:
    """Every image file named or contained in folders and archives, unlabelled, in natural order.

    Raises DatasetError for a path that does not exist.
    """
    found: list[Item] = []
    for source in sources:
        path = _existing(Path(source))
        if is_archive(path):
            folder = opened(path)
            found += [
                Item(file, printable(f"{path}/{file.relative_to(folder).as_posix()}"))
                for file in _files(folder)
            ]
        elif path.is_dir():
            found += [Item(file, printable(str(file))) for file in _files(path)]
        else:
            found.append(Item(path, printable(str(path))))
    return found


def _existing(path: Path) -> Path:
    path = path.expanduser()
    if path.exists():
        return path
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=3)
    hint = f". Near: {', '.join(str(path.parent / name) for name in near)}" if near else ""
    raise DatasetError(f"expected a folder, table or archive, found nothing at {path}{hint}")


def _table(path: Path, source: Path) -> Path | None:
    """`path` if it is a table; the one at the top of what an archive held; None for a folder."""
    if path.is_file():
        if path.suffix.lower() in TABLES:
            return path
        raise DatasetError(
            f"expected a folder, a table ({', '.join(sorted(TABLES))}) or an archive, "
            f"found the file {path}. {ARRANGE}"
        )
    return _table_in(path) if path != source else None


def _table_in(folder: Path) -> Path | None:
    """The one table at the top of an unpacked archive, or in its one folder."""
    entries = _entries(folder)
    if len(entries) == 1 and entries[0].is_dir():
        return _table_in(entries[0])
    tables = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in TABLES]
    return tables[0] if len(tables) == 1 else None


def _table_items(path: Path, groups: str | None) -> tuple[list[Item], list[str]]:
    column = groups if groups is not None and has_column(path, groups) else None
    rows = read_table(path, column)
    items, missing, repeated = [], [], 0
    seen: dict[Path, Item] = {}
    for row in rows:
        file = path.parent / row.path
        if not _is_file(file):
            missing.append(row.path)
            continue
        split = SPLIT_NAMES.get(row.split.lower()) if row.split else None
        if row.split and split is None:
            raise DatasetError(
                f"expected a split among train, validation and test, found {row.split!r} "
                f"in line {row.line} of {path}"
            )
        names = {_name(part.strip()) for part in row.label.replace("|", ";").split(";")} - {""}
        before = seen.get(file)
        if before is not None:
            if names <= set(before.labels):
                repeated += 1
                continue
            names |= set(before.labels)
        label = ";".join(sorted(names, key=natural))
        seen[file] = Item(file, row.path, label, split, row.group)
    items = list(seen.values())
    warnings = []
    if missing:
        if not items:
            raise DatasetError(
                f"expected paths relative to {path.parent}, found none of the {len(missing)} "
                f"files, such as {missing[0]}"
            )
        warnings.append(f"{len(missing)} files of the table are missing: {some(missing)}")
    if repeated:
        warnings.append(f"{repeated} rows of the table are repeated: each counted once")
    return items, warnings


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file system takes
        return False


def _folder_items(path: Path) -> tuple[list[Item], list[str]]:
    folders = [entry for entry in _entries(path) if entry.is_dir()]
    loose = [entry for entry in _entries(path) if entry.is_file() and _is_candidate(entry)]
    # An archive or a download often wraps all in one folder more.
    if len(folders) == 1 and not loose and _is_wrapper(folders[0]):
        return _folder_items(folders[0])
    splits = {f: SPLIT_NAMES[f.name.lower()] for f in folders if f.name.lower() in SPLIT_NAMES}
    warnings: list[str] = []
    if "train" in splits.values():
        others = [f.name for f in folders if f not in splits]
        if others:
            warnings.append(f"passed over beside the splits: {', '.join(others)}")
        items = [
            item for folder, name in splits.items() for item in _class_folders(folder, name, path)
        ]
    else:
        items = _class_folders(path, None, path)
    if loose:
        if not items:
            raise DatasetError(
                f"expected one folder for each class in {path}, found {len(loose)} images "
                f"and no class folders. {ARRANGE}"
            )
        warnings.append(f"{len(loose)} images outside the class folders are passed over: "
                        f"{some([file.name for file in loose])}")  # fmt: skip
    return items, warnings


def _is_wrapper(folder: Path) -> bool:
    inside = [entry for entry in _entries(folder) if entry.is_dir()]
    loose = [entry for entry in _entries(folder) if entry.is_file() and _is_candidate(entry)]
    return bool(inside) and not loose and folder.name.lower() not in SPLIT_NAMES


def _class_folders(folder: Path, split: str | None, root: Path) -> list[Item]:
    items = []
    for entry in _entries(folder):
        if not entry.is_dir():
            continue
        files = _files(entry)
        if not files:
            raise DatasetError(
                f"expected images in every class folder, found none in {entry}. "
                "Add images or remove the folder"
            )
        label = _name(entry.name)
        items += [Item(f, printable(f.relative_to(root).as_posix()), label, split) for f in files]
    return items


def _name(text: str) -> str:
    return unicodedata.normalize("NFC", printable(text))


def _entries(folder: Path) -> list[Path]:
    """What is in a folder and not to be passed over, in natural order."""
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"cannot read the folder {folder}: {error.strerror}") from error
    kept = [
        entry
        for entry in entries
        if not entry.name.startswith(".") and entry.name.lower() not in PASSED_OVER
    ]
    return sorted(kept, key=lambda entry: natural(entry.name))


def _is_candidate(file: Path) -> bool:
    return file.suffix.lower() not in SIDE_FILES


def _files(folder: Path) -> list[Path]:
    """Every candidate image below a folder; links are followed, loops are not."""
    return list(_walk(folder, frozenset()))


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _walk(entry, above | {real})
        elif _is_candidate(entry):
            yield entry


def _hash_all(items: Sequence[Item]) -> None:
    """Read every file once, some at a time: the hash stays with the item."""
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda item: item.content_hash, items, chunksize=32):
            pass


def _classes(items: Sequence[Item], multi: bool) -> tuple[str, ...]:
    if multi:
        return tuple(sorted({name for item in items for name in item.labels}, key=natural))
    return tuple(sorted({item.label or "" for item in items}, key=natural))


def _check(items: Sequence[Item], classes: tuple[str, ...], path: Path) -> list[str]:
    """Errors and warnings about labels."""
    if len(classes) < 2:
        raise DatasetError(
            f"expected two classes or more in {path}, found one: {classes[0]}. {ARRANGE}"
        )
    training = [item for item in items if item.split in (None, "train")]
    learned = {item.label for item in training} | {n for item in training for n in item.labels}
    strangers = [name for name in classes if name not in learned]
    if strangers:
        raise DatasetError(
            f"expected training images of every class, found none of {', '.join(strangers)}"
        )
    warnings = []
    labels: dict[bytes, dict[str, str]] = defaultdict(dict)
    for item in items:
        labels[item.content_hash].setdefault(item.label or "", item.name)
    twice = [names for names in labels.values() if len(names) > 1]
    if twice:
        shown = some([" = ".join(names.values()) for names in twice])
        warnings.append(f"{len(twice)} images are the same under two labels: {shown}")
    return warnings
