"""Our views against Keras' ImageDataGenerator given the same drawn parameters.

Keras warps in floats and we round to whole levels: half a level apart at most, a little more
where OpenCV before 5 places coordinates on a grid of 1/32 pixel. The image is smooth enough that
this is all there is to see, and steep enough that a tenth of a pixel would show.
"""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from headstart.images.augment import LESSON, Augmentation, draw
from headstart.images.transform import Draw, apply

SIDE = 150
SEEDS = range(6)
DRAWS = 3000
ROUNDING = 0.52 if int(cv2.__version__.split(".")[0]) >= 5 else 1.7  # levels

# The generator runs in a process of its own: Keras fixes its backend when imported, and the
# openvino backend needs no TensorFlow.
ORACLE = """
import sys, warnings
warnings.simplefilter("ignore")  # it calls SciPy by an old name
import numpy as np
from keras.src.legacy.preprocessing.image import ImageDataGenerator

folder, draws = sys.argv[1], int(sys.argv[2])
image = np.load(folder + "/image.npy").astype("float32")
cases = np.load(folder + "/cases.npy", allow_pickle=False)
names = "theta tx ty shear zx zy flip_horizontal flip_vertical channel brightness".split()
views = []
for *values, fill_mode, cval in cases.tolist():
    drawn = dict(zip(names, map(float, values)))
    channel, brightness = drawn.pop("channel"), drawn.pop("brightness")
    drawn["channel_shift_intensity"] = channel or None
    drawn["brightness"] = brightness if brightness != 1 else None
    generator = ImageDataGenerator(fill_mode=fill_mode, cval=float(cval))
    views.append(generator.apply_transform(image, drawn))
np.save(folder + "/views.npy", np.stack(views))

lesson = ImageDataGenerator(
    rotation_range=40, width_shift_range=0.2, height_shift_range=0.2, shear_range=0.2,
    zoom_range=0.2, horizontal_flip=True,
)
np.random.seed(0)
table = [lesson.get_random_transform(image.shape) for _ in range(draws)]
np.save(folder + "/draws.npy", [[float(row[name]) for name in names[:7]] for row in table])
"""

ALL = replace(LESSON, vertical_flip=True)
CHOICES = {
    "rotation": Augmentation(rotation=40),
    "width_shift": Augmentation(width_shift=0.2),
    "height_shift": Augmentation(height_shift=0.2),
    "shear": Augmentation(shear=0.2),
    "large shear": Augmentation(shear=30),
    "zoom": Augmentation(zoom=0.2),
    "horizontal_flip": Augmentation(horizontal_flip=True),
    "vertical_flip": Augmentation(vertical_flip=True),
    "lesson": LESSON,
    "lesson, reflect": replace(LESSON, fill_mode="reflect"),
    "lesson, constant": replace(LESSON, fill_mode="constant", cval=90),
    "lesson, wrap": replace(LESSON, fill_mode="wrap"),
    "far out, reflect": replace(LESSON, width_shift=0.99, zoom=0.9, fill_mode="reflect"),
    "far out, wrap": replace(LESSON, width_shift=0.99, zoom=0.9, fill_mode="wrap"),
    "channel_shift": replace(LESSON, channel_shift=60),
    "brightness": Augmentation(brightness=(0.4, 1.6)),
    "all": replace(ALL, shear=20, channel_shift=60, brightness=(0.4, 1.6)),
}


def drawn(name: str, view: int) -> Draw:
    return draw(CHOICES[name], seed=0, image_hash=b"", view=view + 1, height=SIDE, width=SIDE)


def seven(d: Draw) -> list[float]:
    """In Keras' order; its tx moves columns, though it is drawn from the height's range."""
    return [d.rotation, d.shift_x, d.shift_y, d.shear, d.zoom_x, d.zoom_y, d.horizontal_flip]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(SIDE, SIDE, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.rint(np.clip(128 + 600 * smooth, 0, 255)).astype(np.uint8)


@pytest.fixture(scope="module")
def oracle(image: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with views.npy (cases x seeds, H, W, 3) and draws.npy (draws, 7) by Keras."""
    missing = [name for name in ("keras", "openvino", "scipy") if find_spec(name) is None]
    if missing:
        pytest.skip(f"the oracle needs {' and '.join(missing)}")
    folder = tmp_path_factory.mktemp("oracle")
    draws = [drawn(name, seed) for name in CHOICES for seed in SEEDS]
    cases = [
        [*seven(d), d.vertical_flip, d.channel_shift, d.brightness, d.fill_mode, d.cval]
        for d in draws
    ]
    rows = [[v if isinstance(v, str) else repr(float(v)) for v in case] for case in cases]
    np.save(folder / "image.npy", image)
    np.save(folder / "cases.npy", np.array(rows))
    done = subprocess.run(
        [sys.executable, "-c", ORACLE, str(folder), str(DRAWS)],
        env={**os.environ, "KERAS_BACKEND": "openvino"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def theirs(name: str, oracle: Path) -> np.ndarray:
    """(seeds, H, W, 3) floats."""
    views = np.load(oracle / "views.npy").reshape(len(CHOICES), len(SEEDS), SIDE, SIDE, 3)
    return views[list(CHOICES).index(name)]


def differences(name: str, oracle: Path, image: np.ndarray) -> np.ndarray:
    """(seeds, H, W, 3) absolute differences in levels."""
    ours = np.stack([apply(image, drawn(name, seed)) for seed in SEEDS])
    return np.abs(ours - theirs(name, oracle))


@pytest.mark.parametrize("name", [n for n in CHOICES if n not in ("brightness", "all")])
def test_same_pixels(name: str, oracle: Path, image: np.ndarray) -> None:
    assert differences(name, oracle, image).max() <= ROUNDING + (name == "channel_shift") * 1


@pytest.mark.parametrize("name", ["horizontal_flip", "vertical_flip"])
def test_flips_are_exact(name: str, oracle: Path, image: np.ndarray) -> None:
    assert differences(name, oracle, image).max() == 0


@pytest.mark.parametrize("name", ["brightness", "all"])
def test_same_brightness(name: str, oracle: Path, image: np.ndarray) -> None:
    """Keras cuts fractions off before and after multiplying by up to 1.6; we round."""
    assert differences(name, oracle, image).max() <= 1 + 1.6 * (1 + ROUNDING) * (name == "all")


def test_the_comparison_sees_a_tenth_of_a_pixel(oracle: Path, image: np.ndarray) -> None:
    first = drawn("lesson", 0)
    off = apply(image, replace(first, shift_x=first.shift_x + 0.1))
    assert np.abs(off - theirs("lesson", oracle)[0]).max() > 2 * ROUNDING


def test_same_distribution_of_draws(oracle: Path) -> None:
    """Two-sample Kolmogorov-Smirnov: the largest gap of the distributions, at the 0.1% level."""
    keras = np.load(oracle / "draws.npy")
    size = {"height": SIDE, "width": SIDE}
    draws = [draw(LESSON, seed=0, image_hash=b"", view=v, **size) for v in range(1, DRAWS + 1)]
    ours = np.array([seven(d) for d in draws])
    for column in range(7):
        both = np.sort(np.concatenate([ours[:, column], keras[:, column]]))
        ranks = [np.searchsorted(np.sort(t[:, column]), both, side="right") for t in (ours, keras)]
        gap = np.abs(ranks[0] - ranks[1]).max() / DRAWS
        assert gap < 1.95 * np.sqrt(2 / DRAWS)
    # Independent of each other: no correlation beyond chance (4 standard errors).
    correlation = np.corrcoef(ours.T) - np.eye(7)
    assert np.abs(correlation).max() < 4 / np.sqrt(DRAWS)
