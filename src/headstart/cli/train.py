"""headstart train, finetune, demo: what makes a run."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import (
    AsJson,
    Backbone,
    Budget,
    ChangedData,
    Cuts,
    Groups,
    NewRun,
    OnRay,
    PoolingKind,
    Precision,
    Quiet,
    RecipeName,
    RunFolder,
    Seed,
    Settings,
    Size,
    Strict,
    Verbose,
    Weights,
    collect_choices,
    list_typed_options,
    parse_path,
)
from headstart.cli.output import reporter
from headstart.cli.result import show_run
from headstart.cli.usage import whole

# A run that is resumed knows its images and choices; what may be typed beside it.
BESIDE_RESUME = ("resume", "tensorboard", "mlflow", "quiet", "verbose", "as_json")


@app.command(
    epilog="Example: headstart train photos/ --set views=2 --set augmentation=flip",
)
@command
def train(
    context: typer.Context,
    photos: Annotated[
        Path | None,
        typer.Argument(
            parser=parse_path,
            metavar="PHOTOS",
            help="Folder, table, archive or address of labelled images.",
        ),
    ] = None,
    recipe: RecipeName = "quick",
    validation: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path, metavar="PHOTOS", help="Images to validate with, if kept apart."
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path, metavar="PHOTOS", help="Images to test with, if kept apart."
        ),
    ] = None,
    out: NewRun = None,
    backbone: Backbone = None,
    weights: Weights = None,
    cut: Cuts = None,
    pooling: PoolingKind = None,
    size: Size = None,
    precision: Precision = None,
    seed: Seed = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time for measuring what serves best, such as 60s; all else comes on top.",
        ),
    ] = None,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Weigh classes so that rare ones count as much.")
    ] = False,
    groups: Groups = None,
    strict: Strict = False,
    settings: Settings = None,
    on: OnRay = None,
    features: Annotated[
        str | None,
        typer.Option(metavar="DEST", help="With --on: where the features go (s3://...)."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path, metavar="RUN", help="Go on with a training that was stopped."
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path, metavar="DIR", help="Log the training there too, for TensorBoard."
        ),
    ] = None,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log the training to MLflow too.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on a folder of labelled images."""
    from headstart.errors import RecipeError
    from headstart.recipe import load_recipe
    from headstart.runs import training
    from headstart.runs.folder import Run
    from headstart.runs.tracking import open_trackers, track

    passed_over = list_typed_options(context, but=BESIDE_RESUME)
    if resume is not None and passed_over:
        raise RecipeError(
            "expected --resume RUN alone, for the run knows its images and choices, found "
            f"also {', '.join(passed_over)}. Type: headstart train --resume {resume}"
        )
    if resume is None and photos is None:
        raise RecipeError("expected PHOTOS to train on, or --resume RUN. Type: headstart train DIR")
    progress = reporter(quiet, as_json, verbose)
    if resume is not None:
        callbacks = []
        if tensorboard is not None or mlflow:
            callbacks = open_trackers(Run(resume).recipe, tensorboard, mlflow)
        run = training.resume(resume, progress=progress, callbacks=callbacks)
    else:
        choices = collect_choices(
            settings, budget=budget, backbone=backbone, weights=weights, cut=cut, pooling=pooling,
            size=size, precision=precision, seed=seed, groups=groups, balanced=balanced or None,
        )  # fmt: skip
        assert photos is not None
        callbacks = open_trackers(load_recipe(recipe, **choices), tensorboard, mlflow)
        run = training.train(
            photos, recipe, validation=validation, test=test, out=out, strict=strict,
            on=on, features=features, progress=progress, callbacks=callbacks, **choices,
        )  # fmt: skip
    show_run(run, quiet, as_json, verbose)
    track(run, tensorboard, mlflow)


@app.command(epilog="Example: headstart finetune runs/photos-1 --budget 5m")
@command
def finetune(
    run: RunFolder,
    boundary: Annotated[
        str,
        typer.Option(
            metavar="LAYER", help="Layer above which is tuned, or auto: as far down as it pays."
        ),
    ] = "auto",
    budget: Budget = "10m",
    epochs: Annotated[
        int | None,
        typer.Option(parser=whole(1, 10_000), metavar="N", help="Of each stage, at most."),
    ] = None,
    changed_data: ChangedData = False,
    out: NewRun = None,
    settings: Settings = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Tune the upper layers too, from cached activations; keeps the linear head if that is better.

    Three eighths of the budget are for measuring how far down it pays. A tuning that was stopped
    goes on with headstart train --resume RUN.
    """
    from headstart.recipe import seconds
    from headstart.runs import training

    choices = collect_choices(
        settings, boundary=boundary, tune_budget=seconds(budget), tune_epochs=epochs
    )
    tuned = training.finetune(
        run, out=out, progress=reporter(quiet, as_json, verbose), changed_data=changed_data,
        **choices,
    )  # fmt: skip
    show_run(tuned, quiet, as_json, verbose)


@app.command(epilog="Example: headstart demo --out demo")
@command
def demo(
    folder: Annotated[
        Path,
        typer.Option(
            "--out", "--folder", parser=parse_path, metavar="DIR", help="For images and run."
        ),
    ] = Path("demo"),
    quiet: Quiet = False,
) -> None:
    """The main job on real images, offline: handwritten digits from scikit-learn."""
    from headstart.demo import run_demo

    run_demo(folder, reporter(quiet, False))
