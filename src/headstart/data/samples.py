"""WebDataset: tar archives in which files of one stem are one sample, an image and what is told of
it (`1.jpg`, `1.cls`).
"""

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from headstart.data.address import RANGE, expand
from headstart.data.archive import (
    Member,
    Unpacked,
    describe_state,
    is_outside,
    keep_unpacked,
    measure_room,
)
from headstart.data.cells import CALLED, NO_CLASS, UNLABELLED, Cells, is_fact, write_cells
from headstart.data.columns import find_column
from headstart.data.folder import PASSED_OVER, is_candidate
from headstart.data.item import natural_key, to_class_name, to_printable
from headstart.data.parquet import find_split
from headstart.errors import DatasetError, StorageError, cannot_read
from headstart.images.size import MOST_FILE

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
TOLD_BY = (".cls", ".json", ".txt")  # what stands beside an image of the same stem; the first wins
CLASSES = ("classes.txt", "classes.json")  # names, where labels are numbers
IMAGES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff",
          ".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm"}  # fmt: skip
LONGEST = 200  # letters of a .txt that is a label; longer ones are descriptions
NO_ROOM = f"larger than {MOST_FILE // 2**20:,} MB"

Names = Mapping[str, str]  # what numbers stand for: {"0": "ants"}


# --- which archives -----------------------------------------------------------------------
def is_tar(name: str) -> bool:
    """Whether a name says so."""
    return name.lower().endswith(SUFFIXES)


def is_braced(path: Path) -> bool:
    """Whether it stands for several archives."""
    return is_tar(path.name) and RANGE.search(str(path)) is not None and not path.exists()


def find_tars(path: Path) -> list[Path]:
    """The archives of samples that a place is: those that braces stand for, those anywhere in a
    folder, or the one that tells labels beside its images; none if it is none of these.

    Raises DatasetError where one that braces stand for is not there.
    """
    if is_braced(path):
        tars = [Path(name) for name in expand(str(path))]
        if missing := [tar for tar in tars if not tar.is_file()]:
            raise DatasetError(
                f"expected {len(tars):,} archives {path}, found no {missing[0].name}. Correct the "
                "numbers, or give the folder that they are in"
            )
        return tars
    if path.is_dir():
        found = [tar for tar in path.rglob("*") if is_tar(tar.name) and tar.is_file()]
        shown = [tar for tar in found if _is_visible(tar.relative_to(path).as_posix())]
        return sorted(shown, key=lambda tar: natural_key(tar.relative_to(path).as_posix()))
    if is_tar(path.name) and path.is_file() and _tells_labels(path, describe_state(path)):
        return [path]
    return []


@lru_cache(maxsize=64)
def _tells_labels(path: Path, state: str) -> bool:
    try:
        with tarfile.open(path) as archive:
            return is_sampled([member.name for member in archive if member.isfile()])
    except (tarfile.TarError, OSError, EOFError, ValueError):  # as is told when it is unpacked
        return False


def is_sampled(names: Iterable[str]) -> bool:
    """Whether these are the members of an archive that tells labels beside its images: one .cls,
    or a .json or .txt beside each image and no two folders that could be classes.
    """
    images, told, folders = set(), set(), set()
    for name in filter(_is_visible, names):
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if suffix == ".cls":
            return True
        if suffix in TOLD_BY:
            told.add(str(path.with_suffix("")))
        elif suffix in IMAGES:
            images.add(str(path.with_suffix("")))
            folders.add(path.parent)
    return bool(images) and images <= told and len(folders) < 2


def unpack_samples(tars: list[Path], source: Path) -> Unpacked:
    """Their images as files, with a table of all (cells.TABLE), written on first use.

    source: as it was given. An archive whose name, or whose folder's, begins as a split is called
    is of that one; `classes.txt` beside the archives names their classes.
    Raises DatasetError for a damaged archive or label, CacheError.
    """
    base = source if source.is_dir() else source.parent
    beside = [base / name for name in CLASSES if (base / name).is_file()]

    def read() -> Iterator[Cells]:
        classes = read_classes(beside[0].read_bytes(), str(beside[0])) if beside else {}
        for tar in tars:
            origin = tar.relative_to(base).as_posix()
            split = None if tar == source else find_split(tar.relative_to(base).parts)
            own = {} if split is None else {"split": split}
            with tar.open("rb") as file:
                for row in read_samples(file, origin, classes=classes):
                    member = to_printable(row.image["path"])
                    called = member if tar == source else f"{to_printable(origin)}/{member}"
                    facts = {**own, **row.facts, CALLED: called}
                    yield Cells(origin, row.number, row.image, facts)

    def fill(folder: Path) -> list[str]:
        room = measure_room(folder, sum(tar.stat().st_size for tar in tars))
        write_cells(read(), base, folder, room)
        return []

    # "1" is the way they lie in their folder.
    states = "\n".join(map(describe_state, [*tars, *beside]))
    return keep_unpacked(f"samples 1 {source.absolute()}\n{states}", str(source.absolute()), fill)


# --- what is in them ----------------------------------------------------------------------
def read_samples(file: BinaryIO, origin: str, *, classes: Names | None = None) -> Iterator[Cells]:
    """Each image of a tar archive with all that is told of it; `image` has its bytes, None for one
    that is too large, and its path. classes: names of numbered classes, if it has none of its own.

    Raises DatasetError for a damaged archive or label, StorageError where reading fails.
    """
    names = dict(classes or {})
    number = 0
    for stem, sample in _group(_members(file, origin)):
        for name, data in sample:
            if PurePosixPath(name).name.lower() in CLASSES:
                names = read_classes(data or b"", f"{origin}/{name}")
        beside = {suffix: data or b"" for name, data in sample
                  if (suffix := PurePosixPath(name).suffix.lower()) in TOLD_BY}  # fmt: skip
        images = [(name, data) for name, data in sample if is_candidate(Path(name))]
        if beside:  # masks and arrays may stand there too
            known = [one for one in images if PurePosixPath(one[0]).suffix.lower() in IMAGES]
            images = known or images
        facts = _tell(stem, beside, names, origin) if images else {}
        for name, data in images:
            number += 1
            yield Cells(origin, number, {"bytes": data, "path": name}, facts)


def _members(file: BinaryIO, origin: str) -> Iterator[tuple[str, bytes | None]]:
    """Name and bytes of each file in the archive, in its order; None for one that is too large."""
    advice = "Bring it there anew, or leave it out"
    try:
        with tarfile.open(fileobj=file, mode="r|*", tarinfo=Member) as archive:
            while member := archive.next():
                archive.members = []  # type: ignore[attr-defined]  # else it keeps all of them
                if not member.isfile() or is_outside(member.name) or not _is_visible(member.name):
                    continue
                content = archive.extractfile(member) if member.size <= MOST_FILE else None
                yield member.name, content.read() if content else None
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DatasetError(cannot_read(origin, error, "a whole tar archive", advice)) from error
    except StorageError:
        raise
    except OSError as error:
        advice = "What is done is kept: type the same command again"
        raise StorageError(cannot_read(origin, error, "a tar archive", advice)) from error


def _group(
    members: Iterable[tuple[str, bytes | None]],
) -> Iterator[tuple[str, list[tuple[str, bytes | None]]]]:
    """Members that follow each other and share a stem, which is all that an order promises."""
    stem, sample = "", list[tuple[str, bytes | None]]()
    for name, data in members:
        own = str(PurePosixPath(name).with_suffix(""))
        if sample and own != stem:
            yield stem, sample
            sample = []
        stem = own
        sample.append((name, data))
    if sample:
        yield stem, sample


def _tell(stem: str, beside: Mapping[str, bytes], names: Names, origin: str) -> dict[str, Any]:
    """The facts about the images of a stem, "label" among them; that there is none."""
    facts: dict[str, Any] = {}
    label: Any = None
    if ".json" in beside:
        facts = _read_json(beside[".json"], f"{stem}.json in {origin}")
        column = find_column("label", facts)
        label = None if column is None else facts.pop(column)
    if ".cls" in beside:
        label = _read_label(beside[".cls"])
    folder = PurePosixPath(stem).parent.name
    if label in (None, "") and folder:
        return {**facts, "label": to_class_name(folder)}
    if label in (None, "") and ".txt" in beside:
        label = _read_label(beside[".txt"])
    label = [_name(one, names) for one in label] if isinstance(label, list) else _name(label, names)
    return {**facts, "label": label, **({UNLABELLED: True} if label in (None, "") else {})}


def _name(label: Any, names: Names) -> Any:
    if label is None or str(label) == str(NO_CLASS):
        return None
    return names.get(str(label).strip(), label)


def _read_label(data: bytes) -> str:
    """The text of a .cls or .txt; nothing for what is a description."""
    text = data[: 4 * LONGEST + 1].decode("utf-8-sig", "replace").strip()
    return "" if len(text) > LONGEST or "\n" in text else text


def _read_json(data: bytes, where: str) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        advice = 'Correct it: {"label": "cats"}'
        raise DatasetError(cannot_read(where, error, "an object in JSON", advice)) from error
    if not isinstance(told, dict):
        return {"label": told} if is_fact(told) else {}
    return {str(name): value for name, value in told.items() if is_fact(value)}


def read_classes(data: bytes, where: str) -> dict[str, str]:
    """What numbered classes are called, by number: of a text with a name a line, or JSON with a
    list, or an object of names and numbers either way. Raises DatasetError for anything else.
    """
    text = data.decode("utf-8-sig", "replace")
    if not where.lower().endswith(".json"):
        return {str(number): line.strip() for number, line in enumerate(text.splitlines())}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, list):
        return {str(number): str(name) for number, name in enumerate(told)}
    if isinstance(told, dict):
        if all(isinstance(number, int) for number in told.values()):
            told = {number: name for name, number in told.items()}
        return {str(number): str(name) for number, name in told.items()}
    advice = 'Write a list, such as ["ants", "bees"]'
    raise DatasetError(cannot_read(where, "something else", "names of classes in JSON", advice))


def _is_visible(name: str) -> bool:
    return not any(part.startswith(".") or part.lower() in PASSED_OVER
                   for part in PurePosixPath(name).parts)  # fmt: skip
