"""headstart runs, info, summary: what lies in the folders of runs."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import AsJson, RunFolder, Verbose, parse_path
from headstart.cli.output import (
    INTERVAL,
    NAME,
    Column,
    Table,
    fit_columns,
    format_interval,
    format_share,
    line_width,
    print_json,
    print_metrics,
    print_table,
    reporter,
    run_to_dict,
    tell,
    tell_command,
    tell_text,
)

if TYPE_CHECKING:
    from headstart.runs.folder import Run
    from headstart.runs.listing import RunEntry

FILES = {
    "report.html": "all of this as a page, for headstart open",
    "classifier": "what headstart predict uses",
    "recipe.toml": "every choice, for headstart train --recipe",
    "metrics.json": "all figures by split, with intervals",
    "predictions.csv": "each validation and test image with its probabilities",
    "training.csv": "each training image, with its cross-validated probabilities",
    "out_of_fold.safetensors": "what cross-validation said of each training image",
    "neighbours.safetensors": "their features in short, to find the nearest",
    "unreadable.csv": "images left out, with the reason",
    "audit.json": "what is wrong with the images",
    "charts": "the page's charts as SVG",
    "curves.png": "accuracy and loss by epoch",
    "model.keras": "the whole as a Keras model, compiled",
    "model.keras.md": "which pixels it wants",
    "backbone.weights.h5": "the tuned backbone's weights",
    "remedies.png": "what headstart remedies measured",
    "remedies.html": "the same as a page",
    "remedy.toml": "the best of the remedies, for headstart train --recipe",
    "run.json": "what was trained on what, versions, seconds",
}


@app.command(epilog="Example: headstart runs runs/")
@command
def runs(
    folder: Annotated[
        Path | None,
        typer.Argument(
            parser=parse_path, metavar="FOLDER", help="Where the runs lie.", show_default="runs"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs in a folder: images, classes, accuracy; how to go on with unfinished ones."""
    from headstart.runs.listing import list_runs

    default = Path("runs")
    missing = folder is None and not default.exists()  # nothing was trained here yet
    entries = [] if missing else list_runs(folder or default)
    if as_json:
        rows = [{**entry.to_dict(), "next": _next_step(entry)} for entry in entries]
        print_json({"folder": str(folder or default), "runs": rows})
        return
    if not entries:
        tell(f"no runs in {folder or default}\nNext: headstart train PHOTOS")
        return
    columns = [Column("run", left=True), Column("date", left=True), Column("images"),
               Column("classes"), Column("accuracy"), INTERVAL,
               Column("split", left=True)]  # fmt: skip
    cells = [_cells(entry) for entry in entries]
    table = Table(fit_columns(columns, cells), line_width())
    for entry, row in zip(entries, cells, strict=True):
        if entry.state == "finished":
            table.row(*row)
        elif entry.state == "unfinished":
            table.note(str(entry.folder), f"not finished; stopped? {_next_step(entry)}")
        else:
            table.note(str(entry.folder), f"cannot be read: {entry.reason}")


def _cells(entry: "RunEntry") -> list[str]:
    images, classes = ("" if n is None else f"{n:,}" for n in (entry.images, entry.classes))
    split = (entry.split or "").replace("cross_validation", "cross-val.")
    interval = format_interval(entry.accuracy_interval)
    return [str(entry.folder), _when(entry)[:10], images, classes, format_share(entry.accuracy),
            interval, split]  # fmt: skip


def _next_step(entry: "RunEntry") -> str | None:
    place = shlex.quote(str(entry.folder))
    commands = {
        "finished": f"headstart predict {place} NEW_PHOTOS",
        "unfinished": f"headstart train --resume {place}",
    }
    return commands.get(entry.state)


@app.command(epilog="Example: headstart info runs/photos-1")
@command
def info(run: RunFolder, verbose: Verbose = False, as_json: AsJson = False) -> None:
    """Tell one run: what was trained on what, how good it is, what lies in it, how to use it."""
    from headstart.errors import ClassifierError
    from headstart.runs.folder import Run
    from headstart.runs.listing import read_entry

    if not run.is_dir():
        raise ClassifierError(
            f"expected the folder of a run, found none at {run}. Type: headstart runs"
        )
    entry = read_entry(run)
    if entry.state == "damaged":
        raise ClassifierError(f"{run} cannot be read: {entry.reason}")
    trained = Run(run)
    base, changes = _recipe_changes(trained)
    files = {name: text for name, text in FILES.items() if (run / name).exists()}
    if as_json:
        content = entry.to_dict() | {"recipe": base, "changes": changes, "files": list(files)}
        if entry.state == "finished":
            content |= run_to_dict(trained)
        print_json({**content, "next": _next_step(entry)})
        return
    tell_text(f"Run: {run}, {_state(entry)}\nImages: {entry.source}", indent="  ")
    if entry.state == "finished":
        for side, place in trained.source.sides.items():
            tell(f"        {place} for {side}")
    if entry.state == "finished":
        _print_contents(trained, verbose)
    tell(f"Recipe: {base}" + (", changed:" if changes else ", unchanged"))
    tell_text(*(f"  {change}" for change in changes), indent="    ")
    if entry.state == "unfinished":
        tell()
        tell_command("Next: ", _next_step(entry) or "")
        return
    tell()
    print_metrics(trained)
    tell_text(*(f"warning: {warning}" for warning in trained.record["warnings"]), indent="  ")
    if verbose:
        _print_studies(trained)
    tell(f"\nFiles in {run}:")
    print_table([NAME, NAME], [(f"  {name}", text) for name, text in files.items()])
    again = ["headstart", "train", *trained.source.words, "--recipe", str(run / "recipe.toml")]
    tell()
    tell_command("New photos:      ", _next_step(entry) or "")
    tell_command("Labelled ones:   ", f"headstart evaluate {shlex.quote(str(run))} PHOTOS")
    tell_command("The same again:  ", shlex.join(again))


def _when(entry: "RunEntry") -> str:
    from datetime import datetime

    return datetime.fromtimestamp(entry.changed).strftime("%Y-%m-%d %H:%M")


def _state(entry: "RunEntry") -> str:
    if entry.state == "finished":
        return f"finished {_when(entry)}"
    return f"begun {_when(entry)}, not finished: still training, or stopped"


def _print_studies(run: "Run") -> None:
    """What was measured to choose, and when the classifier had better not answer."""
    from headstart.report.words import describe_doubts, describe_selection

    record = run.record
    chosen = describe_selection(record.get("selection") or {})
    stages = ", ".join(f"{name} {spent:.1f} s" for name, spent in record["seconds"].items())
    tell()
    tell_text(*filter(None, [chosen]), *describe_doubts(record.get("abstention") or {}),
              f"Time: {stages}", indent="  ")  # fmt: skip


def _print_contents(run: "Run", verbose: bool) -> None:
    """How many images of which classes, and what looks at them."""
    record, about = run.record, run.classifier.description
    names = {"train": "training", "unreadable": "left out"}
    counts = [f"{n:,} {names.get(split, split)}" for split, n in record["images"].items() if n]
    classes = record["classes"]
    shown = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
    geometry = run.classifier.geometry
    first, *more = map(str, about["cuts"])
    cuts = " + ".join([first, *more]) if verbose or not more else f"{first} and {len(more)} more"
    tell_text(f"        {', '.join(counts)}\n"
              f"Classes: {len(classes)}: {shown}\n"
              f"Network: {about['backbone']} up to {cuts}, {geometry.width}x{geometry.height} "
              f"pixels, {run.classifier.precision}", indent="  ")  # fmt: skip
    if before := record.get("before"):
        from headstart.runs.compare import describe_before

        tell_text(f"Since {before['run']}: {before['changes']}")
        tell_text(*filter(None, [describe_before(before)]), indent="  ")


def _recipe_changes(run: "Run") -> tuple[str, list[str]]:
    """The name of the run's recipe, and `key=value` of what is not as in the recipe itself."""
    from headstart.recipe import load_recipe, recipes

    recipe = run.recipe
    base = recipe.name if recipe.name in recipes() else "quick"
    return base, recipe.settings(load_recipe(base))


@app.command(epilog="Example: headstart summary runs/photos-1")
@command
def summary(
    run: RunFolder,
    every: Annotated[
        bool, typer.Option("--every-layer", help="Each layer, not the backbone's blocks.")
    ] = False,
) -> None:
    """The whole network as Keras has it: blocks and layers, what is locked, shapes, weights."""
    from headstart.runs.folder import Run
    from headstart.runs.summary import fold, list_parts

    trained = Run(run)
    with reporter(False, False).stage("summary"):
        model = trained.keras_model()
        parts = list_parts(model.layers)
    head = sum(1 for part in parts if part.locked is False)
    cuts = {str(cut).partition(":")[0] for cut in trained.classifier.description["cuts"]}
    cut = max((number + 1 for number, part in enumerate(parts) if part.name in cuts), default=0)
    rows = parts if every else fold(parts, cut)
    cells = [
        (part.name, part.kind, " x ".join(str(n or "?") for n in part.shape),
         f"{part.weights:,}", {True: "locked", False: "trained", None: ""}[part.locked])
        for part in rows
    ]  # fmt: skip
    columns = [Column("layer", left=True), Column("kind", left=True), Column("output"),
               Column("weights"), Column("", left=True)]  # fmt: skip
    table = Table(fit_columns(columns, cells), line_width())
    for row in cells:
        table.row(*row)
    locked = sum(part.weights for part in parts if part.locked)
    weights = sum(part.weights for part in parts)
    tell_text(f"\n{weights:,} weights in {len(parts)} layers: {locked:,} locked, "
              f"{weights - locked:,} trained, of {head} layers")  # fmt: skip
    if not every:
        tell_command("Every layer: ", f"headstart summary {shlex.quote(str(run))} --every-layer")
