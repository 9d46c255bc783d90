"""What a recipe leaves open chosen on a sample, where images are too many to look at all of them;
and the features that a Ray cluster makes for a training.
"""

import hashlib
import os
import tempfile
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from headstart.backbones.cut import AUTO
from headstart.data.address import read_address, to_place
from headstart.data.dataset import arrange, hash_all
from headstart.data.given import Source, name_place
from headstart.data.listing import list_containers, stream_labelled
from headstart.data.sample import MOST, draw_sample
from headstart.errors import BadImage, DatasetError, RecipeError, cannot_read
from headstart.recipe import Recipe, load_recipe
from headstart.runs import steps
from headstart.store.folder import Folder, open_folder
from headstart.store.job import write_features
from headstart.store.store import check_needs
from headstart.system.lock import Hold
from headstart.system.places import cache_folder
from headstart.system.progress import Progress

CHOSEN = "_recipe.toml"  # beside the files: what was chosen for them
OPEN = ("cut", "fusion", "size", "resize")  # what may be chosen, of what shapes features


def choose_on_sample(source: Any, recipe: Recipe, progress: Progress, most: int = MOST) -> Recipe:
    """The recipe with the cut, and how images are fed to it, measured on at most so many training
    images. Views are no choice here: features in files are of the images as they are.

    Raises DatasetError as `dataset.load` does, StorageError where images cannot be brought.
    """
    with tempfile.TemporaryDirectory(prefix="headstart-sample-") as place:
        with progress.stage("sample"):
            items = stream_labelled(source, recipe.groups, lambda _: None)
            sample = draw_sample(items, most, Path(place))
            hash_all(sample.items)
        dataset = arrange(
            sample.items, Path(str(source)), validation_fraction=recipe.validation_fraction,
            seed=recipe.seed, split=not sample.divided,
        )  # fmt: skip
        chosen = steps.choose_cut(dataset, recipe, progress).recipe
    chosen = chosen.changed(views=recipe.views, augmentation=recipe.augmentation)
    progress.say(f"chosen on a sample of {len(sample.items):,} images: {' + '.join(chosen.cut)}")
    return chosen


def settle_recipe(
    source: Any, folder: Folder, recipe: Recipe, progress: Progress, most: int = MOST
) -> Recipe:
    """The same, kept beside the files in the folder: whoever comes later takes what stands there.

    Raises RecipeError where nothing is open, DatasetError where the files are of another recipe.
    """
    if recipe.cut != (AUTO,):
        raise RecipeError(
            f"expected --sample with a cut to choose, found cut = {' + '.join(recipe.cut)}. Type: "
            "it without --sample, or --cut auto"
        )
    if not folder.has(CHOSEN):
        chosen = choose_on_sample(source, recipe, progress, most)
        folder.make()
        if not folder.has(CHOSEN):  # another process may have been quicker
            folder.write(CHOSEN, chosen.to_toml().encode())
    try:
        kept = load_recipe(recipe, **tomllib.loads(folder.read(CHOSEN).decode()))
    except (OSError, ValueError) as error:
        told = cannot_read(folder.show(CHOSEN), error, "the recipe of its files", "Remove it")
        raise DatasetError(told) from error
    if kept.changed(**{name: getattr(recipe, name) for name in OPEN}) != recipe:
        raise DatasetError(
            f"expected {folder.show(CHOSEN)} to be of the same choices, found "
            f"{', '.join(kept.settings(recipe)) or 'others'}. Give a new folder, or the options "
            "that it was begun with"
        )
    return kept


def extract_on_ray(
    source: Source,
    recipe: Recipe,
    on: str,
    to: Any,
    strict: bool,
    progress: Progress,
    held: ExitStack,
) -> Source:
    """The features that a training needs, made by a cluster in the folder or at the address `to`,
    by default in the cache folder where Ray runs on this computer; held while it lasts.

    Raises RecipeError for a recipe that looks at images, or without `to` where other computers
    would have to see it; DatasetError; as `write_features` does.
    """
    check_needs(recipe, "a cluster gives their features", "Type: it without --on")
    if source.sides and (read_address(source.place) or list_containers(source.place)):
        raise DatasetError(
            f"expected a folder or table for each side with --on, found {source.place} beside "
            f"--{' and --'.join(source.sides)}. Give one source that tells the splits"
        )
    if to is None:
        if on != "ray" or os.environ.get("RAY_ADDRESS"):
            raise RecipeError(
                "expected a place for the features that all computers of the cluster share, found "
                "none. Type: --features s3://BUCKET/FEATURES, or a folder that all of them see"
            )
        told = hashlib.sha256(f"{source.resolve()!s} {source.to_dict()} {recipe!r}".encode())
        entry = cache_folder() / "files" / told.hexdigest()[:24]
        held.callback(Hold(entry).release)
        to = entry / (name_place(source) or "photos")
    where: Any = (
        Source(source.place, source.validation, source.test) if source.sides else source.place
    )
    folder = open_folder(to)
    if recipe.cut == (AUTO,):
        recipe = settle_recipe(where, folder, recipe, progress)
    done = write_features(where, to, recipe, on=on, progress=progress)
    if strict and done.bad:
        name, reason = done.bad[0]
        raise BadImage(f"{name}: {reason}. Without --strict it would be left out")
    return Source(to_place(to))
