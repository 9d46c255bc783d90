"""headstart report, open: a run as a page."""

from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import RunFolder
from headstart.cli.output import reporter, tell


@app.command(epilog="Example: headstart report runs/photos-1 --open")
@command
def report(
    run: RunFolder,
    show: Annotated[
        bool, typer.Option("--open", help="Show it in the browser when it is made.")
    ] = False,
) -> None:
    """Make the page of a run again: report.html, one file that can be sent to anyone."""
    from headstart.runs.folder import Run
    from headstart.runs.page import write_page

    with reporter(False, False).stage("report"):
        page = write_page(Run(run), pictures=True)
    tell(page)
    if show:
        _show(page)


@app.command("open", epilog="Example: headstart open runs/photos-1")
@command
def open_page(run: RunFolder) -> None:
    """Show the page of a run in the browser; it is made first if there is none."""
    from headstart.runs.folder import Run
    from headstart.runs.page import PAGE, write_page

    page = run / PAGE
    if not page.is_file():
        with reporter(False, False).stage("report"):
            page = write_page(Run(run))
    _show(page)
    tell(page)


def _show(page: object) -> None:
    """Raises HeadstartError where there is no browser."""
    import webbrowser
    from pathlib import Path

    from headstart.errors import HeadstartError

    path = Path(str(page)).resolve()
    if not webbrowser.open(path.as_uri()):
        raise HeadstartError(
            f"expected a browser to show {path}, found none. Open the file by hand, or name the "
            "browser. Type: BROWSER=firefox headstart open RUN"
        )
