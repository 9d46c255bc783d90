"""headstart features."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import (
    AsJson,
    Groups,
    Photos,
    Quiet,
    RecipeName,
    Settings,
    Weights,
    collect_choices,
    parse_path,
)
from headstart.cli.output import print_json, reporter, tell, tell_command
from headstart.cli.usage import whole


@app.command(epilog="Example: headstart features photos/ --to features --shard 1/2")
@command
def features(
    photos: Photos,
    to: Annotated[
        Path,
        typer.Option("--to", parser=parse_path, metavar="DIR", help="The folder of the files."),
    ],
    shard: Annotated[
        str, typer.Option(metavar="K/N", help="Make the K-th of N parts, each by its own process.")
    ] = "1/1",
    dtype: Annotated[str, typer.Option(help="f32, or f16 in half the space.")] = "f32",
    recipe: RecipeName = "quick",
    backbone: Annotated[
        str | None, typer.Option(help="See: headstart backbones.", show_default="the recipe's")
    ] = None,
    weights: Weights = None,
    cut: Annotated[
        str | None,
        typer.Option(help="Layer whose output serves as features, several joined by +."),
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="avg, max, avg+max, grid or flatten.")] = None,
    size: Annotated[
        int | None,
        typer.Option(
            parser=whole(1, 2048), metavar="N", help="Pixels of the input, height and width."
        ),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, f32 or bf16.")] = None,
    groups: Groups = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither take features from the cache nor keep them.")
    ] = False,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the features of labelled images as Parquet files, which train takes as it takes images.

    What is there is not made again: a job that was stopped goes on with the same command.
    """
    from headstart.store.job import write_features

    choices = collect_choices(
        settings, backbone=backbone, weights=weights, cut=cut, pooling=pooling, size=size,
        precision=precision, groups=groups,
    )  # fmt: skip
    progress = reporter(quiet, as_json)
    done = write_features(
        photos, to, recipe, shard=shard, dtype=dtype, cache=not no_cache, progress=progress,
        **choices,
    )  # fmt: skip
    if as_json:
        print_json({**done.to_dict(), "warnings": progress.warnings})
        return
    files = "1 file" if done.files == 1 else f"{done.files:,} files"
    tell(f"{done.images:,} images in {files} of {done.folder}, {done.computed:,} of them new")
    if done.bad:
        tell(f"{len(done.bad):,} images left out, see {done.table}")
    tell_command("Next: ", f"headstart train {done.folder}")
