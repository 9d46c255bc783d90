"""Recipes: TOML there and back, near names, and what views they mean."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import pytest

import headstart
from headstart.backbones.cut import Cut
from headstart.errors import RecipeError
from headstart.images.augment import Augmentation
from headstart.recipe import (
    AUGMENTATIONS,
    Choices,
    Recipe,
    check_heeded,
    load_recipe,
    parse_setting,
    recipes,
    seconds,
)


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
        ({"pooling": "mean"}, "pooling: expected 'avg', 'max'"),
        ({"views": 0}, "views: expected 1 to 1,000, or 'fresh', found 0. For every choice, type:"),
        ({"views": "fresh"}, "needs head = 'neural'"),
        ({"augmentation": {"rotate": 3}}, "rotate"),
        ({"size": 4}, "size: expected greater than or equal to 8, found 4"),
        ({"cut": "last+last"}, "cut: expected each layer once, found last:avg twice"),
        ({"cut": "last:grid+last", "pooling": "grid"}, "found last:grid twice"),
        ({"cut": "last:grid+last+last"}, "found last:avg twice"),
        ({"views": 1_000_000}, "views: expected 1 to 1,000"),
        ({"layers": ["dense 999999999"]}, "expected 1 to 65,536 units, found 'dense 999999999'"),
        ({"layers": ["dense 0"]}, "expected 1 to 65,536 units, found 'dense 0'"),
        ({"layers": ["dropout"] * 1000}, "layers: Tuple should have at most 100 items"),
        ({"epochs": 10**9}, "epochs: expected less than or equal to 100000"),
        ({"tune_epochs": 10**9}, "tune_epochs: expected less than or equal to 10000"),
        ({"batch_size": 10**9}, "batch_size: expected less than or equal to 65536"),
        ({"folds": 10**9}, "folds: expected less than or equal to 20"),
        ({"budget": float("nan")}, "budget: expected greater than or equal to 0"),
        ({"tune_budget": float("nan")}, "tune_budget: expected greater than or equal to 0"),
        ({"learning_rate": float("inf")}, "learning_rate: expected a finite number"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a finite number"),
        ({"validation_fraction": float("nan")}, "validation_fraction: expected a finite number"),
        (
            {"augmentation": {"rotation": float("nan")}},
            "augmentation: expected rotation to be a number",
        ),
        ({"augmentation": {"zoom": float("inf")}}, "augmentation: expected zoom to be a number"),
    ],
)
def test_errors_name_the_choice_and_what_was_found(choices: dict[str, object], text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(**choices)
    assert text in str(caught.value)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    advice = "For one to begin with, type: headstart recipe quick$"
    with pytest.raises(RecipeError, match=rf"none.toml: expected .*found: No such.*{advice}"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = b")
    with pytest.raises(RecipeError, match=rf"bad.toml: expected .*TOML, found: Inv.*{advice}"):
        load_recipe(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(RecipeError, match=rf"latin.toml: expected .*found: 'utf-8'.*{advice}"):
        load_recipe(tmp_path / "latin.toml")
    for name, text in (("deep", "a = " + 100_000 * "["), ("long", "seed = " + 5_000 * "9")):
        (tmp_path / f"{name}.toml").write_text(text)
        with pytest.raises(RecipeError, match=rf"{name}.toml: expected a recipe.*{advice}"):
            load_recipe(tmp_path / f"{name}.toml")
    with pytest.raises(RecipeError, match="Expected one of classic, quick"):
        load_recipe("slow")


def test_settings_from_the_command_line() -> None:
    assert parse_setting("views=3") == ("views", 3)
    assert parse_setting("augmentation=none") == ("augmentation", "none")
    assert parse_setting("layers=['dense 8', 'dropout']") == ("layers", ["dense 8", "dropout"])
    assert parse_setting("learning_rate=1e-3") == ("learning_rate", 0.001)
    with pytest.raises(RecipeError, match="expected --set key=value"):
        parse_setting("views")


@pytest.mark.parametrize("value", [100_000 * "[", 5_000 * "9", 5_000 * "a", "\ud800"])
def test_a_setting_beyond_all_measure_is_a_short_message(value: str) -> None:
    with pytest.raises(RecipeError, match="seed: ") as caught:
        load_recipe(**dict([parse_setting(f"seed={value}")]))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["soon", "", "-5s", "nan", "inf", "1e999h", "nans", "5 apples"])
def test_a_time_is_a_finite_number(text: str) -> None:
    with pytest.raises(RecipeError, match="expected a time such as 60s or 5m"):
        seconds(text)


@pytest.mark.parametrize(
    ("choices", "needed"),
    [
        ({"learning_rate": 0.1}, "head=neural with learning_rate"),
        ({"epochs": 20, "seed": 3}, "head=neural with epochs"),
        ({"batch_size": 8}, "head=neural with batch_size"),
        ({"tune_epochs": 8}, "finetune=true with tune_epochs"),
        ({"tune_epochs": 8, "head": "neural"}, "finetune=true with tune_epochs"),
        ({"optimizer": "sgd", "finetune": True}, "head=neural with optimizer"),
    ],
)
def test_what_nothing_would_look_at_is_refused_where_it_is_typed(
    choices: dict[str, Any], needed: str, tmp_path: Path
) -> None:
    recipe = load_recipe(**choices)  # a file that carries it is well
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    assert load_recipe(tmp_path / "r.toml") == recipe
    with pytest.raises(RecipeError, match=f"expected {needed}, .* Type: --set"):
        headstart.train(tmp_path, **choices)


@pytest.mark.parametrize(
    "choices",
    [
        {"epochs": 3, "head": "neural"},
        {"epochs": 3, "head": "auto"},
        {"tune_epochs": 3, "batch_size": 8, "finetune": True},
        {"batch_size": 8, "head": "neural"},
        {"seed": 1, "views": 2, "folds": 3},
        {"cut": "a+b", "fusion": "late"},
    ],
)
def test_what_is_looked_at_is_taken(choices: dict[str, Any]) -> None:
    check_heeded(load_recipe(**choices), choices)
    check_heeded(load_recipe(**choices), ())


def test_a_recipe_is_frozen() -> None:
    recipe = Recipe()
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]
    assert recipe.changed(seed=1).seed == 1
    assert recipe.seed == 0


ODD = [
    "", " ", "5", "-3", "1e-3", "true", "nan", "inf", "1979-05-27", "auto", "a,b", "a=b", "a#b",
    "[x]", "{y}", '"', "'", "'''", 'say "no"', "back\\slash", "C:\\new\\table", "line\nbreak",
    "a\r\n", "tab\t", "\x00\x07\x1b\x7f", "\x85", "Käse 魚 🐟", "e\u0301", " both ends ", "${HOME}",
    "~no one/w",
]  # fmt: skip
OTHER: dict[str, list[object]] = {
    "size": [8, 2048],
    "resize": ["crop", "pad"],
    "interpolation": ["nearest"],
    "normalisation": ["0..1", "-1..1"],
    "cut": [["mixed7"], ["a:grid", "b+c"], *([t] for t in ODD[1:] if ":" not in t)],
    "fusion": ["late"],
    "pooling": ["avg+max"],
    "precision": ["bf16"],
    "budget": [0, 1e-7, 1e22, 0.1, float("inf")],
    "views": ["fresh", 7],
    "augmentation": [
        "lesson", "flip",
        {"rotation": 1e-5, "brightness": [0.5, 2.0], "colour_jitter": [0.1, 0.2, 0.3, 0.4]},
        {"crop": [0.25, 1.0], "fill_mode": "constant", "cval": 255.0, "quarter_turns": True},
    ],
    "validation_fraction": [1 / 3, 1e-9],
    "balanced": [True],
    "seed": [2**32 - 1],
    "head": ["neural", "auto"],
    "ensemble": [True],
    "folds": [20],
    "layers": [[], ["dense 8"], *([text, "dropout"] for text in ODD)],
    "dropout": [0, 0.1 + 0.2],
    "learning_rate": [5e-324, 1e300],
    "schedule": ["one_cycle"],
    "epochs": [10**5],
    "batch_size": [1],
    "label_smoothing": [0.5],
    "weight_decay": [1e-16],
    "patience": [3],
    "finetune": [True],
    "tune_epochs": [1],
    "tune_learning_rate": [1.5],
    "tune_decay": [1],
    "tune_budget": [0.0],
}  # fmt: skip
TEXTS = ("name", "backbone", "weights", "groups", "optimizer", "boundary")


@pytest.mark.parametrize("field", list(Recipe.model_fields))
def test_every_value_survives_toml_and_the_command_line(field: str, tmp_path: Path) -> None:
    assert set(Recipe.model_fields) == {*OTHER, *TEXTS}
    for value in OTHER.get(field, ODD):
        also = {"head": "neural"} if value == "fresh" else {}
        recipe = load_recipe(**{field: value}, **also)  # type: ignore[arg-type]
        (tmp_path / "again.toml").write_bytes(recipe.to_toml().encode())
        assert load_recipe(tmp_path / "again.toml") == recipe
        settings = recipe.settings(Recipe())
        assert all("\n" not in setting for setting in settings)
        assert Recipe(**dict(map(parse_setting, settings))) == recipe.changed(name="quick")


def test_the_toml_has_one_choice_a_line_and_the_augmentation_last() -> None:
    recipe = load_recipe("classic", weights="line\nbreak", cut=["a", "b:grid"], groups='say "no"')
    lines = recipe.to_toml(comments=False).splitlines()
    assert lines[2] == 'weights = "line\\nbreak"'
    assert 'cut = ["a", "b:grid"]' in lines
    assert 'layers = ["dense 1024 relu", "dropout"]' in lines
    assert "ensemble = false" in lines
    assert "learning_rate = 0.0001" in lines
    start = lines.index("[augmentation]")
    given = [name for name in Recipe.model_fields if name != "augmentation"]
    assert [line.partition(" = ")[0] for line in lines[: start - 1]] == given
    assert lines[start + 1] == "rotation = 40.0"


def test_every_choice_says_what_it_means_and_the_toml_repeats_it() -> None:
    text = " ".join(line.removeprefix("# ") for line in Recipe().to_toml().splitlines())
    for name, field in Recipe.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert field.description in text, name
    for field in fields(Augmentation):
        assert field.metadata["description"] in text, field.name
    assert all(len(line) <= 80 for line in Recipe().to_toml().splitlines())


def test_choices_that_are_not_set_stand_in_the_toml_as_they_would_be(tmp_path: Path) -> None:
    lines = Recipe().to_toml().splitlines()
    unset = [line for line in lines if re.fullmatch(r"# \w+ = .+", line)]
    names = ["size", "groups", "brightness", "colour_jitter", "crop"]
    assert [line.split()[1] for line in unset] == names
    given = "\n".join(line.removeprefix("# ") if line in unset else line for line in lines)
    (tmp_path / "set.toml").write_text(given)
    recipe = load_recipe(tmp_path / "set.toml")
    assert (recipe.size, recipe.groups) == (224, "patient")
    assert recipe.augmentation.crop == (0.6, 1.0)


def test_the_recipe_without_choices_is_quick() -> None:
    assert Recipe() == load_recipe("quick") == load_recipe()


def test_settings_are_quoted_only_where_they_would_be_read_otherwise() -> None:
    recipe = load_recipe(groups="5", optimizer="rmsprop", pooling="avg+max", layers=["dense 8"])
    assert recipe.settings(load_recipe()) == [
        "pooling=avg+max", 'groups="5"', 'layers=["dense 8"]', "optimizer=rmsprop",
    ]  # fmt: skip


def test_the_choices_that_editors_see_are_those_of_a_recipe() -> None:
    """Each as the recipe holds it, or wider where it takes more than it holds."""
    wider = {
        "cut": str | list[str] | tuple[str, ...] | list[Cut] | tuple[Cut, ...],
        "layers": list[str] | tuple[str, ...],
        "augmentation": Literal["none", "flip", "lesson"] | dict[str, Any] | Augmentation,
    }
    held = {name: field.annotation for name, field in Recipe.model_fields.items()}
    assert get_type_hints(Choices) == held | wider
    assert list(get_type_hints(Choices)) == list(held)
    assert not Choices.__required_keys__
    named, _, _ = get_args(wider["augmentation"])
    assert set(get_args(named)) == set(AUGMENTATIONS)
    for form in ("mixed7", ["mixed7"], ("mixed7",), [Cut("mixed7")], (Cut("mixed7"),)):
        assert load_recipe(cut=form).cut == ("mixed7",)
