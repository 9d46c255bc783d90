"""headstart finetune."""

from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.cli import app, command
from headstart.cli.train import AsJson, Quiet, reporter, show


@app.command(epilog="Example: headstart finetune runs/photos-1 --budget 5m")
@command
def finetune(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that train printed.")],
    boundary: Annotated[
        str, typer.Option(help="Layer above which is tuned, or auto: as far down as it pays.")
    ] = "auto",
    budget: Annotated[
        str,
        typer.Option(help="Time for it all; three eighths of it to measure how far down it pays."),
    ] = "10m",
    epochs: Annotated[int | None, typer.Option(help="Of each stage, at most.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The new run's folder. Default: runs/NAME-N.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change any choice of the recipe."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Tune the upper layers too, from cached activations; keeps the linear head if that is better.

    A tuning that was stopped goes on with headstart train --resume RUN.
    """
    from headstart import pipeline
    from headstart.recipe import parse_setting, seconds
    from headstart.run import Run

    choices: dict[str, Any] = {"boundary": boundary, "tune_budget": seconds(budget)}
    if epochs is not None:
        choices["tune_epochs"] = epochs
    choices.update(parse_setting(text) for text in settings or [])
    found = pipeline.finetune(Run(run), out=out, progress=reporter(quiet, as_json), **choices)
    show(found, quiet, as_json)
