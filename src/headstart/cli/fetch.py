"""headstart fetch."""

from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import Quiet
from headstart.cli.output import reporter, tell

WEB = "web-runtime"


@app.command(epilog="Example: headstart fetch web-runtime")
@command
def fetch(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="web-runtime: what runs an exported page.")
    ],
    quiet: Quiet = False,
) -> None:
    """Fetch over the network, once, what an export needs: it stays in the cache folder."""
    from headstart.errors import HeadstartError
    from headstart.export.web_runtime import fetch_runtime

    if what != WEB:
        raise HeadstartError(f"expected {WEB}, found {what!r}. Type: headstart fetch {WEB}")
    progress = reporter(quiet, False)
    with progress.stage(WEB, 100, "%"):
        shown = 0

        def advance(done: int, total: int | None) -> None:
            nonlocal shown
            if total:
                progress.advance(100 * done // total - shown)
                shown = 100 * done // total

        tell(fetch_runtime(advance))
