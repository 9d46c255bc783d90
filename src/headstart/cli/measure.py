"""headstart compare, summary, remedies, heads, learning-curve, lr, augment."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.cli.app import app, command, typed
from headstart.cli.options import AsJson
from headstart.cli.output import reporter


@app.command(epilog="Example: headstart compare runs/photos-1 runs/photos-2")
@command
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Two runs or more.")],
    out: Annotated[
        Path | None, typer.Option(help="Draw the curves of all runs into this picture.")
    ] = None,
) -> None:
    """Put runs side by side: recipes, metrics, a paired test on the same images."""
    from headstart.runs.compare import compare_runs
    from headstart.runs.folder import Run
    from headstart.system.atomic import write_atomically

    found = compare_runs([Run(folder) for folder in runs])
    for key in found.recipes:
        values = [str(getattr(run.recipe, key)) for run in found.runs]
        print(f"{key:<20}" + "  |  ".join(values))
    for run in found.runs:
        for split in ("validation", "test"):
            metrics = run.metrics.get(split)
            if metrics is not None and metrics.accuracy is not None:
                low, high = metrics.accuracy_interval or (0, 1)
                print(f"{run.folder}  {split} {metrics.accuracy:.1%} ({low:.1%} to {high:.1%})")
    for run, pair in zip(found.runs[1:], found.pairs, strict=True):
        if pair is None:
            print(f"{found.runs[0].folder} and {run.folder} have no images in common")
            continue
        low, high = pair.difference_interval
        print(
            f"{found.runs[0].folder} minus {run.folder}: {pair.difference:+.1%} "
            f"({low:+.1%} to {high:+.1%}) on {pair.n:,} images, p = {pair.p_value:.3g}: "
            f"{pair.verdict}"
        )
    if out is not None:
        from headstart.report.plots import curves_picture

        histories = {str(run.folder): run.history for run in found.runs if run.history}
        write_atomically(out, curves_picture(histories))
        print(out)


@app.command(epilog="Example: headstart summary runs/photos-1")
@command
def summary(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that train printed.")],
) -> None:
    """The classifier as Keras sums it up: every layer, which are locked, how many weights train."""
    from headstart.runs.folder import Run

    Run(run).keras_model().summary(show_trainable=True, line_length=110)


@app.command(epilog="Example: headstart remedies runs/photos-1 --budget 300")
@command
def remedies(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that train printed.")],
    budget: Annotated[float, typer.Option(help="Seconds after which nothing new is begun.")] = 600,
) -> None:
    """Try what helps against overfitting, by cross-validation inside the training images."""
    from headstart.report.plots import dots_picture
    from headstart.runs.folder import Run
    from headstart.runs.remedies import Remedy, best_of, try_remedies
    from headstart.system.atomic import write_atomically

    def tell(found: Remedy) -> None:
        low, high = found.metrics.accuracy_interval or (0, 1)
        accuracy = found.metrics.accuracy or 0
        against = f"  {found.comparison.difference:+.1%}" if found.comparison else ""
        print(
            f"{found.name:<30}{accuracy:6.1%} ({low:.1%} to {high:.1%}) of "
            f"{found.metrics.n:,}{against}  {found.seconds:.0f} s",
            flush=True,
        )

    opened = Run(run)
    tried, missed = try_remedies(
        opened, budget=budget, progress=reporter(False, False), on_result=tell
    )
    if missed:
        print(f"not tried within {budget:.0f} s: {', '.join(missed)}")
    rows: list[Any] = [(f.name, f.metrics.accuracy, f.metrics.accuracy_interval) for f in tried]
    picture, recipe = opened.folder / "remedies.png", opened.folder / "remedy.toml"
    write_atomically(
        picture, dots_picture("Remedies, by cross-validation", rows, "accuracy, 95% interval")
    )
    best = best_of(tried)
    write_atomically(recipe, best.recipe.to_toml().encode())
    verdict = best.comparison.verdict.replace("the first", "this") if best.comparison else ""
    print(f"\nBest for its time: {best.name}" + (f" ({verdict})" if verdict else ""))
    words = ["headstart", "train", opened.record["source"], "--recipe", str(recipe)]
    print(f"Picture: {picture}\nNext: {shlex.join(words)}")


@app.command(epilog="Example: headstart heads photos/ --budget 5m")
@command
def heads(
    photos: Annotated[Path, typer.Argument(help="Folder, table or archive of labelled images.")],
    recipe: Annotated[str, typer.Option(help="A recipe's name or a TOML file.")] = "quick",
    budget: Annotated[str, typer.Option(help="Time after which nothing new is begun.")] = "3m",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change any choice of the recipe."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("heads.png"),
) -> None:
    """Compare heads (linear, neural, class weights, ensembles) inside the training images."""
    from headstart.recipe import load_recipe, parse_setting, seconds
    from headstart.report.plots import dots_picture
    from headstart.runs.studies import measure_heads
    from headstart.selection.heads import HeadScore
    from headstart.system.atomic import write_atomically

    choices: dict[str, Any] = {"budget": seconds(budget)}
    choices.update(parse_setting(text) for text in settings or [])
    begun = False

    def tell(found: HeadScore) -> None:
        nonlocal begun
        if not begun:
            print(f"{'head':<28}{'accuracy':>9}  {'95% interval':<18}{'recall':>7}{'log loss':>10}"
                  f"{'seconds':>9}")  # fmt: skip
            begun = True
        low, high = found.accuracy_interval
        interval = f"({low:.1%} to {high:.1%})"
        print(f"{found.name:<28}{found.accuracy:>9.1%}  {interval:<18}{found.recall:>7.1%}"
              f"{found.log_loss:>10.3f}{found.seconds:>9.1f}", flush=True)  # fmt: skip

    found = measure_heads(photos, load_recipe(recipe, **choices), reporter(False, False), tell)
    rows = [(scored.name, scored.accuracy, scored.accuracy_interval) for scored in found.tried]
    write_atomically(
        out, dots_picture("Heads, by cross-validation", rows, "accuracy, 95% interval")
    )
    kept = found.recipe.changed(budget=load_recipe(recipe).budget)
    print(f"\nChosen: {found.chosen.name}, the simplest within one standard error of the lowest "
          f"log loss\nrecall: mean over the classes\nPicture: {out}\n"
          f"Next: {typed(photos, kept, recipe)}")  # fmt: skip


@app.command("learning-curve", epilog="Example: headstart learning-curve photos/")
@command
def learning_curve(
    photos: Annotated[Path, typer.Argument(help="Folder, table or archive of labelled images.")],
    recipe: Annotated[str, typer.Option(help="A recipe's name or a TOML file.")] = "quick",
    groups: Annotated[
        str | None, typer.Option(help="Table column, or pattern on file names: see train.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change any choice of the recipe."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("learning_curve.png"),
    as_json: AsJson = False,
) -> None:
    """Tell what more photos would bring, and of which class."""
    import json

    from headstart.recipe import parse_setting
    from headstart.report.plots import learning_picture
    from headstart.runs import studies
    from headstart.system.atomic import write_atomically

    choices: dict[str, Any] = dict(parse_setting(text) for text in settings or [])
    if groups is not None:
        choices["groups"] = groups
    found = studies.learning_curve(photos, recipe, progress=reporter(False, as_json), **choices)
    low, high = found.overall.gain_interval
    now = found.accuracies[-1]
    write_atomically(
        out,
        learning_picture(found.sizes, found.accuracies, found.intervals,
                         (found.overall.forecast, (now + low, min(1.0, now + high))),
                         found.classes),
    )  # fmt: skip
    if as_json:
        print(json.dumps({**found.to_dict(), "picture": str(out)}, ensure_ascii=False))
        return
    for size, accuracy, (least, most) in zip(
        found.sizes, found.accuracies, found.intervals, strict=True
    ):
        print(f"{size:>8,} images  {accuracy:6.1%} ({least:.1%} to {most:.1%})")
    print(f"{2 * found.sizes[-1]:>8,} images  {found.overall.forecast:6.1%} forecast "
          f"(gain {low:+.1%} to {high:+.1%})")  # fmt: skip
    print("\nWhat twice the photos of a class would bring it, by forecast:")
    for forecast in found.forecasts[:10]:
        low, high = forecast.gain_interval
        told = "" if forecast.told else "  cannot be told from chance"
        print(f"  {forecast.name:<24}{forecast.images:>6,} images  {forecast.accuracy:6.1%}  "
              f"gain {forecast.gain:+.1%} ({low:+.1%} to {high:+.1%}){told}")  # fmt: skip
    first, sure = found.forecasts[0], [one for one in found.forecasts if one.told]
    if not found.overall.told:
        print("\nThe data cannot tell whether more photos of this kind would help.")
    elif sure:
        more = "" if first.told else f" (perhaps more of {first.name}, which cannot be told yet)"
        print(f"\nNew photos help most of: {sure[0].name}{more}")
    print(f"Picture: {out}")


@app.command(epilog="Example: headstart lr photos/ --recipe classic --weights inception.h5")
@command
def lr(
    photos: Annotated[Path, typer.Argument(help="Folder, table or archive of labelled images.")],
    recipe: Annotated[str, typer.Option(help="A recipe with a neural head.")] = "classic",
    weights: Annotated[str | None, typer.Option(help="default, imagenet or a file.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change any choice of the recipe."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("lr.png"),
) -> None:
    """Find a learning rate for a neural head (Smith 2017)."""
    from headstart.recipe import load_recipe, parse_setting
    from headstart.report.plots import rates_picture
    from headstart.runs.studies import learning_rates
    from headstart.system.atomic import write_atomically

    choices: dict[str, Any] = dict(parse_setting(text) for text in settings or [])
    if weights is not None:
        choices["weights"] = weights
    chosen = load_recipe(recipe, **choices)
    rates, losses, suggestion = learning_rates(photos, chosen, reporter(False, False))
    write_atomically(out, rates_picture(rates, losses, suggestion))
    print(f"suggested learning rate: {suggestion:.1e} (picture: {out})")
    suggested = chosen.changed(learning_rate=float(f"{suggestion:.1e}"))
    print(f"Next: {typed(photos, suggested, recipe)}")


@app.command(epilog="Example: headstart augment photos/ --augmentation lesson --out views.png")
@command
def augment(
    photos: Annotated[Path, typer.Argument(help="Folder, archive or image.")],
    augmentation: Annotated[
        str, typer.Option(help="none, flip, lesson, or TOML such as '{rotation=20, zoom=0.1}'.")
    ] = "lesson",
    views: Annotated[int, typer.Option(min=1, help="Views of each image.")] = 6,
    images: Annotated[int, typer.Option(min=1, help="How many images to show.")] = 4,
    size: Annotated[int, typer.Option(min=16, help="Pixels of each picture.")] = 150,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("views.png"),
) -> None:
    """Draw a contact sheet: originals beside their augmented views."""
    import io

    from PIL import Image

    from headstart.data.dataset import images_in
    from headstart.errors import BadImage, DatasetError
    from headstart.images.geometry import Geometry
    from headstart.recipe import load_recipe, parse_setting
    from headstart.report.contact_sheet import contact_sheet
    from headstart.system.atomic import write_atomically

    chosen = load_recipe(augmentation=parse_setting(f"augmentation={augmentation}")[1])
    geometry = Geometry(size, size, "crop")
    items = images_in([photos])
    pixels, shown = [], []
    for item in items[:: max(1, len(items) // images)]:  # from all over the folder
        try:
            pixels.append(item.prepare(geometry))
            shown.append(item)
        except BadImage:
            continue
        if len(shown) == images:
            break
    if not shown:
        raise DatasetError(f"expected images in {photos}, found none that can be used")
    sheet = contact_sheet(
        pixels,
        chosen.augmentation,
        views,
        seed,
        [item.content_hash for item in shown],
        [Path(item.name).name for item in shown],
    )
    png = io.BytesIO()
    Image.fromarray(sheet).save(png, "PNG")
    write_atomically(out, png.getvalue())
    print(out)
