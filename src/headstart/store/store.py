"""A folder of feature files, of one job or of many side by side, as something to train on."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.address import STORES, read_address
from headstart.data.dataset import Dataset, arrange
from headstart.data.given import Source
from headstart.data.item import Item, list_first
from headstart.data.parquet import SUFFIX, find_features
from headstart.data.remote import ELSEWHERE
from headstart.data.rows import CONTENT, Coder, Rows, Table, Texts, find_repeated
from headstart.errors import DatasetError, RecipeError
from headstart.features.extract import Features, allocate
from headstart.features.extractor import Extractor
from headstart.images.augment import NONE
from headstart.recipe import Recipe
from headstart.store.file import (
    SAME,
    SHAPING,
    Damaged,
    File,
    Header,
    damaged,
    read_facts,
    read_features,
    read_header,
)
from headstart.store.folder import READERS, Folder, open_folder
from headstart.system.memory import release
from headstart.system.threads import map_ahead

TYPED_ANYWAY = ("weights", "fusion")  # a file may lie elsewhere; heads may see cuts otherwise
OTHER = (
    "Extract those again, on a processor as the others or, with --precision f32, all of them in a "
    "new folder"
)


@dataclass(frozen=True)
class Store:
    """Features of images in files, all of one extractor. files: in an order in which, of two rows
    of one name, the later one counts.
    """

    folder: Folder
    files: tuple[File, ...]
    header: Header

    def adopt(self, recipe: Recipe, typed: Mapping[str, Any]) -> Recipe:
        """The recipe with the choices by which the features were made. typed: choices that a person
        asks for. Raises RecipeError where these are others, or need images.
        """
        made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                for name, value in self.header.recipe.items()}  # fmt: skip
        wanted = {name: getattr(recipe, name) for name in SHAPING if name in typed}
        for name, value in wanted.items():
            if name not in TYPED_ANYWAY and value != made[name]:
                raise RecipeError(
                    f"expected {name} = {made[name]!r}, as the features in {self.folder} were "
                    f"made, found {value!r}. Leave it out, or make other features: headstart "
                    "features PHOTOS --to FOLDER"
                )
        made |= {name: wanted[name] for name in TYPED_ANYWAY if name in wanted}
        recipe = recipe.changed(**{name: v for name, v in made.items() if v is not None})
        self.check_needs(recipe)
        return recipe

    def check_needs(self, recipe: Recipe) -> None:
        """Raises RecipeError for a recipe that looks at images, of which only features are here."""
        advice = "Give the images in its place: headstart train PHOTOS"
        check_needs(recipe, f"{self.folder} holds features", advice)

    def read_dataset(self, recipe: Recipe) -> Dataset:
        """The labelled images, divided as the recipe says. Raises DatasetError as `load` does."""
        return arrange(
            self._read_rows(), Path(str(self.folder)), seed=recipe.seed, groups=recipe.groups,
            validation_fraction=recipe.validation_fraction,
        )  # fmt: skip

    def check_extractor(self, extractor: Extractor) -> list[str]:
        """Warnings of an extractor that computes others' numbers; raises DatasetError if it is not
        the one that the features are of.
        """
        header = self.header
        if extractor.fingerprint != header.extractor:
            mine, theirs = extractor.description, header.description
            names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
            told = "; ".join(f"{name} {theirs.get(name)}, here {mine.get(name)}" for name in names)
            raise DatasetError(
                f"expected the network that the features in {self.folder} are of, found another: "
                f"{told}. Install what they were made with, or make them again"
            )
        apart = header.distance(extractor.canary())
        return [] if apart <= SAME else [
            f"this processor or library gives other numbers than those in {self.folder} (apart by "
            f"{apart:.2%} of the largest): photos predicted here will be seen a little otherwise"
        ]  # fmt: skip

    def read(self, parts: Mapping[str, Sequence[Item]], progress: Any) -> dict[str, Features]:
        """The features of images that `read_dataset` gave, by part in order, straight from the
        files, each read once, into an array a part.

        Raises DatasetError for a damaged file.
        """
        rows = {name: part for name, part in parts.items() if isinstance(part, Rows)}
        values = {name: allocate((len(part), 1, self.header.dimensions))
                  for name, part in rows.items()}  # fmt: skip
        places = {name: _invert(part) for name, part in rows.items()}
        start = 0
        for file in self.files:
            with told(file):
                for _, numbers in read_features(file, self.header.dimensions):
                    for name, place in places.items():
                        own = place[start : start + len(numbers)]
                        wanted = own >= 0
                        values[name][own[wanted], 0] = numbers[wanted]
                        progress.advance(int(wanted.sum()))
                    start += len(numbers)
            for part in values.values():
                release(part)
        return {name: Features(values[name], own, hits=len(own)) for name, own in rows.items()}

    def _prefix(self, file: File) -> str:
        """What stands before the names of a file that lies in a folder of its own."""
        return "" if file.folder is self.folder else f"{file.folder.name}/"

    @property
    def _base(self) -> str:
        """Where the images are, if they are here."""
        return self.header.base if self.header.base and Path(self.header.base).is_dir() else ""

    def _read_rows(self) -> Rows:
        """All images; of two rows of one name the later one, in the place of the first."""
        text, ends, keys, hashes = bytearray(), array("q"), bytearray(), array("q")
        prefixes, labels, splits, groups = (Coder() for _ in range(4))
        for file in self.files:
            prefix = self._prefix(file)
            with told(file):
                for facts in read_facts(file):
                    for name in facts.names:
                        text += name.encode("utf-8", "surrogatepass")
                        ends.append(len(text))
                        hashes.append(hash(prefix + name))
                    keys += facts.keys.tobytes()
                    prefixes.add(prefix for _ in facts.names)
                    labels.add(facts.labels)
                    splits.add(facts.splits)
                    groups.add(facts.groups)
        if not ends:
            raise DatasetError(
                f"expected features in {self.folder}, found none. Type: headstart features PHOTOS "
                f"--to {self.folder}"
            )
        columns = {"labels": labels.column(), "split": splits.column(), "group": groups.column()}
        table = Table(
            Texts(text, np.frombuffer(ends, np.int64)), np.frombuffer(keys, CONTENT), columns,
            prefixes.column(), Path(self._base) if self._base else None, ELSEWHERE,
        )  # fmt: skip
        return Rows(table, _find_latest(table, np.frombuffer(hashes, np.int64)))


def _find_latest(table: Table, hashes: np.ndarray) -> np.ndarray:
    """The numbers of the rows that count: the last of each name, in the place of the first. hashes:
    (N,) of the names.
    """
    rows = np.arange(len(hashes))
    first: dict[str, int] = {}
    for row in np.flatnonzero(find_repeated(hashes)).tolist():
        place = first.setdefault(table.item(row).name, row)
        rows[place] = row
        if place != row:
            rows[row] = -1
    return rows[rows >= 0]


def _invert(part: Rows) -> np.ndarray:
    """(N,) of each row in the files its place in the part, -1 where it is not in it."""
    places = np.full(len(part.table.contents), -1)
    places[part.numbers] = np.arange(len(part))
    return places


def check_needs(recipe: Recipe, why: str, advice: str) -> None:
    """Raises RecipeError for a recipe that looks at images, and says why there can be none."""
    needs = {
        "finetune = true": recipe.finetune,
        f"views = {recipe.views!r}": recipe.fresh or recipe.cached_views > 1,
        "augmentation": recipe.augmentation != NONE and recipe.views != 1,
    }
    for name, wanted in needs.items():
        if wanted:
            raise RecipeError(
                f"expected a recipe that needs no images, for {why}, found {name}. {advice}"
            )


def find_store(source: Source) -> Store | None:
    """The features in a folder or at an address, or in the folders in it; None for anything else.

    Raises DatasetError for a damaged file, and where not all are of one extractor, or where
    processors gave other numbers: it names the files.
    """
    place = read_address(source.place)
    if place is None and not find_features(source.place):
        return None
    if place is not None and place.partition(":")[0] not in STORES:
        return None
    folder = open_folder(place or source.place)
    files = _list_files(folder)
    if not files or (place is not None and _read_header(files[0]) is None):
        return None
    if source.sides:
        raise DatasetError(
            f"expected features in {folder} alone, with their own splits, found "
            f"{' and '.join(f'--{side}' for side in source.sides)} too. Leave it out, or give "
            "images"
        )
    return Store(folder, tuple(files), _check_alike(folder, files))


def _list_files(folder: Folder) -> list[File]:
    """The Parquet files in a folder, else in the folders in it."""
    for one in [[folder], folder.folders()]:
        files = [File(inner, name) for inner in one for name in inner.names()
                 if name.endswith(SUFFIX) and not name.startswith(("_", "."))]  # fmt: skip
        if files:
            return files
    return []


def _read_header(file: File) -> Header | None:
    with told(file):
        return read_header(file)


def _check_alike(folder: Folder, files: list[File]) -> Header:
    """What all files say of their features. Raises DatasetError where these are several things."""
    with ThreadPoolExecutor(READERS, "footers") as pool:
        headers = list(map_ahead(pool, _read_header, files))
    first = headers[0]
    apart: list[tuple[float, str]] = []
    for file, header in zip(files, headers, strict=True):
        if header is None or first is None:
            raise DatasetError(
                f"expected features alone in {folder}, found another table, {file}. Put it "
                "elsewhere"
            )
        if header.extractor != first.extractor:
            raise DatasetError(
                f"expected features of one network in {folder}, found in {files[0]} those of "
                f"{first.extractor}, in {file} those of {header.extractor}. Put them apart"
            )
        if (distance := header.distance(first.canary)) > SAME:
            apart.append((distance, str(file).removeprefix(f"{folder}/")))
    if first is None or apart:
        raise DatasetError(
            f"expected the same numbers in all files of {folder}, found that the processor or "
            f"library behind {len(apart)} of {len(files)} gave others than that behind "
            f"{files[0].name} (apart by {max(apart)[0]:.2%} of the largest): "
            f"{list_first([name for _, name in apart])}. {OTHER}"
        )
    return first


@contextmanager
def told(file: File) -> Iterator[None]:
    """Raises DatasetError that names the file, for damage found within the block."""
    try:
        yield
    except Damaged as error:
        raise damaged(file, error) from error
