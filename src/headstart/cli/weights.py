"""headstart weights fetch."""

from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import Quiet
from headstart.cli.output import percent, reporter, tell
from headstart.cli.usage import Commands, parse_sha256

weights = typer.Typer(
    help="Weights of backbones on this computer.", no_args_is_help=True, cls=Commands
)
app.add_typer(weights, name="weights")


@weights.callback()
def _group() -> None:
    pass  # so that `fetch` is typed, though it is the only one


@weights.command(epilog="Example: headstart weights fetch inception_v3")
@command
def fetch(
    what: Annotated[
        str,
        typer.Argument(metavar="NAME|URL", help="A backbone's name, or an address (https://...)."),
    ],
    sha256: Annotated[
        str | None,
        typer.Option(
            parser=parse_sha256, metavar="HEX", help="The file's SHA-256, to be compared."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Fetch weights over the network: the one command that uses it."""
    from headstart.backbones import download
    from headstart.backbones.catalogue import backbone

    url, checksum = (what, None) if "://" in what else download.address(backbone(what).name)
    if sha256 is not None:
        checksum = f"sha256:{sha256}"
    target = download.default_weights_folder() / download.file_name(url)
    progress = reporter(quiet, False)
    with progress.stage(target.name, 100, "%"):
        download.fetch(url, target, checksum=checksum, progress=percent(progress))
    tell(target)
