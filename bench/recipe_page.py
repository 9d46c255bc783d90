"""The reference of recipes, docs/recipe.md, made of what `headstart recipe` says of each choice.

python bench/recipe_page.py > docs/recipe.md
"""

import json
import subprocess
import sys
from itertools import groupby
from typing import Any

HEAD = """# Recipes

Every choice of a training is a field of its recipe. `headstart recipe quick` prints one as TOML,
to be changed and trained with (`headstart train photos/ --recipe mine.toml`); `--set KEY=VALUE`
changes one choice, and in Python each is a keyword: `headstart.train("photos/", views=2)`.
`headstart recipe quick --describe` says what stands here; `headstart.Recipe()` is `quick`.
"""
RECIPES = ("quick", "thorough", "classic")


def read_choices(recipe: str) -> list[dict[str, Any]]:
    """What the command says of each choice of a recipe."""
    command = [sys.executable, "-m", "headstart", "recipe", recipe, "--json"]
    choices: list[dict[str, Any]] = json.loads(subprocess.check_output(command))["choices"]
    return choices


def write_page() -> str:
    """The page in Markdown."""
    lines = [HEAD]
    for section, rows in groupby(read_choices("quick"), lambda choice: choice["section"]):
        lines += [f"## {section or 'Its name'}\n", "| choice | in quick | expected | meaning |",
                  "| --- | --- | --- | --- |"]  # fmt: skip
        for row in rows:
            value = "not set" if row["value"] is None else f"`{json.dumps(row['value'])}`"
            needs = f" Needs `{row['needs']}`." if row["needs"] else ""
            lines.append(
                f"| `{row['name']}` | {value} | {row['expected']} | {row['meaning']}{needs} |"
            )
        lines.append("")
    lines.append("## The recipes that come along\n")
    for recipe in RECIPES[1:]:
        other = [row for row in read_choices(recipe)[1:] if row["value"] != row["default"]]
        changes = ", ".join(f"`{row['name']} = {json.dumps(row['value'])}`" for row in other)
        lines.append(f"* `{recipe}` differs from `quick` in: {changes}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(write_page())
