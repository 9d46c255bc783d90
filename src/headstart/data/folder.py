"""A folder of class folders, perhaps below train/ and validation/ -> items."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from headstart.data.item import Item, list_first, natural_key, to_class_name, to_printable
from headstart.data.split import SPLIT_NAMES
from headstart.errors import DatasetError, cannot_read

PASSED_OVER = {"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"}
SIDE_FILES = {".txt", ".md", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".xml", ".yaml", ".yml",
              ".html",
              ".py", ".ipynb", ".pdf", ".parquet", ".db", ".log", ".npy", ".npz", ".ini", ".toml",
              ".zip", ".tar", ".gz", ".cls",
              ".rst", ".doc", ".docx", ".xls", ".xlsx", ".mat"}  # fmt: skip


ARRANGE = (
    "Arrange them as one folder for each class, such as photos/cats/1.jpg and photos/dogs/2.jpg"
)


RUN = ("run.json", "recipe.toml")  # what lies in the folder of every training


def refuse_run(path: Path) -> None:
    """Raises DatasetError for the folder of a training, which many take for its photos."""
    if all((path / name).is_file() for name in RUN):
        raise DatasetError(
            f"expected photos, found {path}, the folder of a training. Give the photos that it was "
            f"trained on; to see which, type: headstart info {shlex.quote(str(path))}"
        )


def folder_items(path: Path) -> tuple[list[Item], list[str]]:
    """The images in class folders, in natural order, and warnings."""
    warnings: list[str] = []
    return list(stream_folder(path, warnings.append, files_in)), warnings


def stream_folder(
    path: Path, warn: Callable[[str], None], walk: Callable[[Path], Iterable[Path]]
) -> Iterator[Item]:
    """The same for a folder without end. walk: the images below a folder.

    Raises DatasetError for the folder of a training, and after the last image where there was none
    but some lie outside class folders.
    """
    refuse_run(path)
    folders = [entry for entry in entries_in(path) if is_folder(entry)]
    loose = [entry for entry in entries_in(path) if entry.is_file() and is_candidate(entry)]
    # An archive or a download often wraps all in one folder more.
    if len(folders) == 1 and not loose and _is_wrapper(folders[0]):
        yield from stream_folder(folders[0], warn, walk)
        return
    splits = {f: SPLIT_NAMES[f.name.lower()] for f in folders if f.name.lower() in SPLIT_NAMES}
    sides: dict[Path, str | None] = {path: None}
    if "train" in splits.values():
        others = [f.name for f in folders if f not in splits]
        if others:
            warn(f"passed over beside the splits: {', '.join(others)}")
        sides = {**splits}
    found = False
    for folder, split in sides.items():
        for item in _class_folders(folder, split, path, warn, walk):
            found = True
            yield item
    if loose:
        if not found:
            raise DatasetError(
                f"expected one folder for each class in {path}, found {len(loose)} images "
                f"and no class folders. {ARRANGE}"
            )
        warn(f"{len(loose)} images outside the class folders are passed over: "
             f"{list_first([file.name for file in loose])}")  # fmt: skip


def _is_wrapper(folder: Path) -> bool:
    inside = [entry for entry in entries_in(folder) if is_folder(entry)]
    loose = [entry for entry in entries_in(folder) if entry.is_file() and is_candidate(entry)]
    return bool(inside) and not loose and folder.name.lower() not in SPLIT_NAMES


def _class_folders(
    folder: Path, split: str | None, root: Path, warn: Callable[[str], None],
    walk: Callable[[Path], Iterable[Path]],
) -> Iterator[Item]:  # fmt: skip
    """The images in its folders; those without one are no classes, and are told."""
    empty, some = [], False
    for entry in entries_in(folder):
        if not is_folder(entry):
            continue
        labels, found = (to_class_name(entry.name),), False
        for file in walk(entry):
            found = some = True
            yield Item(file, to_printable(file.relative_to(root).as_posix()), labels, split)
        if not found:
            empty.append(entry.relative_to(root).as_posix())
    if empty and some:
        folders = "folders" if len(empty) > 1 else "folder"
        warn(f"{len(empty)} {folders} without an image, passed over: {list_first(empty)}")


def entries_in(folder: Path) -> list[Path]:
    """What is in a folder and not to be passed over, in natural order."""
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise cannot_list(folder, error) from error
    visible = [
        entry
        for entry in entries
        if not entry.name.startswith(".") and entry.name.lower() not in PASSED_OVER
    ]
    return sorted(visible, key=lambda entry: natural_key(entry.name))


def is_folder(entry: Path) -> bool:
    """Whether it is one. Raises DatasetError for a link to what may not be looked at."""
    try:
        return entry.is_dir()
    except OSError as error:
        raise cannot_list(entry, error) from error


def cannot_list(folder: Path, error: OSError) -> DatasetError:
    """The error for a folder that may not be listed."""
    advice = f"Allow it (chmod u+rx {folder}) or give another folder"
    return DatasetError(cannot_read(folder, error, "a folder that may be listed", advice))


def is_candidate(file: Path) -> bool:
    """Whether its name does not say that it is something beside the images."""
    return file.suffix.lower() not in SIDE_FILES


def files_in(folder: Path) -> list[Path]:
    """Every candidate image below a folder; links are followed, loops are not."""
    return list(_walk(folder, frozenset()))


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        return
    for entry in entries_in(folder):
        if is_folder(entry):
            yield from _walk(entry, above | {real})
        elif is_candidate(entry):
            yield entry
