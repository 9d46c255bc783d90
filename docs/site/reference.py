"""The pages of the site that are made of the program itself as the site is built: its commands as
`--help` tells them, its public names by their docstrings, and the changes.
"""

import inspect
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import headstart
from headstart.cli.app import load_commands


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs once it has listed the pages."""
    changes = Path(config.config_file_path).with_name("CHANGELOG.md").read_text(encoding="utf-8")
    for name, text in (
        ("commands", describe_commands()),
        ("python", describe_names()),
        ("changes", changes),
    ):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def describe_commands() -> str:
    """Each command with its arguments, options and example, by what somebody wants."""
    group: Any = typer.main.get_command(load_commands())
    panels: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        inner = {f"{name} {sub}": one for sub, one in getattr(command, "commands", {}).items()}
        for full, one in (inner or {name: command}).items():
            panel = getattr(command, "rich_help_panel", None)
            panels.setdefault(panel if isinstance(panel, str) else "More", []).append(
                _describe(full, one)
            )
    parts = [f"## {title}\n\n" + "\n".join(texts) for title, texts in panels.items()]
    return "# Commands\n\nAs `headstart COMMAND --help` tells them.\n\n" + "\n".join(parts)


def _describe(name: str, command: Any) -> str:
    rows = []
    for parameter in command.params:
        if "--help" in parameter.opts:
            continue
        typed = parameter.metavar or ""
        if parameter.param_type_name == "option":
            named = ", ".join(f"`{option}`" for option in parameter.opts)
            typed = "" if parameter.is_flag else f" `{typed}`" if typed else ""
        else:
            named, typed = f"`{typed or parameter.name.upper()}`", ""
        rows.append(f"| {named}{typed} | {_cell(parameter.help)} | {_cell(_default(parameter))} |")
    table = "| typed | meaning | default |\n| --- | --- | --- |\n" + "\n".join(rows)
    example = (command.epilog or "").removeprefix("Example: ")
    return (
        f"### headstart {name}\n\n{_text(command.help)}\n\n{table}\n\n```console\n{example}\n```\n"
    )


def _default(parameter: Any) -> str:
    value = parameter.default
    plain = isinstance(value, str | int | float | Path) and not isinstance(value, bool)
    return f"`{value}`" if plain else ""


def describe_names() -> str:
    """Each public name with its signature and docstring, what one begins with first."""
    parts = []
    first = ["train", "Run", "load", "Classifier", "evaluate", "compare"]
    for name in [*first, *(one for one in headstart.__all__ if one not in first)]:
        value = getattr(headstart, name)
        parts.append(f"## {name}\n\n{_describe_value(name, value)}")
        for method, inner in sorted(vars(value).items()) if inspect.isclass(value) else ():
            if not method.startswith("_") and _is_told(inner) and inspect.getdoc(inner):
                parts.append(f"### {name}.{method}\n\n{_describe_value(method, inner)}")
    return "# Python\n\nWhat `import headstart` gives.\n\n" + "\n".join(parts)


def _is_told(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, property | classmethod)


def _describe_value(name: str, value: Any) -> str:
    """Its signature, and its docstring as paragraphs and examples."""
    told = []
    for paragraph in (inspect.getdoc(value) or "").split("\n\n"):
        is_code = paragraph.lstrip().startswith(">>>") or paragraph.startswith("    ")
        told.append(f"```python\n{paragraph}\n```" if is_code else _text(paragraph))
    return _write_signature(name, value) + "\n\n".join(told) + "\n"


def _write_signature(name: str, value: Any) -> str:
    """One line, or a line a parameter; the choices of a recipe, which are forty, as one."""
    inner = value.__func__ if isinstance(value, classmethod) else value
    if isinstance(inner, property) or inner is headstart.Recipe:
        return ""
    try:
        signature = inspect.signature(inner)
    except (TypeError, ValueError):
        return ""
    shown = [str(one) for one in signature.parameters.values() if one.name not in ("self", "cls")]
    choices = [one for one in shown if one.partition(":")[0] in headstart.Recipe.model_fields]
    if len(choices) > 5:
        shown = [one for one in shown if one not in choices] + ["**choices of a recipe"]
    # Types by their own names, whichever module they are in.
    shown = [re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", one) for one in shown]
    line = f"{name}({', '.join(shown)})"
    if len(line) > 80:
        line = f"{name}(\n" + "".join(f"    {one},\n" for one in shown) + ")"
    return f"```python\n{line}\n```\n\n"


def _text(words: str | None) -> str:
    return inspect.cleandoc(words or "").replace("<", "&lt;")


def _cell(words: str | None) -> str:
    return " ".join(_text(words).split()).replace("|", "\\|")
