"""The command line: each command parses, calls one function of the API, and prints.

Nothing heavy is imported here or at the top of the commands' modules, so help answers at once.
"""

import functools
import importlib
import io
import sys
from collections.abc import Callable
from typing import Any

import typer

from headstart.cli.output import tell, tell_text
from headstart.cli.usage import Command, Commands, UsageError, explain_system, explain_usage
from headstart.errors import HeadstartError
from headstart.system.text import escape

LONGEST = 4000  # letters of a message: no list of names, or content, fills the terminal
STOPPED = 130  # what a shell expects of a program ended by Ctrl-C
RESUMABLE = ("train", "finetune")
MODULES = ("train", "predict", "evaluate", "explain", "serve", "runs", "report", "compare", "audit",
           "catalogue", "layers", "measure", "look", "recipe", "export", "fetch", "weights",
           "cache", "doctor", "features")  # fmt: skip
# The commands as the help lists them, by what somebody wants.
PANELS = {
    "Start": ("train", "predict", "demo"),
    "Understand": ("evaluate", "check", "info", "report", "open", "summary", "explain", "compare",
                   "audit"),
    "Improve": ("remedies", "finetune", "learning-curve", "heads", "layers", "backbones", "lr",
                "augment"),
    "Use": ("export", "verify", "serve", "feedback"),
    "Housekeeping": ("runs", "recipe", "features", "cache", "weights", "fetch", "doctor"),
}  # fmt: skip


class AllCommands(Commands):
    """All commands, in the order and under the headings of PANELS."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        panels = {name: panel for panel, names in PANELS.items() for name in names}
        self.commands = {name: self.commands[name] for name in panels}
        for name, panel in panels.items():
            command: Any = self.commands[name]
            command.rich_help_panel = panel


app = typer.Typer(
    name="headstart",
    cls=AllCommands,
    help="A folder of labelled images becomes a tested, deployable classifier.",
    epilog="To begin with, type: headstart train PHOTOS",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command that Ctrl-C ends with one message and the exit code that shells expect."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except KeyboardInterrupt:
            message = "\nStopped."
            if function.__name__ in RESUMABLE:
                message += (
                    " Features computed so far are kept: type the same command to go on, or "
                    "headstart train --resume RUN if a run was named above."
                )
            tell(message, to=sys.stderr)
            raise typer.Exit(STOPPED) from None

    return call


def _show_version(wanted: bool) -> None:
    if wanted:
        from headstart import __version__

        tell(f"headstart {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and stop."
    ),
) -> None:
    pass


def load_commands() -> typer.Typer:
    """The command line with all its commands."""
    for module in MODULES:
        importlib.import_module(f"headstart.cli.{module}")
    groups = [group.typer_instance for group in app.registered_groups]
    for listed in (app, *filter(None, groups)):
        for entry in listed.registered_commands:
            entry.cls = Command
    return app


def main() -> None:
    """Run the command line, and end with its exit code: 2, after one message, for what was typed
    wrongly and for every HeadstartError and OSError.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # letters that it cannot write are escaped
            stream.reconfigure(errors="backslashreplace")
    group: Any = None
    try:
        group = typer.main.get_command(load_commands())
        code = group.main(prog_name="headstart", standalone_mode=False)
    except UsageError as error:
        sys.exit(_refuse(explain_usage(error, group, sys.argv[1:])))
    except (KeyboardInterrupt, typer.Abort):  # Ctrl-C before the command began
        sys.exit(_stop())
    except HeadstartError as error:
        sys.exit(_refuse(str(error)))
    except OSError as error:
        sys.exit(_refuse(explain_system(error)))
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # what an import makes of Ctrl-C
            sys.exit(_stop())
        raise
    sys.exit(code)


def _stop() -> int:
    tell("\nStopped.", to=sys.stderr)
    return STOPPED


def _refuse(message: str) -> int:
    if message:
        from headstart.data.address import drop_keys

        if len(message) > LONGEST:  # its beginning, and what to type
            message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
        tell_text(f"error: {escape(drop_keys(message))}", indent="  ", to=sys.stderr)
    return 2
