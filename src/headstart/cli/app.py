"""The command line: each command parses, calls one function of the API, and prints.

Nothing heavy is imported here or at the top of the commands' modules, so help answers at once.
"""

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from headstart.errors import HeadstartError

if TYPE_CHECKING:
    from headstart.recipe import Recipe

OPTIONS = ("backbone", "weights", "cut", "pooling", "size", "precision", "seed")  # of train
STOPPED = 130  # what a shell expects of a program ended by Ctrl-C

app = typer.Typer(
    name="headstart",
    help="A folder of labelled images becomes a tested, deployable classifier.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose HeadstartError or OSError becomes one message and exit code 2."""

    @functools.wraps(function)
    def careful(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except HeadstartError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(2) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            print(f"error: {error.strerror or error}{place}", file=sys.stderr)
            raise typer.Exit(2) from error
        except KeyboardInterrupt:
            told = "\nStopped."
            if function.__name__ in ("train", "finetune"):
                told += (" Features computed so far are kept: type the same command to go on, or "
                         "headstart train --resume RUN if a run was named above.")  # fmt: skip
            print(told, file=sys.stderr)
            raise typer.Exit(STOPPED) from None

    return careful


def typed(photos: Any, recipe: "Recipe", base: str = "quick") -> str:
    """The command that trains with every choice of `recipe`, as a shell takes it."""
    import shlex

    from headstart.recipe import load_recipe

    words = ["headstart", "train", str(photos)]
    if base != "quick":
        words += ["--recipe", base]
    for setting in recipe.settings(load_recipe(base)):
        key, _, value = setting.partition("=")
        if key == "cut" and value.startswith("["):
            value = "+".join(recipe.cut)
        words += [f"--{key}", value] if key in OPTIONS else ["--set", f"{key}={value}"]
    return shlex.join(words)


def _version(wanted: bool) -> None:
    if wanted:
        from headstart import __version__

        print(f"headstart {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and stop."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    from headstart.cli import cache, catalogue, measure, predict, train  # noqa: F401

    app()
