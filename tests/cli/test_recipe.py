"""What the command line says of the choices of a recipe."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from headstart.cli.recipe import describe_type
from headstart.images.augment import Augmentation
from headstart.recipe import Recipe

Call = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def test_every_choice_is_described(call: Call) -> None:
    done = call("recipe", "thorough", "--describe")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    for name in [*Recipe.model_fields, *(field.name for field in fields(Augmentation))]:
        assert name == "augmentation" or f"  {name} " in done.out
    said = " ".join(done.out.split())
    assert "views 3 (default: 1) Views of each training image" in said
    assert "size not set Pixels" in said
    assert "Expected: 8 to 2,048." in said
    assert (
        "without one of its own. Expected: 0 or more, below 1. Passed over here: it needs " in said
    )


def test_the_choices_as_json(call: Call) -> None:
    told = json.loads(call("recipe", "--json").out)
    assert told["recipe"] == "quick"
    by_name = {choice["name"]: choice for choice in told["choices"]}
    assert by_name["folds"] == {
        "name": "folds", "section": "What is trained on the features", "value": 5, "default": 5,
        "expected": "2 to 20", "meaning": "Of cross-validation inside the training images.",
        "needs": None,
    }  # fmt: skip
    assert all(choice["value"] == choice["default"] for choice in told["choices"])


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "number", "minimum": 0}, "0 or more"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "above 0, 1 at most"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "above 0, below 1"),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "1 to 1,000"),
        ({"enum": ["a", "b", "c"]}, "a, b or c"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "a text"),
        ({"anyOf": [{"minimum": 1, "maximum": 2}, {"const": "fresh"}]}, "1 to 2, or fresh"),
    ],
)
def test_what_is_expected_in_words(schema: dict[str, Any], words: str) -> None:
    assert describe_type(schema) == words


def test_the_page_of_recipes_says_what_the_code_says() -> None:
    command = [sys.executable, str(ROOT / "bench" / "recipe_page.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    page = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert done.stdout == page, "type: python bench/recipe_page.py > docs/recipe.md"
