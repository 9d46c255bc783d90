"""headstart compare, remedies: runs against each other, and against what might be better."""

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import app, command
from headstart.cli.options import (
    AsJson,
    Budget,
    ChangedData,
    Quiet,
    RunFolder,
    parse_as,
    parse_path,
)
from headstart.cli.output import (
    INTERVAL,
    Column,
    Table,
    claim_free,
    fit_columns,
    format_interval,
    format_share,
    line_width,
    print_json,
    print_table,
    reporter,
    shorten_path,
    tell,
    tell_command,
    tell_text,
    write_picture,
)
from headstart.cli.usage import whole

PAGES = (".html", ".htm")  # names of what is written as a page

if TYPE_CHECKING:
    from headstart.runs.compare import Compared
    from headstart.runs.folder import Run
    from headstart.runs.remedies import Remedy


@app.command(epilog="Example: headstart compare runs/photos-1 runs/photos-2")
@command
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(parser=parse_path, metavar="RUN", help="Two runs or more."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=parse_as(*PAGES, ".png", ".svg"),
            metavar="PAGE",
            help="A page (NAME.html), or a picture (NAME.png, NAME-dark.png, NAME.svg).",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            parser=whole(2, 100),
            metavar="N",
            help="Compare the recipes too, over N redrawn training images.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Put runs side by side: recipes, metrics, a paired test on the same images."""
    from headstart.runs.compare import compare as compare_runs

    progress = reporter(quiet, as_json)
    compared = compare_runs(*runs, repeats=repeats or 0, progress=progress)
    picture = None
    if out is not None:
        if out.suffix.lower() in PAGES:
            from headstart.runs.page_compare import draw_compared

            content: Any = draw_compared(compared).encode()
        else:
            from headstart.runs.pictures import picture_compared

            content = picture_compared(compared)
        picture = write_picture(out, "compare.png", content)
    if as_json:
        print_json({**_compared_dict(compared), "picture": picture and str(picture),
                    "warnings": progress.warnings})  # fmt: skip
        return
    if not quiet:
        _print_recipes(compared)
    rows = _accuracies(compared)
    print_table(
        [Column("run", left=True), Column("split", left=True), Column("accuracy"), INTERVAL,
         Column("images")],
        [(name, split, format_share(m.accuracy), format_interval(m.accuracy_interval), f"{m.n:,}")
         for name, split, m in rows],
    )  # fmt: skip
    tell()
    first = compared.runs[0].folder
    for run, pair in zip(compared.runs[1:], compared.pairs, strict=True):
        if pair is None:
            tell_text(f"{first} and {run.folder} have no images in common")
            continue
        tell_text(f"{first} minus {run.folder}:\n  {pair.difference:+.1%} "
              f"{format_interval(pair.difference_interval, '+')} on {pair.n:,} images, "
              f"p = {pair.p_value:.3g}: {pair.verdict}")  # fmt: skip
    for note in compared.notes:
        tell_text(f"\n{note}")
    _print_repeats(compared, quiet)
    if picture is not None and not quiet:
        tell(f"{'Page' if picture.suffix.startswith('.htm') else 'Picture'}: {picture}")


def _print_repeats(compared: "Compared", quiet: bool) -> None:
    """The recipes, or that they were not compared."""
    first = compared.runs[0].folder
    for run, pair in zip(compared.runs[1:], compared.repeats, strict=False):
        tell_text(f"\nrecipe of {first} minus that of {run.folder}, over {len(pair.differences)} "
             f"redrawn trainings on {pair.train:,} images:\n  {pair.difference:+.1%} "
             f"{format_interval(pair.difference_interval, '+')} on {pair.test:,} others, "
             f"p = {pair.p_value:.3g}: {pair.verdict}")  # fmt: skip
    if not compared.repeats and not quiet:
        tell_text("\nThis is about these classifiers. Whether a recipe is better, or was luckier "
                  "with its training images: --repeats 5")  # fmt: skip


def _accuracies(compared: "Compared") -> list[tuple[str, str, Any]]:
    """Run, split and metrics of what was not trained on."""
    return [
        (str(run.folder), split, run.metrics[split])
        for run in compared.runs
        for split in ("validation", "test")
        if split in run.metrics and run.metrics[split].accuracy is not None
    ]


def _print_recipes(compared: "Compared") -> None:
    """What differs between the recipes: side by side where a line has room for it."""
    rows = [(key, *(_choice(run, key) for run in compared.runs)) for key in compared.recipes]
    if not rows:
        return
    titles = ["choice", *(str(run.folder) for run in compared.runs)]
    columns = fit_columns([Column(title, left=True) for title in titles], rows)
    widths = [max(column.width, len(column.title)) + 2 for column in columns]
    limit = line_width()
    if limit is None or sum(widths) - 2 <= limit:
        print_table(columns, rows)
    else:
        for key, *values in rows:
            tell(key)
            for title, value in zip(titles[1:], values, strict=True):
                tell_text(f"  {title}: {value}", indent="    ")
    tell()


def _choice(run: "Run", key: str) -> str:
    value = getattr(run.recipe, key)
    if isinstance(value, tuple):
        return " + ".join(map(str, value))
    return str(value).removeprefix("augmentation v1: ")


def _compared_dict(compared: "Compared") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "runs": [
            {"run": str(run.folder), "metrics": {
                split: {"images": m.n, "accuracy": m.accuracy, "interval": m.accuracy_interval}
                for name, split, m in _accuracies(compared) if name == str(run.folder)}}
            for run in compared.runs
        ],
        "recipes": {key: list(values) for key, values in compared.recipes.items()},
        "notes": compared.notes,
        "pairs": [
            None if pair is None else {"first": str(compared.runs[0].folder),
                                       "second": str(run.folder), **asdict(pair)}
            for run, pair in zip(compared.runs[1:], compared.pairs, strict=True)
        ],
        "repeats": [
            {"first": str(compared.runs[0].folder), "second": str(run.folder), **asdict(pair)}
            for run, pair in zip(compared.runs[1:], compared.repeats, strict=False)
        ],
    }  # fmt: skip


@app.command(epilog="Example: headstart remedies runs/photos-1 --budget 5m")
@command
def remedies(
    run: RunFolder,
    budget: Budget = "10m",
    changed_data: ChangedData = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=parse_as(*PAGES, ".png", ".svg"),
            metavar="PICTURE",
            help="The picture to write, page and best recipe beside it. Default: in the run.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Try what helps against overfitting, by cross-validation inside the training images."""
    from headstart.recipe import seconds
    from headstart.runs.folder import Run
    from headstart.runs.page_compare import draw_remedies
    from headstart.runs.pictures import picture_remedies
    from headstart.runs.remedies import Remedy
    from headstart.runs.remedies import remedies as try_remedies
    from headstart.system.atomic import write_atomically

    table = Table([Column("remedy", 28, left=True), Column("accuracy"), INTERVAL,
                   Column("change"), Column("seconds")], line_width())  # fmt: skip

    def show(remedy: Remedy) -> None:
        change = f"{remedy.comparison.difference:+.1%}" if remedy.comparison else ""
        table.row(remedy.name, format_share(remedy.metrics.accuracy),
                  format_interval(remedy.metrics.accuracy_interval), change,
                  f"{remedy.seconds:.0f}")  # fmt: skip

    trained, progress = Run(run), reporter(quiet, as_json)
    outcome = try_remedies(
        trained, budget=seconds(budget), progress=progress,
        on_result=None if as_json else show, changed_data=changed_data,
    )  # fmt: skip
    tried, missed = outcome
    drawn = picture_remedies(trained, outcome)
    is_page = out is not None and out.suffix.lower() in PAGES
    beside = claim_free(out.with_suffix(".png")) if out is not None and is_page else out
    picture = write_picture(beside, "remedies.png", drawn, folder=run)
    page = picture.with_suffix(".html")
    if out is not None:
        page = out if is_page else claim_free(page)
    recipe = run / "remedy.toml" if out is None else claim_free(picture.parent / "remedy.toml")
    best, worth = outcome.best, outcome.worth
    write_atomically(recipe, best.recipe.to_toml().encode())
    if best is tried[0]:
        words, why = ["learning-curve", str(trained.source)], "would more photos help?"
    else:
        words, why = ["train", *trained.source.words, "--recipe", str(recipe)], "train with it"
    next_step = shlex.join(["headstart", *map(shorten_path, words)])
    write_atomically(page, draw_remedies(str(run), outcome, next_step).encode())
    if as_json:
        print_json({
            "run": str(run),
            "tried": [_remedy_dict(r, outcome.verdicts.get(r.name)) for r in tried],
            "untried": missed, "best": best.name, "accuracy": worth.accuracy,
            "interval": worth.interval, "recipe": str(recipe), "picture": str(picture),
            "page": str(page), "next": next_step, "warnings": progress.warnings,
        })  # fmt: skip
        return
    if quiet:
        return
    if missed:
        tell_text(f"not tried within {budget}: {', '.join(missed)}. For all of them: --budget "
                  f"{math.ceil(outcome.seconds / 60)}m", indent="  ")  # fmt: skip
    tell_text(f"of {tried[0].metrics.n:,} training images; change: against as it was\n")
    if best is tried[0]:
        tell_text(f"None is better for its time than the recipe as it was: keep {run}.")
    else:
        tell_text(f"Best for its time: {best.name} ({outcome.verdicts[best.name]})")
    tell_text("What the choice among so many flatters taken off: "
              f"{worth.accuracy:.1%} {format_interval(worth.interval)}")  # fmt: skip
    tell(f"Recipe: {recipe}\nPicture: {picture}\nPage: {page}")
    tell_command("Next: ", next_step, why)


def _remedy_dict(remedy: "Remedy", verdict: str | None) -> dict[str, Any]:
    pair = remedy.comparison
    return {
        "name": remedy.name, "images": remedy.metrics.n, "accuracy": remedy.metrics.accuracy,
        "interval": remedy.metrics.accuracy_interval, "seconds": round(remedy.seconds, 2),
        "difference": pair.difference if pair else None,
        "difference_interval": pair.difference_interval if pair else None,
        "verdict": verdict,
    }  # fmt: skip
