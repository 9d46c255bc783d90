"""Recipes: TOML there and back, near names, and what views they mean."""

from pathlib import Path

import pytest

from headstart.errors import RecipeError
from headstart.recipe import Recipe, load_recipe, parse_setting, recipes


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_loads_and_survives_toml(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    (tmp_path / "again.toml").write_text(recipe.to_toml())
    assert load_recipe(tmp_path / "again.toml") == recipe


def test_classic_is_the_lesson_to_the_letter() -> None:
    recipe = load_recipe("classic")
    assert (recipe.backbone, recipe.size, recipe.cut) == ("inception_v3", 150, ("mixed7",))
    assert (recipe.pooling, recipe.normalisation) == ("flatten", "0..1")
    assert (recipe.layers, recipe.dropout) == (("dense 1024 relu", "dropout"), 0.2)
    assert (recipe.optimizer, recipe.learning_rate) == ("rmsprop", 1e-4)
    assert (recipe.epochs, recipe.batch_size) == (20, 20)
    drawn = recipe.augmentation
    assert (drawn.rotation, drawn.shear, drawn.zoom) == (40, 0.2, 0.2)
    assert (drawn.width_shift, drawn.height_shift, drawn.horizontal_flip) == (0.2, 0.2, True)
    assert recipe.fresh


@pytest.mark.parametrize(
    ("choices", "fresh", "cached"),
    [
        ({}, False, 1),
        ({"views": 3, "augmentation": "lesson"}, False, 3),
        ({"views": 5, "augmentation": "flip"}, False, 2),
        ({"views": 5, "augmentation": "none"}, False, 1),
        ({"views": "fresh", "augmentation": "lesson", "head": "neural"}, True, 1),
        ({"views": "fresh", "augmentation": "none", "head": "neural"}, False, 1),
        ({"views": "fresh", "augmentation": "flip", "head": "neural"}, False, 2),
    ],
)
def test_views_are_those_that_differ(choices: dict[str, object], fresh: bool, cached: int) -> None:
    recipe = load_recipe(**choices)
    assert (recipe.fresh, recipe.cached_views) == (fresh, cached)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"dropouts": 1}, "no choice 'dropouts'. Near: dropout"),
        ({"pooling": "mean"}, "pooling: Input should be 'avg', 'max'"),
        ({"views": 0}, "views: expected 1 or more"),
        ({"views": "fresh"}, "needs head = 'neural'"),
        ({"augmentation": {"rotate": 3}}, "rotate"),
        ({"size": 4}, "greater than or equal to 8, found 4"),
    ],
)
def test_errors_name_the_choice_and_what_was_found(choices: dict[str, object], text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(**choices)
    assert text in str(caught.value)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = b")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(tmp_path / "bad.toml")
    with pytest.raises(RecipeError, match="Expected one of classic, quick"):
        load_recipe("slow")


def test_settings_from_the_command_line() -> None:
    assert parse_setting("views=3") == ("views", 3)
    assert parse_setting("augmentation=none") == ("augmentation", "none")
    assert parse_setting("layers=['dense 8', 'dropout']") == ("layers", ["dense 8", "dropout"])
    assert parse_setting("learning_rate=1e-3") == ("learning_rate", 0.001)
    with pytest.raises(RecipeError, match="expected --set key=value"):
        parse_setting("views")


def test_a_recipe_is_frozen() -> None:
    recipe = Recipe()
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]
    assert recipe.changed(seed=1).seed == 1
    assert recipe.seed == 0
