"""headstart serve."""

import io
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import parse_path
from headstart.cli.output import tell
from headstart.cli.usage import whole

LOCAL = {"127.0.0.1", "localhost", "::1"}


@app.command(
    epilog="Example: headstart serve runs/photos-1 --port 8000",
)
@command
def serve(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Folders that train printed; NAME=RUN names one."),
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 for every network.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(parser=whole(0, 65535), metavar="N", help="0 takes a free one.")
    ] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path, metavar="FILE", help="Keys, one a line; others are refused."
        ),
    ] = None,
    feedback: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path,
            metavar="FOLDER",
            help="Keep images sent back with their label there.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Another name that requests may call this server by, behind a proxy.",
        ),
    ] = None,
    access_log: Annotated[
        bool, typer.Option("--access-log/--no-access-log", help="A JSON line a request.")
    ] = True,
) -> None:
    """Answer over HTTP, until Ctrl-C or SIGTERM; new versions of a run are loaded as they come."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads of its own would fight with ours
    from headstart.errors import MissingExtra

    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra("headstart serve", "serve") from error
    from headstart.serve.app import make_app
    from headstart.serve.feedback import Feedback
    from headstart.serve.keys import Keys
    from headstart.serve.limits import Limits
    from headstart.serve.models import open_models
    from headstart.serve.server import bind, run

    limits = Limits()
    keys = Keys(api_key_file)
    with bind(host, port) as bound:
        models = open_models(runs)
        kept = None if feedback is None else Feedback(feedback)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # of the log, whoever follows it
        log = sys.stdout.write if access_log else None
        # Who listens to this computer alone is called by its names alone.
        own = None if host not in LOCAL or keys else LOCAL | set(allow_host or [])
        application = make_app(models, limits, keys, kept, log, own)
        address = f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"

        def told() -> None:
            names = ", ".join(served.name for served in models)
            tell(f"Serving {names} on {address} (Ctrl-C ends)", to=sys.stderr)
            if host not in LOCAL and not keys:
                tell(f"warning: whoever reaches {address} may use it. Type: --api-key-file FILE",
                     to=sys.stderr)  # fmt: skip
            if keys.is_open_to_others():
                tell(f"warning: others of this machine can read {api_key_file}. Type: chmod 600 "
                     f"{api_key_file}", to=sys.stderr)  # fmt: skip

        run(application, bound, limits, told)
    tell("Stopped: all that was accepted is answered.", to=sys.stderr)


@app.command(
    epilog="Example: headstart feedback kept/ --out corrected.csv",
)
@command
def feedback(
    folder: Annotated[
        Path, typer.Argument(parser=parse_path, metavar="FOLDER", help="Of serve --feedback.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", parser=parse_path, metavar="FILE", help="Default: print it."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose images, where there are several.")
    ] = None,
) -> None:
    """A table of the images that were sent back with their right labels, for train."""
    from headstart.serve.feedback import write_table
    from headstart.system.atomic import write_atomically

    table = write_table(folder, model)
    if out is None:
        print(table.decode(), end="")
        return
    write_atomically(out, table)
    count = table.count(b"\n") - 1
    many = "s" * (count != 1)
    tell(f"{count:,} image{many} in {out}. Type: headstart train {shlex.quote(str(out))}")
