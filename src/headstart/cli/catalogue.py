"""headstart backbones, layers, weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import app, command, typed
from headstart.cli.options import Budget, Photos, Settings
from headstart.cli.output import reporter

if TYPE_CHECKING:
    from headstart.recipe import Recipe
    from headstart.selection.cuts import Selection
    from headstart.selection.score import CutScore

weights = typer.Typer(help="Weights of backbones on this computer.", no_args_is_help=True)
app.add_typer(weights, name="weights")


@app.command(epilog="Example: headstart backbones --data photos/")
@command
def backbones(
    data: Photos = None,
    budget: Budget = "5m",
    names: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Measure these alone.")
    ] = None,
    settings: Settings = None,
) -> None:
    """List the backbones, or measure on PHOTOS those whose weights are on this computer."""
    from headstart.backbones.catalogue import CATALOGUE, DEFAULT

    if data is not None:
        return _measured_backbones(data, budget, names or list(CATALOGUE), settings)
    print(f"{'backbone':<22}{'pixels':>6}{'parameters':>12}  {'licence':<14}source of weights")
    for entry in CATALOGUE.values():
        mark = "  (default)" if entry.name == DEFAULT else ""
        print(
            f"{entry.name:<22}{entry.size:>6}{entry.parameters:>10.1f} M  "
            f"{entry.licence:<14}{entry.source}{mark}"
        )
    return None


def _measured_backbones(
    data: Path, budget: str, names: list[str], settings: list[str] | None
) -> None:
    from headstart.backbones.catalogue import backbone
    from headstart.backbones.weights import may_be_here
    from headstart.errors import WeightsError
    from headstart.features.cost import speeds
    from headstart.features.extractor import open_extractor
    from headstart.recipe import load_recipe, parse_setting, seconds
    from headstart.runs.studies import measure_cuts

    choices: dict[str, Any] = dict(parse_setting(text) for text in settings or [])
    share = seconds(budget) / max(1, len(names)) if len(names) < 4 else seconds(budget) / 4
    missing = []
    print(f"{'backbone':<22}{'accuracy':>9}  {'95% interval':<18}{'images/s':>9}  best cut")
    for name in names:
        chosen = load_recipe(backbone=backbone(name).name, budget=share, **choices)
        if chosen.weights == "default" and not may_be_here(backbone(name)):
            missing.append(name)
            continue
        try:
            open_extractor(chosen)
        except WeightsError:
            missing.append(name)
            continue
        found = measure_cuts(
            data, chosen, reporter(True, False), every_cut=False, variations=False, most=1000
        )
        if found.chosen is None:
            print(f"{name:<22} too few images to compare")
            continue
        best = found.chosen
        rate = min(speeds(open_extractor(found.recipe)).values())
        low, high = best.accuracy_interval
        interval = f"({low:.1%} to {high:.1%})"
        print(
            f"{name:<22}{best.accuracy:>9.1%}  {interval:<18}{rate:>9.0f}  {best.name}", flush=True
        )
    if missing:
        print(f"No weights on this computer: {', '.join(missing)}")
        print(f"Next: headstart weights fetch {missing[0]}")


@app.command(epilog="Example: headstart layers inception_v3 --size 150 --data photos/")
@command
def layers(
    backbone: Annotated[str, typer.Argument(help="See: headstart backbones.")],
    size: Annotated[int | None, typer.Option(help="Pixels of the input.")] = None,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Show the candidate cuts alone.")
    ] = False,
    data: Photos = None,
    weights: Annotated[str | None, typer.Option(help="default, imagenet or a file.")] = None,
    budget: Budget = "60s",
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("layers.png"),
) -> None:
    """List a backbone's layers (* marks candidate cuts), or measure every candidate on PHOTOS."""
    from headstart.features import extractor
    from headstart.recipe import load_recipe, parse_setting, seconds

    choices: dict[str, Any] = {"backbone": backbone, "size": size, "budget": seconds(budget)}
    if weights is not None:
        choices["weights"] = weights
    choices.update(parse_setting(text) for text in settings or [])
    recipe = load_recipe(**choices)
    if data is not None:
        from headstart.runs.studies import measure_cuts

        found = measure_cuts(data, recipe, reporter(False, False))
        return _show_cuts(found, recipe, data, out)
    for layer in extractor.layers(recipe):
        if layer.candidate or not candidates:
            mark = "*" if layer.candidate else " "
            shape = str(tuple(layer.shape))
            print(f"{mark} {layer.name:<36}{layer.kind:<24}{shape:<20}{layer.parameters:>12,}")
    return None


def _show_cuts(found: "Selection", recipe: "Recipe", data: Path, out: Path) -> None:
    """The table, the picture, and what to type next."""
    from headstart.features.cost import speeds
    from headstart.features.extractor import open_extractor
    from headstart.recipe import load_recipe
    from headstart.report.plots import depths_picture
    from headstart.system.atomic import write_atomically

    if found.chosen is None:
        print("too few images, or too little time, to compare cuts: the last layer serves")
        return
    singles = [s for s in found.tried if len(s.cuts) == 1 and not s.changes]
    singles.sort(key=lambda s: s.cost)
    last = {scored.cuts[0].layer: scored.cuts[0] for scored in singles}
    rates = speeds(open_extractor(recipe.changed(cut=list(last.values()))))
    width = max(len(scored.name) for scored in found.tried)
    print(f"  {'cut':<{width}}{'features':>9}{'accuracy':>10}  {'95% interval':<18}"
          f"{'log loss':>8}{'images/s':>10}")  # fmt: skip
    alike = [scored for scored in found.tried if scored.images == found.images]
    best = min(alike, key=lambda scored: scored.log_loss)
    rows = [*singles, *(s for s in found.tried if len(s.cuts) > 1 and not s.changes)]
    rows += [s for s in found.tried if s.changes]
    for scored in rows:
        near = scored.images == best.images and scored.loses_to(best) <= 1
        mark = "*" if scored is found.chosen else "~" if near else " "
        low, high = scored.accuracy_interval
        rate = min(rates[last[cut.layer]] for cut in scored.cuts)
        if "size" in scored.changes:
            larger = recipe.changed(cut=list(scored.cuts), size=scored.changes["size"])
            rate = min(speeds(open_extractor(larger)).values())
        interval = f"({low:.1%} to {high:.1%})"
        print(f"{mark} {scored.name:<{width}}{scored.dimensions:>9,}{scored.accuracy:>10.1%}  "
              f"{interval:<18}{scored.log_loss:>8.3f}{rate:>10,.0f}")  # fmt: skip
    series: dict[str, list[CutScore]] = {recipe.pooling: []}  # every layer has it
    for scored in singles:
        series.setdefault(scored.cuts[0].pooling or recipe.pooling, []).append(scored)
    drawn = {
        pooling: [(s.cuts[0].layer, s.accuracy, s.accuracy_interval) for s in group]
        for pooling, group in series.items()
    }
    title = f"{found.recipe.backbone}: which layer serves {found.images:,} images best"
    chosen = [cut.layer for cut in found.chosen.cuts]
    write_atomically(out, depths_picture(title, drawn, chosen))
    print(f"\n* chosen: within one standard error (~) of the best, the earliest and cheapest\n"
          f"Picture: {out}\n"
          f"Next: {typed(data, found.recipe.changed(budget=load_recipe().budget))}")  # fmt: skip


@weights.command(epilog="Example: headstart weights fetch inception_v3")
@command
def fetch(
    what: Annotated[str, typer.Argument(help="A backbone's name, or an address (https://...).")],
    sha256: Annotated[str | None, typer.Option(help="The file's SHA-256, to be compared.")] = None,
) -> None:
    """Fetch weights over the network: the one command that uses it."""
    from headstart.backbones.catalogue import backbone
    from headstart.backbones.download import address, default_weights_folder
    from headstart.backbones.download import fetch as fetch_file
    from headstart.system.progress import Terminal

    url, checksum = (what, None) if "://" in what else address(backbone(what).name)
    checksum = f"sha256:{sha256.lower()}" if sha256 else checksum
    target = default_weights_folder() / url.rsplit("/", 1)[-1]
    progress = Terminal()
    with progress.stage(target.name, 100, "%"):
        shown = 0

        def advance(done: int, total: int | None) -> None:
            nonlocal shown
            if total:
                progress.advance(100 * done // total - shown)
                shown = 100 * done // total

        fetch_file(url, target, checksum=checksum, progress=advance)
    print(target)
