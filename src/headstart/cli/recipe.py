"""headstart recipe: every choice of a recipe, and what each means."""

import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import app, command
from headstart.cli.options import AsJson
from headstart.cli.output import line_width, print_json, tell

if TYPE_CHECKING:
    from headstart.recipe import Recipe

TEXT, FLAG, TEXTS = "a text", "true or false", "a list of texts"
PLAIN = (TEXT, FLAG, TEXTS)  # which the value itself shows
INDENT = 22  # letters before what is said of a choice: the longest name has 20


@dataclass(frozen=True)
class Choice:
    """A choice of a recipe. value and default are as in JSON; needs: the setting without which this
    recipe passes the choice over, if it does.
    """

    name: str
    section: str
    value: Any
    default: Any
    expected: str
    meaning: str
    needs: str | None = None


@app.command(epilog="Example: headstart recipe quick > mine.toml")
@command
def recipe(
    name: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's name or a TOML file.")
    ] = "quick",
    describe: Annotated[
        bool, typer.Option("--describe", help="Say of each choice what it means and may be.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show every choice of a recipe as TOML, to change and train with."""
    from headstart.recipe import load_recipe, recipes

    chosen = load_recipe(name)
    if as_json:
        print_json(
            {"recipe": chosen.name, "choices": [asdict(row) for row in list_choices(chosen)]}
        )
    elif describe:
        _describe(chosen)
    else:
        tell(f"# Recipes: {', '.join(recipes())}")
        tell(chosen.to_toml(), end="")


def list_choices(recipe: "Recipe") -> list[Choice]:
    """Every choice of the recipe in its order, the ranges of the augmentation last."""
    from dataclasses import fields

    from headstart.images import augment
    from headstart.recipe import SECTIONS, Recipe, list_unheeded

    schema = Recipe.model_json_schema()["properties"]
    values, defaults = recipe.model_dump(mode="json"), Recipe().model_dump(mode="json")
    unheeded, section, choices = list_unheeded(recipe), "", []
    for name, about in schema.items():
        section = SECTIONS.get(name, section)
        if name != "augmentation":
            choices.append(Choice(
                name, section, values[name], defaults[name], describe_type(about),
                about["description"], unheeded.get(name),
            ))  # fmt: skip
    for choice in fields(augment.Augmentation):
        ranges, usual = values["augmentation"], defaults["augmentation"]
        choices.append(Choice(
            choice.name, "Augmentation: a name (none, flip, lesson), or these ranges",
            ranges[choice.name], usual[choice.name], augment.expected(choice.name),
            choice.metadata["description"],
        ))  # fmt: skip
    return choices


def describe_type(schema: dict[str, Any]) -> str:
    """What values the JSON schema of a choice allows, in words."""
    if "anyOf" in schema:
        parts = [describe_type(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return ", or ".join(parts)
    if "enum" in schema:
        return " or ".join([", ".join(schema["enum"][:-1]), schema["enum"][-1]])
    if "const" in schema:
        return str(schema["const"])
    kinds = {"boolean": FLAG, "string": TEXT, "array": TEXTS}
    if schema.get("type") in kinds:
        return kinds[schema["type"]]
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    words = f"{low:,} or more" if low is not None else f"above {above:,}"
    return words + (f", below {below:,}" if below is not None else "") + (
        f", {high:,} at most" if high is not None else "")  # fmt: skip


def _describe(recipe: "Recipe") -> None:
    """A paragraph a choice: its value, what it means and what it may be."""
    from headstart.recipe import to_toml_value

    width, section = min(line_width() or 80, 100), ""
    for choice in list_choices(recipe):
        if choice.section != section:
            section = choice.section
            tell(f"\n{section}\n")
        value = "not set" if choice.value is None else to_toml_value(choice.value)
        if choice.value != choice.default:
            usual = choice.default
            value += f" (default: {'not set' if usual is None else to_toml_value(usual)})"
        said = choice.meaning
        if choice.expected not in PLAIN:
            said += f" Expected: {choice.expected}."
        if choice.needs:
            said += f" Passed over here: it needs {choice.needs}."
        tell(f"  {choice.name.ljust(INDENT - 2)}{value}")
        tell(textwrap.indent(textwrap.fill(said, width - INDENT), INDENT * " "))
