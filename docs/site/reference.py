"""The pages of the site that are made of the program itself as the site is built: its commands as
`--help` tells them, its public names by their docstrings, and the changes.
"""

import inspect
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
    """Each public name with its signature and docstring."""
    parts = []
    for name in headstart.__all__:
        value = getattr(headstart, name)
        parts.append(f"## {name}\n\n{_describe_value(name, value)}")
        if inspect.isclass(value):
            for method, inner in sorted(vars(value).items()):
                told = getattr(inner, "__doc__", None)
                if not method.startswith("_") and told and _is_told(inner):
                    inner = inner.__func__ if isinstance(inner, classmethod) else inner
                    parts.append(f"### {name}.{method}\n\n{_describe_value(method, inner)}")
    return "# Python\n\n`import headstart`; what begins with `_` is not public.\n\n" + "\n".join(
        parts
    )


def _is_told(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, property | classmethod)


def _describe_value(name: str, value: Any) -> str:
    try:
        signature = "" if isinstance(value, property) else str(inspect.signature(value))
    except (TypeError, ValueError):
        signature = ""
    head = f"```python\n{name}{signature}\n```\n\n" if 0 < len(signature) < 1000 else ""
    return f"{head}```text\n{inspect.getdoc(value) or ''}\n```\n"


def _text(words: str | None) -> str:
    return inspect.cleandoc(words or "").replace("<", "&lt;")


def _cell(words: str | None) -> str:
    return " ".join(_text(words).split()).replace("|", "\\|")
