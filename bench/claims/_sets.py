"""Features of the real sets, through the product's own cache: draws of them are small sets whose
remainder serves as new images.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.data.dataset import load
from headstart.features.extract import extract_features
from headstart.features.extractor import open_extractor
from headstart.heads.examples import Examples
from headstart.metrics.task import SingleLabel
from headstart.recipe import load_recipe


def examples_of(folder: Path, cut: str = "last", **choices: object) -> Examples:
    """All images of a set, whatever their split, one of each content, as a cut sees them."""
    if not folder.is_dir():
        raise FileNotFoundError(f"expected images in {folder}, found none. Type: --sets DIR")
    recipe = load_recipe("quick", cut=cut, **choices)
    dataset = load(folder, split=False)
    items = list({item.content_hash: item for item in dataset.items}.values())
    features = extract_features(items, open_extractor(recipe), recipe)
    task = SingleLabel(dataset.classes)
    targets = task.targets([item.labels for item in features.items])
    return Examples(values=features.values, targets=targets, task=task)


def draw(examples: Examples, images: int, rng: np.random.Generator) -> tuple[Examples, Examples]:
    """So many images at random, each class in its share, and all others; without the classes that
    the draw lacks.
    """
    place = np.empty(len(examples))
    for number in np.unique(examples.targets):
        members = rng.permutation(np.flatnonzero(examples.targets == number))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    order = np.argsort(place)
    inside, outside = order[:images], order[images:]
    kept = np.unique(examples.targets[inside])
    outside = outside[np.isin(examples.targets[outside], kept)]
    task = SingleLabel(tuple(examples.task.classes[number] for number in kept))

    def renumbered(rows: np.ndarray) -> Examples:
        part = examples.take(rows)
        return replace(part, targets=np.searchsorted(kept, part.targets), task=task)

    return renumbered(inside), renumbered(outside)
