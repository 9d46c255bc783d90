"""What was typed wrongly, told as every other error: expected, found, what to type."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from headstart.errors import HeadstartError, cannot_read

# Typer brings Click along or asks for it, by its version: the class is found from its own.
UsageError: Any = typer.BadParameter.__mro__[1]
LONG = 200  # letters of a name that a message shows


class Command(TyperCommand):
    """A command; its line in the list of all is the first sentence of its help."""

    def __init__(self, name: str | None, *, help: str | None = None, **settings: Any) -> None:
        paragraphs = [" ".join(part.split()) for part in (help or "").split("\n\n")]
        sentence = re.split(r"[.;](?:\s|$)", paragraphs[0], maxsplit=1)[0] + "."
        settings["short_help"] = settings.get("short_help") or sentence
        super().__init__(name, help="\n\n".join(paragraphs), **settings)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help, in styles that can be read on any ground."""
        _calm_styles()
        super().format_help(ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the usage, an argument that is needed without braces."""
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def get_params(self, ctx: Any) -> Any:
        """The parameters, as the help shows them."""
        return _without_types(super().get_params(ctx))


class Commands(TyperGroup):
    """A group of commands that offers the nearest names for one that there is not."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, as the help shows them."""
        return _without_types(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help, in styles that can be read on any ground."""
        _calm_styles()
        super().format_help(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names. Raises HeadstartError where there is none."""
        name, names = args[0], self.list_commands(ctx)
        if not name.startswith("-") and name not in names:
            raise HeadstartError(
                f"expected a command ({', '.join(names)}), found {name!r}.{_near(name, names)} "
                f"Type: {ctx.command_path} --help"
            )
        return super().resolve_command(ctx, args)


def _calm_styles() -> None:
    """Bold and dim in the place of Typer's colours: yellow and cyan cannot be read on white."""
    from typer import rich_utils

    for name, style in list(vars(rich_utils).items()):
        if name.startswith("STYLE_") and isinstance(style, str):
            words = [word for word in style.split() if word in ("bold", "dim")]
            calm = "bold" if style and not words else " ".join(words)
            setattr(rich_utils, name, calm)


def explain_usage(error: Any, group: Any, words: Sequence[str]) -> str:
    """The message about a UsageError; none where the help was shown in its place.

    group: all commands. words: what was typed after the program's name.
    """
    command, path = group, ["headstart"]
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        path.append(word)
    typed = " ".join(path)
    advice = f"Type: {typed} --help"
    needed = " ".join(
        [typed, *(_name(p) for p in command.params if p.param_type_name == "argument")]
    )
    match type(error).__name__:
        case "NoArgsIsHelpError":
            return ""
        case "NoSuchOption":
            options = [name for p in command.params for name in p.opts if name.startswith("--")]
            near = _near(error.option_name, options)
            return f"expected an option of {typed}, found {error.option_name}.{near} {advice}"
        case "MissingParameter":
            return f"expected {_name(error.param)}, found none. Type: {needed}"
        case "BadParameter":
            text = error.message.rstrip(".")
            text += "" if "Type: " in text else f". {advice}"
            return f"{_name(error.param)}: {text}" if error.param is not None else text
    found = error.format_message().rstrip(".")
    return f"expected {needed} [OPTIONS], found: {found[:1].lower()}{found[1:]}. {advice}"


def explain_system(error: OSError) -> str:
    """The message about what the system refused and nothing nearer has explained."""
    place = str(error.filename or "what this command reads or writes")
    place = place if len(place) <= LONG else f"{place[:LONG]}..."
    advice = "Allow it (chmod u+rw), give another path or make room, and type the same again"
    return cannot_read(place, error, "a file or folder that may be used", advice)


def whole(least: int, most: int) -> Callable[[str | int], int]:
    """What reads a whole number from `least` to `most`, as it was typed."""

    def parse_whole(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise typer.BadParameter(
                f"expected a whole number from {least:,} to {most:,}, found {str(text)!r}"
            )
        return number

    return parse_whole


def parse_number(text: str | float) -> float:
    """A number as it was typed."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number, found {text!r}") from None


def parse_sha256(text: str) -> str:
    """A SHA-256 as it was typed, in small letters."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise typer.BadParameter(f"expected 64 digits from 0 to f, found {text!r}")
    return text.lower()


def _without_types(parameters: Sequence[Any]) -> Sequence[Any]:
    """No "<bool>" beside a flag, which takes no value, no "<Path>" beside an argument's name."""
    for parameter in parameters:
        if parameter.param_type_name == "argument" or parameter.is_flag:
            parameter.display_type_rich = lambda ctx: ""
    return parameters


def _near(word: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, names, n=3)
    return f" Near: {', '.join(near)}." if near else ""


def _name(parameter: Any) -> str:
    longest: str = max(parameter.opts, key=len)
    return longest if longest.startswith("-") else parameter.metavar or longest.upper()
