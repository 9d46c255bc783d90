"""headstart cache info, verify, prune."""

from typing import Annotated

import typer

from headstart.cli import app, command

cache = typer.Typer(help="The features kept on this computer.", no_args_is_help=True)
app.add_typer(cache, name="cache")
