"""A small set in which things are made wrong on purpose."""

import shutil
from pathlib import Path

from PIL import Image


def make_faulty(tiny: Path, folder: Path) -> Path:
    """The small set with a copy, one under another label, a mirrored one, a file that is none."""
    folder = folder / "photos"
    shutil.copytree(tiny, folder)
    shutil.copy(folder / "red" / "2.png", folder / "red" / "copy.png")
    Image.open(folder / "red" / "4.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        folder / "red" / "mirrored.png"
    )
    shutil.copy(folder / "red" / "8.png", folder / "blue" / "wrong.png")
    (folder / "red" / "broken.jpg").write_bytes(b"")
    return folder
