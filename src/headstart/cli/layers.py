"""headstart layers: where a backbone can be cut, listed or measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import (
    AsJson,
    Budget,
    Data,
    Groups,
    Picture,
    Quiet,
    Seed,
    Settings,
    Size,
    Weights,
    collect_choices,
    list_typed_options,
    require_data,
)
from headstart.cli.output import (
    INTERVAL,
    Column,
    format_interval,
    format_share,
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
    from headstart.recipe import Recipe
    from headstart.selection.cuts import Selection
    from headstart.selection.score import CutScore


@app.command(
    epilog="Example: headstart layers inception_v3 --size 150 --data photos/",
)
@command
def layers(
    context: typer.Context,
    backbone: Annotated[str, typer.Argument(metavar="BACKBONE", help="See: headstart backbones.")],
    size: Size = None,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Show the candidate cuts alone.")
    ] = False,
    data: Data = None,
    budget: Budget = "60s",
    weights: Weights = None,
    groups: Groups = None,
    seed: Seed = None,
    settings: Settings = None,
    out: Picture = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List a backbone's layers (* marks candidate cuts), or measure every candidate on PHOTOS."""
    from headstart.features import extractor
    from headstart.recipe import load_recipe

    choices = collect_choices(settings, budget=budget, size=size, weights=weights, groups=groups,
                             seed=seed)  # fmt: skip
    recipe = load_recipe(**{"backbone": backbone, **choices})
    if data is not None:
        from headstart.runs.studies import measure_cuts

        progress = reporter(quiet, as_json)
        selection = measure_cuts(data, recipe, progress=progress)
        if as_json:
            _print_json(selection, recipe, data, out, progress.warnings)
        else:
            _show_cuts(selection, recipe, data, out, quiet)
        return
    listing = ("backbone", "size", "candidates", "weights", "settings", "quiet", "as_json")
    require_data(list_typed_options(context, but=listing))
    rows = [row for row in extractor.layers(recipe) if row.candidate or not candidates]
    if as_json:
        print_json({"backbone": recipe.backbone, "layers": [
            {"layer": row.name, "kind": row.kind, "shape": list(row.shape),
             "parameters": row.parameters, "candidate": row.candidate}
            for row in rows
        ]})  # fmt: skip
        return
    print_table(
        [Column("  layer", left=True), Column("kind", left=True), Column("shape", left=True),
         Column("parameters")],
        [(f"{'*' if row.candidate else ' '} {row.name}", row.kind, str(tuple(row.shape)),
          f"{row.parameters:,}") for row in rows],
    )  # fmt: skip


def _show_cuts(
    selection: "Selection", recipe: "Recipe", data: Path, out: Path | None, quiet: bool
) -> None:
    """The table, the picture, and what to type next."""
    if selection.chosen is None:
        tell("too few images, or too little time, to compare cuts: the last layer serves")
        return
    from headstart.runs.pictures import picture_layers

    rows = _rows(selection)
    _print_cuts(rows, _rates(rows, recipe), selection)
    picture = write_picture(out, "layers.png", picture_layers(selection, data.name))
    if quiet:
        return
    if selection.untried:
        tell(f"\nnot measured for want of time: {len(selection.untried)}; more: --budget 5m")
    worth = selection.worth
    chosen = "" if worth is None else (
        f"Of the chosen one, what the choice flatters taken off: {worth.accuracy:.1%} "
        f"{format_interval(worth.interval)}\n")  # fmt: skip
    tell_text(f"\nAccuracy and log loss by cross-validation on {selection.images:,} images\n"
              f"{_rule(selection)}\n{chosen}Picture: {picture}")  # fmt: skip
    tell_command("Next: ", _next_step(selection, data))


def _rule(selection: "Selection") -> str:
    """What the marks mean."""
    assert selection.chosen is not None
    if selection.chosen.averaged:
        return ("* chosen: a head for each of the best cuts, averaged by what each is worth; "
                "~ within one standard error of the best")  # fmt: skip
    return ("* chosen: the last layer if it is within one standard error (~) of the best, else the "
            "earliest and cheapest that is")  # fmt: skip


def _print_json(
    selection: "Selection", recipe: "Recipe", data: Path, out: Path | None, warnings: list[str]
) -> None:
    content = {"backbone": recipe.backbone, **selection.to_dict(), "picture": None, "next": None}
    if selection.chosen is not None:
        from headstart.runs.pictures import picture_layers

        rows = _rows(selection)
        content["tried"] = [
            {**score.to_dict(), "images_per_second": rate}
            for score, rate in zip(rows, _rates(rows, recipe), strict=True)
        ]
        content["picture"] = str(
            write_picture(out, "layers.png", picture_layers(selection, data.name))
        )
        content["next"] = _next_step(selection, data)
    print_json({**content, "warnings": warnings})


def _next_step(selection: "Selection", data: Path) -> str:
    from headstart.recipe import load_recipe

    return train_command(data, selection.recipe.changed(budget=load_recipe().budget))


def _singles(selection: "Selection") -> list["CutScore"]:
    """Cuts by themselves, from the input on."""
    singles = (score for score in selection.tried if len(score.cuts) == 1 and not score.changes)
    return sorted(singles, key=lambda score: score.cost)


def _rows(selection: "Selection") -> list["CutScore"]:
    """Cuts by themselves, joined, and fed in other ways."""
    joined = [score for score in selection.tried if len(score.cuts) > 1 and not score.changes]
    return [*_singles(selection), *joined, *(score for score in selection.tried if score.changes)]


def _rates(rows: Sequence["CutScore"], recipe: "Recipe") -> list[float]:
    """Images a second of each row: of its slowest cut."""
    from headstart.features.cost import measure_speeds
    from headstart.features.extractor import open_extractor

    cut_of = {cut.layer: cut for score in rows if not score.changes for cut in score.cuts}
    by_cut = measure_speeds(open_extractor(recipe.changed(cut=list(cut_of.values()))))
    rates = []
    for score in rows:
        if "size" in score.changes:
            larger = recipe.changed(cut=list(score.cuts), size=score.changes["size"])
            rates.append(min(measure_speeds(open_extractor(larger)).values()))
        else:
            rates.append(min(by_cut[cut_of[cut.layer]] for cut in score.cuts))
    return rates


def _print_cuts(rows: Sequence["CutScore"], rates: Sequence[float], selection: "Selection") -> None:
    alike = [score for score in selection.tried if score.images == selection.images]
    best = min(alike, key=lambda score: score.log_loss)
    cells = []
    for score, rate in zip(rows, rates, strict=True):
        near = score.images == best.images and score.loses_to(best) <= 1
        mark = "*" if score is selection.chosen else "~" if near else " "
        cells.append((f"{mark} {score.name}", f"{score.dimensions:,}", format_share(score.accuracy),
                      format_interval(score.accuracy_interval), f"{score.log_loss:.3f}",
                      f"{rate:,.0f}"))  # fmt: skip
    print_table([Column("  cut", left=True), Column("features"), Column("accuracy"), INTERVAL,
                 Column("loss"), Column("images/s")], cells)  # fmt: skip
