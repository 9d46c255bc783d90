"""headstart fetch."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import Quiet, parse_path
from headstart.cli.output import percent, reporter, tell, tell_command
from headstart.cli.usage import parse_sha256

if TYPE_CHECKING:
    from headstart.system.progress import Progress

WEB = "web-runtime"


@app.command(epilog="Example: headstart fetch https://example.org/photos.zip")
@command
def fetch(
    what: Annotated[
        str,
        typer.Argument(
            metavar="URL|web-runtime",
            help="An archive of photos, Parquet; or what runs an exported page.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=parse_path,
            metavar="PLACE",
            help="Folder or name for what is at the URL. Default: this folder.",
        ),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            parser=parse_sha256, metavar="HEX", help="The file's SHA-256, to be compared."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Fetch photos, or what an export needs, over the network: nothing else does so unasked."""
    progress = reporter(quiet, False)
    if "://" in what:
        _fetch_photos(what, out, sha256, progress, quiet)
        return
    from headstart.errors import HeadstartError
    from headstart.export.web_runtime import fetch_runtime

    if what != WEB or out is not None or sha256 is not None:
        found = f"{what!r}" + " with options" * (what == WEB)
        raise HeadstartError(
            f"expected an address (https://...), or {WEB} alone, found {found}. "
            f"Type: headstart fetch {WEB}"
        )
    with progress.stage(WEB, 100, "%"):
        tell(fetch_runtime(percent(progress)))


def _fetch_photos(
    url: str, out: Path | None, sha256: str | None, progress: "Progress", quiet: bool
) -> None:
    """The archive or Parquet file at the address, in a folder or under a name."""
    from headstart.backbones import download
    from headstart.data.archive import SUFFIXES
    from headstart.data.parquet import SUFFIX
    from headstart.errors import DatasetError

    kinds = (*SUFFIXES, SUFFIX)
    target = out
    if out is None or out.is_dir() or not out.name.lower().endswith(kinds):
        target = (out or Path()) / download.file_name(url)
    assert target is not None
    if not target.name.lower().endswith(kinds):
        raise DatasetError(
            f"expected the address of an archive of photos ({', '.join(kinds)}), found {url}. "
            "If it is one, say which: --out photos.zip"
        )
    checksum = None if sha256 is None else f"sha256:{sha256}"
    with progress.stage(target.name, 100, "%"):
        download.fetch(url, target, checksum=checksum, progress=percent(progress))
    tell(target)
    if not quiet:
        tell_command("Next: ", f"headstart train {shlex.quote(str(target))}")
