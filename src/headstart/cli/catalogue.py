"""headstart backbones: what can look at the images, listed or measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import app, command
from headstart.cli.options import (
    AsJson,
    Budget,
    Data,
    Groups,
    Quiet,
    Seed,
    Settings,
    Weights,
    collect_choices,
    list_typed_options,
    require_data,
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
    tell_text,
)

if TYPE_CHECKING:
    from headstart.selection.cuts import Selection

MOST = 1000  # training images that a comparison of backbones looks at


@app.command(epilog="Example: headstart backbones --data photos/")
@command
def backbones(
    context: typer.Context,
    data: Data = None,
    budget: Budget = "5m",
    names: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Measure these alone.")
    ] = None,
    weights: Weights = None,
    groups: Groups = None,
    seed: Seed = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List the backbones, or measure on PHOTOS those whose weights are on this computer."""
    from headstart.backbones.catalogue import CATALOGUE, DEFAULT

    if data is not None:
        choices = collect_choices(settings, weights=weights, groups=groups, seed=seed)
        _measure_backbones(data, budget, names or list(CATALOGUE), choices, quiet, as_json)
        return
    require_data(list_typed_options(context, but=("quiet", "as_json")))
    if as_json:
        print_json({"default": DEFAULT, "backbones": [
            {"backbone": entry.name, "size": entry.size, "parameters": entry.parameters * 1e6,
             "licence": entry.licence, "source": entry.source}
            for entry in CATALOGUE.values()]})  # fmt: skip
        return
    print_table(
        [Column("backbone", left=True), Column("pixels"), Column("parameters"),
         Column("licence", left=True), Column("source of weights", left=True)],
        [(entry.name, str(entry.size), f"{entry.parameters:.1f} M", entry.licence,
          entry.source + ("  (default)" if entry.name == DEFAULT else ""))
         for entry in CATALOGUE.values()],
    )  # fmt: skip


def _measure_backbones(
    data: Path, budget: str, names: list[str], choices: dict[str, Any], quiet: bool, as_json: bool
) -> None:
    """One row for each backbone whose weights are here, as soon as it is measured."""
    from headstart.backbones.catalogue import backbone
    from headstart.backbones.weights import may_be_here
    from headstart.errors import WeightsError
    from headstart.features.extractor import open_extractor
    from headstart.recipe import load_recipe, seconds
    from headstart.runs.studies import measure_cuts

    if len(names) > 1 and choices.get("weights", "default") not in ("default", "imagenet", "none"):
        raise WeightsError(
            f"expected one backbone for the weights in {choices['weights']}, found {len(names)}. "
            "Type: --only NAME"
        )
    share = seconds(budget) / min(4, max(1, len(names)))
    table = Table([Column("backbone", 20, left=True), Column("accuracy"), INTERVAL,
                   Column("images/s"), Column("best cut", left=True)], line_width())  # fmt: skip
    measured: list[dict[str, Any]] = []
    missing, progress = [], reporter(quiet, as_json, talks=False)
    for name in names:
        recipe = load_recipe(backbone=backbone(name).name, **{"budget": share, **choices})
        if recipe.weights == "default" and not may_be_here(backbone(name)):
            missing.append(name)
            continue
        try:
            open_extractor(recipe)
        except WeightsError:
            missing.append(name)
            continue
        selection = measure_cuts(
            data, recipe, every_cut=False, variations=False, most=MOST, progress=progress
        )
        row = _backbone_dict(name, selection)
        measured.append(row)
        if as_json:
            continue
        if row["accuracy"] is None:
            table.note(name, "too few images to compare")
        else:
            table.row(name, format_share(row["accuracy"]), format_interval(row["interval"]),
                      f"{row['images_per_second']:,.0f}", row["cut"])  # fmt: skip
    next_step = f"headstart weights fetch {missing[0]}" if missing else None
    if as_json:
        warnings = list(dict.fromkeys(progress.warnings))  # of the images: the same every time
        print_json({"backbones": measured, "missing": missing, "next": next_step,
                    "warnings": warnings})  # fmt: skip
    elif missing and not quiet:
        tell_text(f"\nNo weights on this computer: {', '.join(missing)}\nNext: {next_step}")


def _backbone_dict(name: str, selection: "Selection") -> dict[str, Any]:
    from headstart.features.cost import measure_speeds
    from headstart.features.extractor import open_extractor

    best, worth = selection.chosen, selection.worth
    return {
        "backbone": name,
        "accuracy": worth.accuracy if worth else None,
        "interval": worth.interval if worth else None,
        "images": selection.images,
        "cut": best.name if best else None,
        "images_per_second": min(measure_speeds(open_extractor(selection.recipe)).values())
        if best
        else None,
    }
