"""headstart heads, learning-curve, lr: what is measured of images before a training."""

import shlex
from typing import TYPE_CHECKING, Any

from headstart.cli.app import app, command
from headstart.cli.options import (
    AsJson,
    Budget,
    Groups,
    Photos,
    Picture,
    Quiet,
    RecipeName,
    Seed,
    Settings,
    Weights,
    collect_choices,
)
from headstart.cli.output import (
    INTERVAL,
    Column,
    Table,
    format_interval,
    format_share,
    line_width,
    print_json,
    print_table,
    reporter,
    tell,
    tell_command,
    tell_text,
    train_command,
    write_picture,
)

if TYPE_CHECKING:
    from headstart.selection.heads import HeadScore
    from headstart.selection.learning_curve import LearningCurve


@app.command(epilog="Example: headstart heads photos/ --budget 5m")
@command
def heads(
    photos: Photos,
    recipe: RecipeName = "quick",
    budget: Budget = "3m",
    weights: Weights = None,
    groups: Groups = None,
    seed: Seed = None,
    settings: Settings = None,
    out: Picture = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare heads (linear, neural, class weights, ensembles) inside the training images."""
    from headstart.recipe import load_recipe
    from headstart.runs.pictures import picture_heads
    from headstart.runs.studies import measure_heads

    table = Table([Column("head", 26, left=True), Column("accuracy"), INTERVAL, Column("recall"),
                   Column("log loss"), Column("seconds")], line_width())  # fmt: skip

    def show(score: "HeadScore") -> None:
        table.row(
            score.name,
            format_share(score.accuracy),
            format_interval(score.accuracy_interval),
            format_share(score.recall),
            f"{score.log_loss:.3f}",
            f"{score.seconds:.1f}",
        )

    choices = collect_choices(settings, budget=budget, weights=weights, groups=groups, seed=seed)
    progress = reporter(quiet, as_json)
    selection = measure_heads(
        photos, load_recipe(recipe, **choices), progress, None if as_json else show
    )
    picture = write_picture(out, "heads.png", picture_heads(selection, photos.name))
    chosen = selection.recipe.changed(budget=load_recipe(recipe).budget)
    next_step = train_command(photos, chosen, recipe)
    if as_json:
        print_json({**selection.to_dict(), "picture": str(picture), "next": next_step,
                    "warnings": progress.warnings})  # fmt: skip
    elif not quiet:
        worth = selection.worth
        tell_text(f"\nChosen: {selection.chosen.name}, the simplest within one standard error of "
                  "the lowest log loss\nOf it, what the choice flatters taken off: "
                  f"{worth.accuracy:.1%} {format_interval(worth.interval)}\n"
                  f"recall: mean over the classes\nPicture: {picture}")  # fmt: skip
        tell_command("Next: ", next_step)


@app.command("learning-curve", epilog="Example: headstart learning-curve photos/")
@command
def learning_curve(
    photos: Photos,
    recipe: RecipeName = "quick",
    weights: Weights = None,
    groups: Groups = None,
    seed: Seed = None,
    budget: Budget = "60s",
    settings: Settings = None,
    out: Picture = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Tell what more photos would bring, and of which class."""
    from headstart.runs import studies
    from headstart.runs.folder import write_json
    from headstart.runs.pictures import picture_learning

    choices = collect_choices(settings, budget=budget, weights=weights, groups=groups, seed=seed)
    progress = reporter(quiet, as_json)
    curve = studies.learning_curve(photos, recipe, progress=progress, **choices)
    picture = write_picture(out, "learning_curve.png", picture_learning(curve, photos.name))
    if out is not None and (out / "run.json").is_file():  # the run's page then shows it too
        write_json(out / "learning_curve.json", curve.to_dict())
    if as_json:
        print_json({**curve.to_dict(), "picture": str(picture), "warnings": progress.warnings})
        return
    _print_curve(curve)
    if not quiet:
        tell_text(f"\n{_advice(curve)}\nPicture: {picture}")
        tell_command("Next: ", f"headstart train {shlex.quote(str(photos))}")


def _print_curve(curve: "LearningCurve") -> None:
    rows = [
        (f"{size:,}", format_share(accuracy), format_interval(interval))
        for size, accuracy, interval in zip(
            curve.sizes, curve.accuracies, curve.intervals, strict=True
        )
    ]
    gain = f"forecast, gain {format_interval(curve.overall.gain_interval, '+')}"
    rows.append((f"{2 * curve.sizes[-1]:,}", format_share(curve.overall.forecast), gain))
    print_table([Column("images"), Column("accuracy"), INTERVAL], rows)
    tell("\nWhat twice the photos of a class would bring it, by forecast:")
    print_table(
        [Column("class", left=True), Column("images"), Column("accuracy"), Column("gain"), INTERVAL,
         Column("", left=True)],
        [(f.name, f"{f.images:,}", format_share(f.accuracy), f"{f.gain:+.1%}",
          format_interval(f.gain_interval, "+"), "" if f.is_clear else "perhaps chance")
         for f in curve.forecasts[:10]],
    )  # fmt: skip


def _advice(curve: "LearningCurve") -> str:
    if not curve.overall.is_clear:
        return "The data cannot tell whether more photos of this kind would help."
    certain = [forecast for forecast in curve.forecasts if forecast.is_clear]
    if not certain:
        return "More photos help; of which class most cannot be told yet."
    first = curve.forecasts[0]
    more = "" if first.is_clear else f" (perhaps more of {first.name}, which cannot be told yet)"
    return f"New photos help most of: {certain[0].name}{more}"


@app.command(
    epilog="Example: headstart lr photos/ --recipe classic --weights inception.h5",
)
@command
def lr(
    photos: Photos,
    recipe: RecipeName = "classic",
    weights: Weights = None,
    groups: Groups = None,
    seed: Seed = None,
    settings: Settings = None,
    out: Picture = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find a learning rate for a neural head (Smith 2017)."""
    from headstart.recipe import load_recipe
    from headstart.runs.pictures import picture_rates
    from headstart.runs.studies import learning_rates

    choices: dict[str, Any] = collect_choices(settings, weights=weights, groups=groups, seed=seed)
    chosen = load_recipe(recipe, **choices)
    progress = reporter(quiet, as_json)
    rates, losses, suggestion = learning_rates(photos, chosen, progress)
    drawn = picture_rates(rates, losses, suggestion, photos.name)
    picture = write_picture(out, "lr.png", drawn)
    rate = f"{suggestion:.1e}"
    next_step = train_command(
        photos, chosen.changed(learning_rate=float(rate), head="neural", finetune=False), recipe
    )
    if as_json:
        print_json({"suggestion": suggestion, "rates": rates, "losses": losses,
                    "picture": str(picture), "next": next_step,
                    "warnings": progress.warnings})  # fmt: skip
    elif quiet:
        tell(rate)
    else:
        tell(f"Suggested learning rate: {rate}\nPicture: {picture}")
        tell_command("Next: ", next_step)
