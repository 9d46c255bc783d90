"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


Tta = Annotated[
    int,
    typer.Option("--tta", min=1, metavar="N", help="Average over N views of each image (slower)."),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that train printed.")]


Photos = Annotated[
    Path | None,
    typer.Option("--data", metavar="PHOTOS", help="Measure on these labelled images."),
]
Budget = Annotated[str, typer.Option(help="Time that measuring may take, such as 60s or 5m.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change any choice of the recipe."),
]
