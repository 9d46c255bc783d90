"""Recipes against each other, not the classifiers that one draw of training images made of them.

The training and validation images of the first run are divided anew for each repeat, and a head of
each recipe is trained on the one side and judged by the other. Test images take no part.
Letters: N images, R repeats.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headstart.data.dataset import Dataset, load
from headstart.data.item import change_item
from headstart.data.split import assign_sides
from headstart.errors import ClassifierError
from headstart.features.extract import Features, extract_features
from headstart.features.extractor import open_extractor
from headstart.heads.examples import Examples
from headstart.heads.fit import fit_head
from headstart.metrics.resampling import Resampled, compare_resampled
from headstart.recipe import Recipe
from headstart.runs.changes import check_same, check_there
from headstart.runs.folder import Run
from headstart.runs.steps import label, list_parts
from headstart.system.progress import Progress

CACHED = 3  # views that stand for such as are drawn anew every epoch


def repeat_recipes(runs: Sequence[Run], repeats: int, progress: Progress) -> list[Resampled]:
    """The recipe of the first run against that of each other one, over R redrawn trainings.

    Raises ClassifierError for fewer than two repeats and for a run that was fine-tuned.
    """
    if repeats < 2:
        raise ClassifierError(f"expected two repeats or more, found {repeats}. Type: --repeats 5")
    for run in runs:
        if run.recipe.finetune or (run.record.get("tuning") or {}).get("kept"):
            raise ClassifierError(
                f"expected runs whose backbone is frozen, found {run.folder}, which was fine-tuned:"
                " it would be trained anew for each repeat. Leave it out, or --repeats"
            )
    recipes = [_cached(run.recipe) for run in runs]
    dataset = _pool(runs[0])
    features, parts = zip(*(_extract(dataset, recipe, progress) for recipe in recipes), strict=True)
    usable = set.intersection(*({id(item) for item in each.items} for each in features))
    dataset = replace(dataset, items=tuple(i for i in dataset.items if id(i) in usable))
    sides = redraw(dataset, recipes[0].validation_fraction, repeats)
    accuracies = []
    with progress.stage("repeats", len(recipes) * repeats, "trainings"):
        for recipe, each, own in zip(recipes, features, parts, strict=True):
            rows = np.array([id(item) in usable for item in each.items])
            labels = label(dataset.items, dataset.task, recipe)
            examples = labels.with_features(each.values[rows], own)
            accuracies.append(measure_repeats(examples, recipe, sides, progress))
    test = round(float(sides.sum(axis=1).mean()))
    return [
        compare_resampled(accuracies[0] - other, len(dataset.items) - test, test)
        for other in accuracies[1:]
    ]


def measure_repeats(
    examples: Examples, recipe: Recipe, sides: np.ndarray, progress: Progress
) -> np.ndarray:
    """(R,) accuracies of the recipe's head on the images of each of the (R, N) masks, trained on
    all others.
    """
    accuracies = []
    for held in sides:
        head = fit_head(examples.take(~held), recipe).head
        probabilities = head.probabilities(examples.values[held, 0])
        accuracies.append(examples.task.are_right(probabilities, examples.targets[held]).mean())
        progress.advance()
    return np.array(accuracies)


def redraw(dataset: Dataset, fraction: float, repeats: int) -> np.ndarray:
    """(R, N) masks of the images to be judged by: as the split is made, by other seeds."""
    sides = [assign_sides(dataset.items, fraction, seed) for seed in range(repeats)]
    return np.array([[item.split == "validation" for item in items] for items in sides])


def _pool(run: Run) -> Dataset:
    """The training and validation images of a run, on no side."""
    recipe = run.recipe
    check_there(run)
    dataset = load(run.source, validation_fraction=recipe.validation_fraction,
                   seed=recipe.seed, groups=recipe.groups)  # fmt: skip
    check_same(run, dataset, recipe, changed=False, advice="Put them back, or for a new run type")
    known = tuple(change_item(i, split=None) for i in dataset.items if i.split != "test")
    return replace(dataset, items=known)


def _cached(recipe: Recipe) -> Recipe:
    return recipe.changed(views=CACHED) if recipe.fresh else recipe


def _extract(
    dataset: Dataset, recipe: Recipe, progress: Progress
) -> tuple[Features, tuple[slice, ...]]:
    """With what each of several heads sees of them."""
    images, extractor = len(dataset.items) * recipe.cached_views, open_extractor(recipe)
    with progress.stage("features", images, "images"):
        features = extract_features(dataset.items, extractor, recipe, progress)
    return features, list_parts(recipe, extractor)
