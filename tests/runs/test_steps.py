"""What the steps hand on."""

from types import SimpleNamespace
from typing import Any

from headstart.recipe import load_recipe
from headstart.runs.steps import list_parts


def test_only_linear_heads_are_averaged_over_cuts() -> None:
    """As a remedy tries a neural head on the cuts of a run."""
    slices = {"a": slice(0, 2), "b": slice(2, 5)}
    extractor: Any = SimpleNamespace(slices=slices, cuts=tuple(slices))
    recipe = load_recipe(cut="a+b", fusion="late")
    assert list_parts(recipe, extractor) == (slice(0, 2), slice(2, 5))
    assert list_parts(recipe.changed(head="neural"), extractor) == ()
    assert list_parts(recipe.changed(fusion="early"), extractor) == ()
    one: Any = SimpleNamespace(slices={"a": slice(0, 2)}, cuts=("a",))
    assert list_parts(recipe, one) == ()
