"""headstart train, finetune, demo, recipe."""

from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.cli.app import app, command
from headstart.cli.options import AsJson, Quiet
from headstart.cli.output import reporter, show


@app.command(
    epilog="Example: headstart train photos/ --set views=2 --set augmentation=flip",
)
@command
def train(
    photos: Annotated[
        Path | None, typer.Argument(help="Folder, table or archive of labelled images.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="A recipe's name or a TOML file.")] = "quick",
    out: Annotated[
        Path | None, typer.Option(help="The run's folder, new. Default: runs/NAME-N.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="See: headstart backbones.", show_default="the recipe's")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="default, imagenet, none or a file.")] = None,
    cut: Annotated[
        str | None,
        typer.Option(help="Layer whose output serves as features, several joined by +, or auto."),
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="avg, max, avg+max, grid or flatten.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of the input, height and width.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, f32 or bf16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of split, folds and views.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time that measuring choices may take, such as 60s.")
    ] = None,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Weigh classes so that rare ones count as much.")
    ] = False,
    groups: Annotated[
        str | None,
        typer.Option(
            help="Table column, or pattern on file names: whole groups (patient, camera) are split."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an image that cannot be used.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change any choice of the recipe."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with a training that was stopped."),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Log a neural head's training there too.")
    ] = None,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log a neural head's training to MLflow too.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on a folder of labelled images."""
    from headstart.errors import RecipeError
    from headstart.recipe import parse_setting, seconds
    from headstart.runs import training as pipeline

    progress = reporter(quiet, as_json)
    callbacks = _callbacks(tensorboard, mlflow)
    if resume is not None:
        given = {"PHOTOS": photos, "--out": out, "--set": settings, "--backbone": backbone,
                 "--weights": weights, "--cut": cut, "--pooling": pooling, "--size": size,
                 "--seed": seed, "--groups": groups, "--budget": budget}  # fmt: skip
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise RecipeError(
                "expected --resume RUN alone, for the run knows its images and choices, found "
                f"also {', '.join(extra)}. Type: headstart train --resume {resume}"
            )
        run = pipeline.resume(resume, progress=progress, callbacks=callbacks)
        return show(run, quiet, as_json)
    if photos is None:
        raise RecipeError("expected PHOTOS to train on, or --resume RUN. Type: headstart train DIR")

    options = {"backbone": backbone, "weights": weights, "cut": cut, "pooling": pooling,
               "size": size, "precision": precision, "seed": seed,
               "balanced": balanced or None, "groups": groups,
               "budget": None if budget is None else seconds(budget)}  # fmt: skip
    choices: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    choices.update(parse_setting(text) for text in settings or [])
    run = pipeline.train(
        photos, recipe, out=out, strict=strict, progress=progress, callbacks=callbacks, **choices
    )
    return show(run, quiet, as_json)


def _callbacks(tensorboard: Path | None, mlflow: bool) -> list[Any]:
    """Keras' own loggers."""
    found: list[Any] = []
    if tensorboard is None and not mlflow:
        return found
    import importlib.util

    from headstart.errors import MissingExtra
    from headstart.heads.neural import backend

    if tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
        raise MissingExtra("logging to TensorBoard", "tensorboard")
    backend()
    if tensorboard is not None:
        import keras

        found.append(keras.callbacks.TensorBoard(str(tensorboard)))
    if mlflow:
        try:
            from mlflow.keras import MlflowCallback
        except ImportError as error:
            raise MissingExtra("logging to MLflow", "mlflow") from error
        found.append(MlflowCallback())
    return found


@app.command(epilog="Example: headstart demo --folder demo")
@command
def demo(
    folder: Annotated[Path, typer.Option(help="Where to write images and run.")] = Path("demo"),
) -> None:
    """The main job on real images, offline: handwritten digits from scikit-learn."""
    from headstart.demo import run_demo

    run_demo(folder, reporter(False, False))


@app.command(epilog="Example: headstart recipe quick > mine.toml")
@command
def recipe(
    name: Annotated[str, typer.Argument(help="A recipe's name or a TOML file.")] = "quick",
) -> None:
    """Show every choice of a recipe as TOML."""
    from headstart.recipe import load_recipe, recipes

    print(f"# Recipes: {', '.join(recipes())}")
    print(load_recipe(name).to_toml(), end="")


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
    from headstart.recipe import parse_setting, seconds
    from headstart.runs import training as pipeline
    from headstart.runs.folder import Run

    choices: dict[str, Any] = {"boundary": boundary, "tune_budget": seconds(budget)}
    if epochs is not None:
        choices["tune_epochs"] = epochs
    choices.update(parse_setting(text) for text in settings or [])
    found = pipeline.finetune(Run(run), out=out, progress=reporter(quiet, as_json), **choices)
    show(found, quiet, as_json)
