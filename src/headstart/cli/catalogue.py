"""headstart backbones, layers, weights."""

from typing import Annotated

import typer

from headstart.cli import app, command

weights = typer.Typer(help="Weights of backbones on this computer.", no_args_is_help=True)
app.add_typer(weights, name="weights")


@app.command(epilog="Example: headstart backbones")
@command
def backbones() -> None:
    """List the backbones: input size, parameters, weights, licence."""
    from headstart.backbones.catalogue import CATALOGUE, DEFAULT

    print(f"{'backbone':<22}{'pixels':>6}{'parameters':>12}  {'licence':<14}source of weights")
    for entry in CATALOGUE.values():
        mark = "  (default)" if entry.name == DEFAULT else ""
        print(
            f"{entry.name:<22}{entry.size:>6}{entry.parameters:>10.1f} M  "
            f"{entry.licence:<14}{entry.source}{mark}"
        )


@app.command(epilog="Example: headstart layers inception_v3 --size 150")
@command
def layers(
    backbone: Annotated[str, typer.Argument(help="See: headstart backbones.")],
    size: Annotated[int | None, typer.Option(help="Pixels of the input.")] = None,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Show the candidate cuts alone.")
    ] = False,
) -> None:
    """List a backbone's layers with output shapes; candidate cuts are marked with *."""
    from headstart import extractor
    from headstart.recipe import load_recipe

    found = extractor.layers(load_recipe(backbone=backbone, size=size))
    for layer in found:
        if layer.candidate or not candidates:
            mark = "*" if layer.candidate else " "
            shape = str(tuple(layer.shape))
            print(f"{mark} {layer.name:<36}{layer.kind:<24}{shape:<20}{layer.parameters:>12,}")


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
    from headstart.progress import Terminal

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
