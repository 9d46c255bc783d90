"""Options that several commands share: each is defined once and means the same everywhere."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.cli.usage import parse_number, whole


def parse_path(text: str | Path) -> Path:
    """A path as it was typed; an address without its keys, which are put away. An empty word is
    refused: it would mean the current folder, and comes from a variable of the shell that is not
    set.
    """
    from headstart.data.address import to_place

    if not str(text).strip():
        raise typer.BadParameter(
            "expected a file or folder, found an empty name. Type: its path, or . for this folder"
        )
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise typer.BadParameter(f"expected a name that files can have, found {text!r}") from None
    return to_place(text)


def hide_keys(source: str) -> str:
    """A source as it was typed; an address without its keys, which are put away."""
    from headstart.data.address import put_keys_away, read_address

    address = read_address(source)
    return source if address is None else put_keys_away(address)


def parse_as(*suffixes: str) -> Callable[[str | Path], Path]:
    """What reads the place of something to write in one of these forms, or a folder for it."""

    def parse_written(text: str | Path) -> Path:
        path = parse_path(text)
        if path.suffix and path.suffix.lower() not in suffixes and not path.is_dir():
            raise typer.BadParameter(
                f"expected a name that ends in {', '.join(suffixes)}, found {path.name!r}"
            )
        return path

    return parse_written


def parse_share(text: str | float) -> float:
    """A share from 0 to 1 as it was typed."""
    number = parse_number(text)
    if not 0 <= number <= 1:
        raise typer.BadParameter(f"expected a share from 0 to 1, as 0.02 is 2%, found {text!r}")
    return number


Photos = Annotated[
    Path,
    typer.Argument(
        parser=parse_path,
        metavar="PHOTOS",
        help="Folder, table, archive or address of labelled images.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", parser=parse_path, metavar="PHOTOS", help="Measure on these labelled images."
    ),
]
RunFolder = Annotated[
    Path,
    typer.Argument(parser=parse_path, metavar="RUN", help="The folder that train printed."),
]
OnRay = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="ray|ray://HOST:PORT", help="Let a Ray cluster do it, or Ray here."
    ),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="K/N", help="Make the K-th of N parts, each by its own process."
    ),
]
RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="RECIPE", help="A recipe's name or a TOML file.")
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="WEIGHTS", help="default, imagenet, none or a file."),
]
Groups = Annotated[
    str | None,
    typer.Option(
        "--groups",
        metavar="COLUMN|PATTERN",
        help="Table column, or pattern on file names: whole groups (patient, camera) are split.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        parser=whole(0, 2**32 - 1),
        metavar="N",
        help="Seed of every draw: split, folds, views.",
    ),
]
Budget = Annotated[
    str,
    typer.Option("--budget", metavar="TIME", help="Time that it may take, such as 60s or 5m."),
]
Backbone = Annotated[
    str | None, typer.Option("--backbone", metavar="NAME", help="See: headstart backbones.")
]
Cuts = Annotated[
    str | None,
    typer.Option(
        "--cut",
        metavar="LAYER",
        help="Layer whose output serves as features, several joined by +, or auto.",
    ),
]
PoolingKind = Annotated[
    str | None,
    typer.Option("--pooling", metavar="KIND", help="avg, max, avg+max, grid or flatten."),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", metavar="PRECISION", help="auto, f32, bf16 or int8."),
]
Size = Annotated[
    int | None,
    typer.Option(
        "--size",
        parser=whole(1, 2048),
        metavar="N",
        help="Pixels of the input, height and width.",
    ),
]
MaxDrop = Annotated[
    float,
    typer.Option(
        "--max-drop",
        parser=parse_share,
        metavar="SHARE",
        help="Accuracy that may be lost, such as 0.01.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change any choice of the recipe."),
]
ChangedData = Annotated[
    bool,
    typer.Option("--changed-data", help="Go on where the images are not those of the run."),
]
Picture = Annotated[
    Path | None,
    typer.Option(
        "--out",
        parser=parse_as(".png", ".svg"),
        metavar="PICTURE",
        help="The picture to write: NAME.png, NAME-dark.png or NAME.svg. Default: a new one here.",
    ),
]
NewRun = Annotated[
    Path | None,
    typer.Option(
        "--out",
        parser=parse_path,
        metavar="RUN",
        help="The new run's folder. Default: runs/NAME-N.",
    ),
]
Tta = Annotated[
    int,
    typer.Option(
        "--tta",
        parser=whole(1, 1000),
        metavar="N",
        help="Average over N views of each image (slower).",
    ),
]
Accuracy = Annotated[
    float | None,
    typer.Option(
        "--accuracy",
        parser=parse_number,
        metavar="SHARE",
        help="Answer only where so many answers are right, such as 0.99, else say: not sure.",
    ),
]
Reject = Annotated[
    float | None,
    typer.Option(
        "--reject",
        parser=parse_number,
        metavar="SHARE",
        help="Say none of these of images unlike all trained on, at this share of false alarms.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at an image that cannot be used.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tell every figure, and what was chosen and why.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def collect_choices(
    settings: list[str] | None, *, budget: str | None = None, **options: Any
) -> dict[str, Any]:
    """The choices of a recipe that were typed: `options` that are not None, and `--set`, which
    has the last word. Raises RecipeError for a time or a setting that cannot be read.
    """
    from headstart.recipe import parse_setting, seconds

    choices = {name: value for name, value in options.items() if value is not None}
    if budget is not None:
        choices["budget"] = seconds(budget)
    choices.update(parse_setting(text) for text in settings or [])
    return choices


def list_typed_options(context: typer.Context, but: Collection[str] = ()) -> list[str]:
    """What was typed of the command's parameters, as it is spelled, `but` those named.

    Read from the command itself: a parameter that is added to it is among them at once.
    """
    names = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in but or source is None or source.name != "COMMANDLINE":
            continue
        spelled = max(parameter.opts, key=len)
        names.append(spelled if spelled.startswith("-") else name.upper())
    return names


def require_data(names: Collection[str]) -> None:
    """Raises RecipeError for options that mean nothing without images."""
    from headstart.errors import RecipeError

    if names:
        raise RecipeError(
            f"expected --data PHOTOS with {', '.join(names)}, for nothing is measured without "
            "images. Type: --data PHOTOS"
        )
