"""Fixtures shared by all tests: the real images and weights, where they are present."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("HEADSTART_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own cache folder."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and weights; tests that need it skip without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the real images in {SHARED} (set HEADSTART_SHARED to their folder)")
    return SHARED


@pytest.fixture(scope="session")
def photos(shared: Path) -> Path:
    """data/: cats_and_dogs_filtered, hymenoptera, clothing, sign_language_digits, odd_images."""
    return shared / "data"


@pytest.fixture(scope="session")
def inception_weights(shared: Path) -> Path:
    """InceptionV3 without its top in Keras 2 style HDF5."""
    return shared / "weights" / "inception_v3_notop.h5"
