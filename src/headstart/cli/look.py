"""headstart augment: what an augmentation means, to look at."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import AsJson, Picture, Seed, parse_path
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
    augmentation: Annotated[
        str,
        typer.Option(
            metavar="NAME|TOML",
            help="none, flip, lesson, or TOML such as '{rotation=20, zoom=0.1}'.",
        ),
    ] = "lesson",
    views: Annotated[
        int, typer.Option(parser=whole(1, 100), metavar="N", help="Views of each image.")
    ] = 6,
    rows: Annotated[
        int, typer.Option(parser=whole(1, 100), metavar="N", help="Images to show, a row each.")
    ] = 4,
    size: Annotated[
        int, typer.Option(parser=whole(16, 1024), metavar="N", help="Pixels of each picture.")
    ] = 150,
    seed: Seed = None,
    out: Picture = None,
    as_json: AsJson = False,
) -> None:
    """Draw a contact sheet: originals beside their augmented views."""
    import io

    from PIL import Image

    from headstart.data.dataset import images_in
    from headstart.errors import BadImage, DatasetError
    from headstart.images.geometry import Geometry
    from headstart.recipe import load_recipe, parse_setting
    from headstart.report.contact_sheet import contact_sheet

    chosen = load_recipe(augmentation=parse_setting(f"augmentation={augmentation}")[1])
    seed = chosen.seed if seed is None else seed
    geometry = Geometry(size, size, "crop")
    items = images_in([photos])
    pixels, shown = [], []
    for item in items[:: max(1, len(items) // rows)]:  # from all over the folder
        try:
            pixels.append(item.prepare(geometry))
            shown.append(item)
        except BadImage:
            continue
        if len(shown) == rows:
            break
    if not shown:
        raise DatasetError(
            f"expected images in {photos}, found none that can be used. Type: headstart augment "
            "PHOTOS with a folder, an archive or an image"
        )
    sheet = contact_sheet(
        pixels,
        chosen.augmentation,
        views,
        seed,
        [item.content_hash for item in shown],
        [Path(item.name).name for item in shown],
    )
    png = io.BytesIO()
    Image.fromarray(sheet).save(png, "PNG")
    picture = write_picture(out, "views.png", png.getvalue())
    if as_json:
        print_json({
            "picture": str(picture), "images": [item.name for item in shown],
            "augmentation": str(chosen.augmentation), "seed": seed,
        })  # fmt: skip
    else:
        tell(picture)
