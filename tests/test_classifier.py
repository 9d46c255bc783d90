"""What a classifier takes: an image or many, in any form, always the same numbers."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.errors import BadImage, DatasetError


@pytest.fixture(scope="module")
def classifier(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Classifier:
    out = tmp_path_factory.mktemp("classifier") / "run"
    return headstart.train(tiny, out=out, cut="block1a_project_bn", size=64).classifier


@pytest.fixture(scope="module")
def path(tiny: Path) -> Path:
    return tiny / "red" / "0.jpg"


@pytest.fixture(scope="module")
def expected(classifier: headstart.Classifier, path: Path) -> np.ndarray:
    """(C,) of the image."""
    probabilities = classifier.predict(path).probabilities
    return np.array([probabilities[name] for name in classifier.classes], np.float32)


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


ONE: dict[str, Any] = {
    "path": lambda path: path,
    "text": str,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "PIL image": lambda path: Image.fromarray(pixels_of(path)),
    "array (H, W, 3)": pixels_of,
}
MANY: dict[str, Any] = {
    "list of paths": lambda path: [path, path],
    "list of texts": lambda path: [str(path), str(path)],
    "tuple of forms": lambda path: (path.read_bytes(), Image.fromarray(pixels_of(path))),
    "list of one": lambda path: [path],
    "array (N, H, W, 3)": lambda path: np.stack([pixels_of(path)] * 2),
    "array of texts": lambda path: np.array([str(path), str(path)]),
    "array of paths": lambda path: np.array([path, path], object),
    "generator": lambda path: (path for _ in range(2)),
}


@pytest.mark.parametrize("form", ONE)
def test_one_image_is_one_prediction_and_one_row(
    classifier: headstart.Classifier, path: Path, expected: np.ndarray, form: str
) -> None:
    prediction = classifier.predict(ONE[form](path))
    assert [prediction.probabilities[name] for name in classifier.classes] == list(expected)
    rows = classifier.predict_proba(ONE[form](path))
    assert rows.tolist() == [list(expected)]


@pytest.mark.parametrize("form", MANY)
def test_many_images_are_as_many_predictions_and_rows(
    classifier: headstart.Classifier, path: Path, expected: np.ndarray, form: str
) -> None:
    count = 1 if form == "list of one" else 2
    predictions = classifier.predict(MANY[form](path))
    assert [p.probability for p in predictions] == [expected.max()] * count
    assert classifier.predict_proba(MANY[form](path)).tolist() == [list(expected)] * count


def test_folders_and_archives_stand_for_their_images(
    classifier: headstart.Classifier, tiny: Path, tmp_path: Path
) -> None:
    reds = classifier.predict(tiny / "red")
    assert isinstance(reds, list)
    assert len(reds) == 24
    rows = classifier.predict_proba(tiny / "red")
    assert rows.shape == (24, 2)
    assert rows[:, 1].tolist() == [p.probabilities["red"] for p in reds]
    archive = shutil.make_archive(str(tmp_path / "red"), "zip", tiny / "red")
    assert classifier.predict_proba(archive).tolist() == rows.tolist()
    assert len(classifier.predict(archive)) == 24
    assert classifier.predict_proba([tiny / "red", tiny / "blue" / "1.png"]).shape == (25, 2)
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(tiny / "red" / "0.jpg", one)
    assert len(classifier.predict(one)) == 1  # a folder is many, however few


def test_none_gives_none(classifier: headstart.Classifier) -> None:
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 2)


def test_what_is_no_image_is_named(classifier: headstart.Classifier, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    with pytest.raises(BadImage, match="not an image"):
        classifier.predict(tmp_path / "bad.jpg")
    with pytest.raises(BadImage, match=r"bad\.jpg: not an image"):
        classifier.predict_proba(str(tmp_path / "bad.jpg"))
    with pytest.raises(DatasetError, match=r"found nothing at .*missing\.jpg"):
        classifier.predict_proba(str(tmp_path / "missing.jpg"))
    for wrong in (np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3)), 5):
        with pytest.raises(BadImage, match="expected a"):
            classifier.predict(wrong)
        with pytest.raises(BadImage, match="image 1: expected a"):
            classifier.predict_proba(wrong)
