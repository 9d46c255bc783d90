"""The page of code that an export brings along makes headstart's pixels."""

import io
import itertools
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.errors import BadImage
from headstart.export.golden import draw, make_odd
from headstart.images.geometry import Geometry, prepare

SHAPES = (224, 224), (60, 90)
GEOMETRIES = [
    Geometry(height, width, resize, how)
    for (height, width), resize, how in itertools.product(
        SHAPES, ("squash", "crop", "pad"), ("antialias", "nearest", "bilinear", "bicubic")
    )
]


@pytest.fixture(scope="module", autouse=True)
def pillow() -> Iterator[None]:
    """As it was: the page sets it up for a process of its own."""
    Image.init()  # else what other tests open later would not be known
    most, openers, names = Image.MAX_IMAGE_PIXELS, dict(Image.OPEN), list(Image.ID)
    yield
    Image.MAX_IMAGE_PIXELS = most
    Image.ID[:] = names
    Image.OPEN.clear()
    Image.OPEN.update(openers)


def seen(file: Any, geometry: Geometry) -> np.ndarray:
    from headstart.export import runner

    size = geometry.height, geometry.width
    pixels = runner.read(file, *size, geometry.interpolation)
    return runner.resize(pixels, *size, geometry.resize, geometry.interpolation)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_odd_images_become_the_same_pixels(geometry: Geometry) -> None:
    for name, content in make_odd(None, Geometry(100, 80)):
        expected = prepare(content, geometry)
        assert np.array_equal(seen(io.BytesIO(content), geometry), expected), name


@pytest.mark.parametrize("turn", range(10))
def test_every_orientation(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    for kind in ("JPEG", "WEBP", "TIFF"):
        for factor in (1, 9):  # as it is, and large enough to be reduced
            picture = Image.fromarray(draw()[::3, ::2])
            picture = picture.resize((picture.width * factor, picture.height * factor))
            buffer = io.BytesIO()
            picture.save(buffer, kind, exif=exif)
            geometry = Geometry(60, 90, "crop")
            expected = prepare(buffer.getvalue(), geometry)
            assert np.array_equal(seen(buffer, geometry), expected), (kind, factor)


# JPEGs damaged in places where headstart leaves the reduction to the mean of blocks.
DAMAGED = {"hopper_bad_exif.jpg", "junk_jpeg_header.jpg"}


def test_odd_images_found_in_the_wild(photos: Path) -> None:
    pytest.importorskip("pillow_heif")
    count = 0
    for path in sorted((photos / "odd_images").iterdir()):
        for geometry in (Geometry(224, 224, "crop"), Geometry(60, 90)):
            try:
                expected = prepare(path.read_bytes(), geometry)
            except BadImage:
                continue
            if path.name in DAMAGED and geometry.height == 60:
                continue
            count += 1
            assert np.array_equal(seen(path, geometry), expected), path.name
    assert count > 40


def test_more_pixels_than_headstart_takes_are_refused(photos: Path) -> None:
    bomb = photos / "odd_images" / "bomb_400MP.png"
    with pytest.raises(BadImage):
        prepare(bomb.read_bytes(), Geometry(60, 90))
    with pytest.raises(ValueError, match="too many pixels"):
        seen(bomb, Geometry(60, 90))


def test_headstart_itself_does_not_import_the_page() -> None:
    """It sets Pillow up for a process of its own."""
    program = (
        "import sys, headstart.export.folder, headstart.cli.export;"
        "print('headstart.export.runner' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_of_several_classes_each_that_is_said_has_its_probability() -> None:
    from headstart.export.runner import describe

    row = np.array([0.9, 0.15, 0.6])
    several = {"classes": ["a", "b", "c"], "thresholds": [0.5, 0.1, 0.7]}
    assert describe(several, row) == "a 90.0%; b 15.0%"
    assert describe({**several, "thresholds": [1, 1, 1]}, row) == "no class (90.0% at most)"
    assert describe({"classes": ["a", "b", "c"], "thresholds": None}, row) == "a 90.0%"


def test_a_folder_that_is_not_whole_is_told_in_a_line(tmp_path: Path) -> None:
    page = Path(find_spec("headstart.export.runner").origin)
    (tmp_path / "run.py").write_bytes(page.read_bytes())
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), "a.jpg"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("expected the whole folder of the export beside run.py, found")
    assert "Traceback" not in done.stderr
