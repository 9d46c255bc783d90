"""headstart features."""

import shlex
from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import (
    AsJson,
    Backbone,
    Cuts,
    Groups,
    OnRay,
    Photos,
    PoolingKind,
    Precision,
    Quiet,
    RecipeName,
    Settings,
    ShardOf,
    Size,
    Weights,
    collect_choices,
)
from headstart.cli.output import print_json, reporter, tell, tell_command
from headstart.cli.usage import whole


@app.command(epilog="Example: headstart features photos/ --to features --shard 1/2")
@command
def features(
    photos: Photos,
    to: Annotated[
        str,
        typer.Option(
            "--to", "--out", metavar="DEST", help="Folder of the files, or address (s3://...)."
        ),
    ],
    shard: ShardOf = None,
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="f32, or f16 in half the space.")
    ] = "f32",
    on: OnRay = None,
    sample: Annotated[
        int | None,
        typer.Option(
            parser=whole(100, 100_000), metavar="N", help="Measure the cut on N images first."
        ),
    ] = None,
    recipe: RecipeName = "quick",
    backbone: Backbone = None,
    weights: Weights = None,
    cut: Cuts = None,
    pooling: PoolingKind = None,
    size: Size = None,
    precision: Precision = None,
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
    from headstart.data.address import note, read_address
    from headstart.recipe import load_recipe
    from headstart.store.folder import open_folder
    from headstart.store.job import write_features

    choices = collect_choices(
        settings, backbone=backbone, weights=weights, cut=cut, pooling=pooling, size=size,
        precision=precision, groups=groups,
    )  # fmt: skip
    progress = reporter(quiet, as_json)
    chosen = load_recipe(recipe, **choices)
    if sample is not None:
        from headstart.runs.sampled import settle_recipe

        chosen = settle_recipe(photos, open_folder(to), chosen, progress, sample)
    done = write_features(
        photos, to, chosen, shard=shard or "1/1", dtype=dtype, cache=not no_cache, on=on,
        progress=progress,
    )  # fmt: skip
    if quiet and not as_json:
        tell(done.folder)
        return
    if as_json:
        print_json({**done.to_dict(), "warnings": progress.warnings})
        return
    files = "1 file" if done.files == 1 else f"{done.files:,} files"
    tell(f"{done.images:,} images in {files} of {done.folder}, {done.computed:,} of them new")
    if done.bad:
        tell(f"{len(done.bad):,} images left out, see {done.table}")
    address = read_address(to)  # with the options that say where it is, without its keys
    place = done.folder if address is None else note(address)
    tell_command("Next: ", f"headstart train {shlex.quote(place)}")
