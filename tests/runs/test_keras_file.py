"""What model.keras.md says of the pixels gives the pixels that the network was trained on."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from headstart.backbones.catalogue import NORMALISATIONS
from headstart.images.geometry import Geometry, prepare
from headstart.recipe import load_recipe
from headstart.runs.keras_file import describe
from headstart.tuning.keras_model import normalised


def run_lines(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """x, as the lines in the text make it of photo.jpg; without Keras and its model."""
    monkeypatch.chdir(folder)
    lines = text.split("```python")[1].split("```")[0].splitlines()
    known: dict[str, np.ndarray] = {}
    exec("\n".join(line for line in lines if "keras" not in line and "model" not in line), known)
    return known["x"]


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(300, 200), (60, 90)])
@pytest.mark.parametrize("norm", ["0..1", "raw", "caffe", "torch"])
def test_the_lines_make_the_input(
    resize: Literal["squash", "crop", "pad"], size: tuple[int, int],
    norm: Literal["0..1", "raw", "caffe", "torch"], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    across, down = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    waves = np.stack([np.sin(6 * across), np.cos(5 * down), np.sin(4 * across * down)], axis=-1)
    Image.fromarray((128 + 100 * waves).astype(np.uint8)).save(tmp_path / "photo.png")
    (tmp_path / "photo.png").rename(tmp_path / "photo.jpg")
    recipe = load_recipe(resize=resize, normalisation=norm)
    geometry = Geometry(96, 96, resize)
    text = describe(
        recipe, ("a", "b"), geometry, NORMALISATIONS[norm], optimizer="Adam", binary=True
    )
    x = run_lines(text, tmp_path, monkeypatch)
    pixels = prepare((tmp_path / "photo.jpg").read_bytes(), geometry)
    ours = normalised(pixels[None], recipe)[0]
    assert x.shape == ours.shape
    scale = ours.std()
    assert np.abs(x - ours).mean() < 0.05 * scale
    assert "the probability of `b`" in text
    assert max(map(len, text.splitlines())) <= 100
