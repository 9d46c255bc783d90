"""A folder of feature files, of one job or of many side by side, as something to train on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.data.dataset import Dataset, arrange
from headstart.data.given import Source
from headstart.data.item import Item, list_first
from headstart.data.parquet import find_features
from headstart.errors import DatasetError, RecipeError
from headstart.features.extract import Features, allocate
from headstart.features.extractor import Extractor
from headstart.images.augment import NONE
from headstart.recipe import Recipe
from headstart.store.file import (
    SAME,
    SHAPING,
    Damaged,
    Header,
    damaged,
    read_features,
    read_header,
    read_items,
    rename,
)
from headstart.system.memory import release

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

    folder: Path
    files: tuple[Path, ...]
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
                    "features PHOTOS --out FOLDER"
                )
        made |= {name: wanted[name] for name in TYPED_ANYWAY if name in wanted}
        recipe = recipe.changed(**{name: v for name, v in made.items() if v is not None})
        self.check_needs(recipe)
        return recipe

    def check_needs(self, recipe: Recipe) -> None:
        """Raises RecipeError for a recipe that looks at images, of which only features are here."""
        needs = {
            "finetune = true": recipe.finetune,
            f"views = {recipe.views!r}": recipe.fresh or recipe.cached_views > 1,
            "augmentation": recipe.augmentation != NONE and recipe.views != 1,
        }
        for name, wanted in needs.items():
            if wanted:
                raise RecipeError(
                    f"expected a recipe that needs no images, for {self.folder} holds features, "
                    f"found {name}. Give the images in its place: headstart train PHOTOS"
                )

    def read_dataset(self, recipe: Recipe) -> Dataset:
        """The labelled images, divided as the recipe says. Raises DatasetError as `load` does."""
        return arrange(
            self._read_items(), self.folder, validation_fraction=recipe.validation_fraction,
            seed=recipe.seed, groups=recipe.groups,
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

    def read(self, items: Sequence[Item], progress: Any) -> Features:
        """The features of some of the images, in order, straight from the files into one array.

        Raises DatasetError for a damaged file.
        """
        rows = {item.name: row for row, item in enumerate(items)}
        values = allocate((len(items), 1, self.header.dimensions))
        for path in self.files:
            prefix = self._prefix(path)
            with _told(path):
                for names, numbers in read_features(path, self.header.dimensions):
                    there = [(rows.get(prefix + name), i) for i, name in enumerate(names)]
                    wanted = [(row, i) for row, i in there if row is not None]
                    if wanted:
                        target, taken = map(list, zip(*wanted, strict=True))
                        values[target, 0] = numbers[taken]
                        progress.advance(len(wanted))
            release(values)
        return Features(values, tuple(items), hits=len(items))

    def _prefix(self, path: Path) -> str:
        """What stands before the names of a file that lies in a folder of its own."""
        inside = path.parent.relative_to(self.folder).as_posix()
        return "" if inside == "." else f"{inside}/"

    @property
    def _base(self) -> str:
        """Where the images are, if they are here."""
        return self.header.base if self.header.base and Path(self.header.base).is_dir() else ""

    def _read_items(self) -> list[Item]:
        items: dict[str, Item] = {}
        for path in self.files:
            prefix = self._prefix(path)
            with _told(path):
                for item in read_items(path, self._base):
                    one = rename(item, prefix.rstrip("/")) if prefix else item
                    items[one.name] = one
        if not items:
            raise DatasetError(
                f"expected features in {self.folder}, found none. Type: headstart features PHOTOS "
                f"--out {self.folder}"
            )
        return list(items.values())


def find_store(source: Source) -> Store | None:
    """The features in a folder, or in the folders in it; None for anything else.

    Raises DatasetError for a damaged file, and where not all are of one extractor, or where
    processors gave other numbers: it names the files.
    """
    place = source.place
    files = find_features(place)
    if not files:
        return None
    if source.sides:
        raise DatasetError(
            f"expected features in {place} alone, with their own splits, found "
            f"{' and '.join(f'--{side}' for side in source.sides)} too. Leave it out, or give "
            "images"
        )
    headers: dict[Path, Header] = {}
    for path in files:
        with _told(path):
            header = read_header(path)
        if header is None:
            raise DatasetError(
                f"expected features alone in {place}, found another table, {path}. Put it elsewhere"
            )
        headers[path] = header
    first = headers[files[0]]
    for path, header in headers.items():
        if header.extractor != first.extractor:
            raise DatasetError(
                f"expected features of one network in {place}, found in {files[0]} those of "
                f"{first.extractor}, in {path} those of {header.extractor}. Put them apart"
            )
    other = [path for path in files if headers[path].distance(first.canary) > SAME]
    if other:
        apart = max(headers[path].distance(first.canary) for path in other)
        raise DatasetError(
            f"expected the same numbers in all files of {place}, found that the processor or "
            f"library behind {len(other)} of {len(files)} gave others than that behind "
            f"{files[0].name} (apart by {apart:.2%} of the largest): "
            f"{list_first([str(path.relative_to(place)) for path in other])}. {OTHER}"
        )
    return Store(place, tuple(files), first)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except Damaged as error:
        raise damaged(path, error) from error
