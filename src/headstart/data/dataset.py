"""Folder, archive or table -> Dataset: images with their labels, classes and splits.

Classes travel by name.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.address import read_address
from headstart.data.bring import bring
from headstart.data.decisions import apply_decisions, decisions_file, read_decisions
from headstart.data.folder import ARRANGE
from headstart.data.given import Source, settle
from headstart.data.item import HASH_BYTES, Item, list_first, natural_key
from headstart.data.parquet import find_features
from headstart.data.places import list_brought, list_here, list_place, resolve_source
from headstart.data.rows import Rows, find_repeated, list_column, list_contents, take
from headstart.data.split import (
    assign_groups,
    assign_sides,
    check_testable,
    default_to_training,
    find_leaks,
    find_unvalidated_classes,
)
from headstart.errors import DatasetError
from headstart.metrics.task import MultiLabel, SingleLabel, Task
from headstart.system.progress import Progress


@dataclass(frozen=True)
class Dataset:
    """Labelled images. task: which one of the classes each is in, or which of them.

    warnings: what the user should know. kept: images that a person has found right as they are.
    """

    items: Sequence[Item]
    task: Task
    warnings: tuple[str, ...] = field(default=())
    kept: frozenset[Path] = field(default=frozenset())

    @property
    def classes(self) -> tuple[str, ...]:
        """The names, in natural order."""
        return self.task.classes

    def split(self, name: str) -> Sequence[Item]:
        """The items of "train", "validation" or "test", in a fixed order."""
        sides = list_column(self.items, "split")
        return take(self.items, np.array([side == name for side in sides.values])[sides.codes])

    def counts(self) -> dict[str, dict[str, int]]:
        """How many images each class has, by split."""
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        for item in self.items:
            counted[item.split or "all"].update(item.labels)
        return {
            split: {name: counted[split][name] for name in self.classes}
            for split in ("train", "validation", "test", "all")
            if split in counted
        }

    def fingerprint(self) -> str:
        """Of content, labels and splits; names and places do not matter."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        contents = list_contents(self.items)
        labels, splits = list_column(self.items, "labels"), list_column(self.items, "split")
        texts = [";".join(value) for value in labels.values]
        sides = [value or "" for value in splits.values]
        order = np.lexsort((_rank(sides)[splits.codes], _rank(texts)[labels.codes], contents))
        digest = hashlib.sha256(b"[")
        for number, row in enumerate(order.tolist()):
            key = bytes(contents[row]).ljust(HASH_BYTES, b"\0").hex()
            told = (key, texts[labels.codes[row]], sides[splits.codes[row]])
            digest.update(f"{', ' if number else ''}{told!r}".encode())
        digest.update(b"]")
        return digest.hexdigest()[:24]


def load(
    source: Any,
    *,
    validation_fraction: float = 0.2,
    seed: int = 0,
    split: bool = True,
    groups: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The labelled images in a folder, table or archive.

    source: a folder with one folder per class; one with train/ and validation/ (or valid, val)
    and perhaps test/ above them; a CSV, JSON-lines or Parquet table with path, label and perhaps
    split; a zip or tar of one of these; Parquet whose cells are images; a Source, or images in
    memory as `given.settle` takes them. split: make a validation split where none is given, by
    content, stratified; without it items keep the split they come with; None where none has one.
    groups: a column
    of the table, or a regular expression on the images' names whose first group (or whole match)
    is the group; then whole groups are split. What a person has decided about single images
    (see decisions) holds. What lies at an address is brought here, as `progress` is told.
    Raises DatasetError if there is nothing to learn from, saying how images are to be arranged.
    """
    source = settle(source)
    items, kept, warnings = gather(source, groups, progress)
    hash_all(items)
    return arrange(
        items, source.place, validation_fraction=validation_fraction, seed=seed,
        split=split, groups=groups, kept=kept, before=warnings,
    )  # fmt: skip


def gather(
    source: Source, groups: str | None, progress: Progress | None = None
) -> tuple[list[Item], list[Item], list[str]]:
    """The images in all places of a source, as a person has decided, those of them that are right,
    and warnings; none is read, what lies at an address is brought here. Raises DatasetError as
    `load` does.
    """
    progress = progress or Progress()
    items, kept, warnings = _decide(source.place, groups, progress)
    for side, place in source.sides.items():
        others, right, more = _decide(place, groups, progress)
        _check_side(side, items, source)
        items += _put(others, side)
        kept += right
        warnings += more
    return items, kept, warnings


def arrange(
    items: Sequence[Item],
    path: object,
    *,
    validation_fraction: float,
    seed: int,
    split: bool = True,
    groups: str | None = None,
    kept: Sequence[Item] = (),
    before: Sequence[str] = (),
) -> Dataset:
    """Images found in `path`, once their contents are known, in groups and divided, as `load` says.

    before: warnings so far. Raises DatasetError where there is nothing to learn from.
    """
    warnings, task = list(before), _task(items)
    if groups is not None:
        items, more = assign_groups(items, groups)
        warnings += more
    if split:
        warnings += _check(items, task.classes, path, warnings)
        if "validation" not in list_column(items, "split").values:
            check_testable(items)
            items = assign_sides(items, validation_fraction, seed)
            warnings += find_unvalidated_classes(items, task.classes)
        else:
            items = default_to_training(items)
        warnings += find_leaks(items)
    elif any(list_column(items, "split").values):  # of the others it is known by that
        items = default_to_training(items)
    kept_paths = frozenset(item.path for item in kept)
    return Dataset(
        items if isinstance(items, Rows) else tuple(items), task, tuple(warnings), kept_paths
    )


def list_items(source: Any, groups: str | None = None) -> list[Item]:
    """The images as `load` finds and names them, with their labels; none is read. Of an address
    those that had been brought from there: nobody is asked.

    Raises DatasetError as `load` does.
    """
    source = settle(source)
    items, _ = list_here(source.place, groups)
    for side, place in source.sides.items():
        items += _put(list_here(place, groups)[0], side)
    return items


def _put(items: Iterable[Item], side: str) -> list[Item]:
    """The images on that side of the split, and called so: names are of one image each."""
    return [replace(item, name=f"{side}/{item.name}", split=side) for item in items]


def _check_side(side: str, items: Sequence[Item], source: Source) -> None:
    """Raises DatasetError if images are there already that are on that side."""
    if any(item.split == side for item in items):
        raise DatasetError(
            f"expected one place for {side}, found {source.sides[side]} and images in "
            f"{source.place} that are for {side} too. Type: it without --{side}"
        )


def _decide(
    place: Path, groups: str | None, progress: Progress
) -> tuple[list[Item], list[Item], list[str]]:
    """The images in one place, as a person has decided, those that are right, and warnings."""
    path = resolve_source(place)
    if (address := read_address(place)) is not None:
        unpacked, path = bring(address, progress)
        items, warnings = list_brought(address, unpacked, path, groups, progress)
    else:
        items, warnings = list_place(path, groups, progress)
    if not items and find_features(path):
        raise DatasetError(
            f"expected images in {path}, found features of them, on which headstart train alone "
            "can work. Give the images"
        )
    if not items:
        raise DatasetError(f"expected images in {path}, found none. {ARRANGE}")
    decided = decisions_file(path)
    items, kept, more = apply_decisions(items, read_decisions(decided), path)
    if not items:
        raise DatasetError(f"expected images that are not dropped, found none. Edit {decided}")
    return items, kept, [*warnings, *more]


def hash_all(items: Sequence[Item]) -> None:
    """Read every file once, some at a time: the hash stays with the item."""
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda item: item.content_hash, items, chunksize=32):
            pass


def _task(items: Sequence[Item]) -> Task:
    """Several classes an image where one image has several; the classes in natural order."""
    labels = list_column(items, "labels").values
    classes = tuple(sorted({name for names in labels for name in names}, key=natural_key))
    several = any(len(names) != 1 for names in labels)  # or none, where others have several
    return MultiLabel(classes) if several else SingleLabel(classes)


def _check(
    items: Sequence[Item], classes: tuple[str, ...], path: object, before: Sequence[str]
) -> list[str]:
    """Errors and warnings about labels. before: what has been found, which may explain an error."""
    if len(classes) < 2:
        why = f" ({'; '.join(before)})" if before else ""
        raise DatasetError(
            f"expected two classes or more in {path}, found one: {classes[0]}{why}. {ARRANGE}"
        )
    sides = list_column(items, "split")
    training = np.array([side in (None, "train") for side in sides.values])[sides.codes]
    learned = {
        name for names in list_column(take(items, training), "labels").values for name in names
    }
    strangers = [name for name in classes if name not in learned]
    if strangers:
        raise DatasetError(
            f"expected training images of every class, found none of {', '.join(strangers)}"
        )
    warnings = []
    first: dict[bytes, Item] = {}
    twice: dict[bytes, dict[str, str]] = {}  # names by label
    for item in take(items, find_repeated(list_contents(items))):
        same = first.setdefault(item.content_hash, item)
        if item.labels != same.labels:
            names = twice.setdefault(item.content_hash, {same.label: same.name})
            names.setdefault(item.label, item.name)
    if twice:
        shown = list_first([" = ".join(names.values()) for names in twice.values()])
        warnings.append(f"{len(twice)} images are the same under two labels: {shown}")
    return warnings


def _rank(texts: Sequence[str]) -> np.ndarray:
    """The place of each in alphabetical order, alike for equal ones."""
    places = {text: place for place, text in enumerate(sorted(set(texts)))}
    return np.array([places[text] for text in texts])
