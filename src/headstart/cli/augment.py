"""headstart augment."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli import app, command


@app.command(epilog="Example: headstart augment photos/ --augmentation lesson --out views.png")
@command
def augment(
    photos: Annotated[Path, typer.Argument(help="Folder, archive or image.")],
    augmentation: Annotated[
        str, typer.Option(help="none, flip, lesson, or TOML such as '{rotation=20, zoom=0.1}'.")
    ] = "lesson",
    views: Annotated[int, typer.Option(min=1, help="Views of each image.")] = 6,
    images: Annotated[int, typer.Option(min=1, help="How many images to show.")] = 4,
    size: Annotated[int, typer.Option(min=16, help="Pixels of each picture.")] = 150,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("views.png"),
) -> None:
    """Draw a contact sheet: originals beside their augmented views."""
    import io

    from PIL import Image

    from headstart.contact_sheet import contact_sheet
    from headstart.dataset import images_in
    from headstart.errors import BadImage, DatasetError
    from headstart.files import write_atomically
    from headstart.images import Geometry
    from headstart.recipe import load_recipe, parse_setting

    chosen = load_recipe(augmentation=parse_setting(f"augmentation={augmentation}")[1])
    geometry = Geometry(size, size, "crop")
    items = images_in([photos])
    pixels, shown = [], []
    for item in items[:: max(1, len(items) // images)]:  # from all over the folder
        try:
            pixels.append(item.prepare(geometry))
            shown.append(item)
        except BadImage:
            continue
        if len(shown) == images:
            break
    if not shown:
        raise DatasetError(f"expected images in {photos}, found none that can be used")
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
    write_atomically(out, png.getvalue())
    print(out)
