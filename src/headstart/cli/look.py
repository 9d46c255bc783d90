"""headstart augment: what an augmentation means, to look at."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import (
    AsJson,
    RecipeName,
    Seed,
    Settings,
    collect_choices,
    parse_as,
    parse_path,
)
from headstart.cli.output import print_json, tell, write_picture
from headstart.cli.usage import whole


@app.command(
    epilog="Example: headstart augment photos/ --augmentation lesson --out views.png",
)
@command
def augment(
    photos: Annotated[
        Path,
        typer.Argument(parser=parse_path, metavar="PHOTOS", help="Folder, archive or image."),
    ],
    recipe: RecipeName = "quick",
    augmentation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|TOML",
            help="none, flip, lesson, or TOML such as '{rotation=20, zoom=0.1}'. Default: the "
            "recipe's; where it has none, lesson.",
        ),
    ] = None,
    views: Annotated[
        int, typer.Option(parser=whole(1, 100), metavar="N", help="Views of each image.")
    ] = 6,
    rows: Annotated[
        int, typer.Option(parser=whole(1, 100), metavar="N", help="Images to show, a row each.")
    ] = 4,
    size: Annotated[
        int | None,
        typer.Option(
            parser=whole(16, 1024),
            metavar="N",
            help="Pixels of each picture. Default: those that the recipe trains on.",
        ),
    ] = None,
    seed: Seed = None,
    settings: Settings = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=parse_as(".png"),
            metavar="PICTURE",
            help="The picture to write: NAME.png or NAME-dark.png. Default: a new one here.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a contact sheet: photos, what a recipe trains on of them, and their augmented views."""
    import io

    from PIL import Image

    from headstart.backbones.catalogue import backbone
    from headstart.data.places import images_in
    from headstart.errors import BadImage, DatasetError
    from headstart.images.augment import NONE
    from headstart.images.decode import decode
    from headstart.recipe import load_recipe, parse_setting
    from headstart.report.contact_sheet import Shown, contact_sheet

    choices = collect_choices(settings, seed=seed, size=size)
    if augmentation is not None:
        choices |= [parse_setting(f"augmentation={augmentation}")]
    chosen = load_recipe(recipe, **choices)
    if chosen.augmentation == NONE and augmentation is None:
        chosen = chosen.changed(augmentation="lesson")
    geometry = chosen.geometry(backbone(chosen.backbone).size)
    items = images_in([photos])
    shown, names = [], []
    for item in items[:: max(1, len(items) // rows)]:  # from all over the folder
        try:
            pixels, photo = item.prepare(geometry), decode(item.read())
        except BadImage:
            continue
        path = Path(item.name)
        shown.append(Shown(pixels, item.content_hash, photo, path.name, path.parent.name))
        names.append(item.name)
        if len(shown) == rows:
            break
    if not shown:
        raise DatasetError(
            f"expected images in {photos}, found none that can be used. Type: headstart augment "
            "PHOTOS with a folder, an archive or an image"
        )
    sheet = contact_sheet(
        shown, chosen.augmentation, views, chosen.seed,
        f"{recipe}: {geometry.width}x{geometry.height} pixels, {geometry.resize}",
        dark=out is not None and out.stem.endswith("-dark"),
    )  # fmt: skip
    png = io.BytesIO()
    Image.fromarray(sheet).save(png, "PNG")
    picture = write_picture(out, "views.png", png.getvalue())
    if as_json:
        print_json({
            "picture": str(picture), "images": names, "resize": geometry.resize,
            "size": geometry.width, "augmentation": str(chosen.augmentation), "seed": chosen.seed,
        })  # fmt: skip
    else:
        tell(picture)
