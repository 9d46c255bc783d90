"""ImageClassifier among scikit-learn's own tools."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

import headstart


@pytest.fixture(scope="module")
def paths(tiny: Path) -> list[Path]:
    return sorted(tiny.glob("*/*"))


@pytest.fixture(scope="module")
def labels(paths: list[Path]) -> list[str]:
    return [path.parent.name for path in paths]


def test_fit_predict_and_score(paths: list[Path], labels: list[str]) -> None:
    model = headstart.ImageClassifier().fit(paths, labels)
    assert model.score(paths, labels) == 1
    assert list(model.classes_) == ["blue", "red"]
    probabilities = model.predict_proba(paths[:3])
    assert probabilities.shape == (3, 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(3))


def test_arrays_and_number_labels(paths: list[Path], labels: list[str]) -> None:
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(np.asarray(image))
    numbers = np.array([7 if label == "red" else 3 for label in labels])
    model = headstart.ImageClassifier(seed=1).fit(np.stack(images), numbers)
    assert set(model.predict(np.stack(images))) == {3, 7}
    assert model.score(np.stack(images), numbers) == 1


def test_parameters_and_clone() -> None:
    model = headstart.ImageClassifier(pooling="max", balanced=True)
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(pooling="avg").pooling == "avg"


def test_cross_validation_and_grid_search(paths: list[Path], labels: list[str]) -> None:
    assert cross_val_score(headstart.ImageClassifier(), paths, labels, cv=3).mean() > 0.95
    search = GridSearchCV(headstart.ImageClassifier(), {"pooling": ["avg", "max"]}, cv=2)
    assert search.fit(paths, labels).best_score_ > 0.9


def test_a_bad_image_is_named(paths: list[Path], labels: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    with pytest.raises(headstart.HeadstartError, match=r"bad\.jpg: not an image"):
        headstart.ImageClassifier().fit([*paths, tmp_path / "bad.jpg"], [*labels, "red"])


def test_predicting_before_fitting_is_refused(paths: list[Path]) -> None:
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        headstart.ImageClassifier().predict(paths)


def test_images_that_look_different_are_different() -> None:
    from PIL import Image

    from headstart.estimator import _Given

    indices = np.zeros((8, 8), np.uint8)
    painted = []
    for colour in ((255, 0, 0), (0, 0, 255)):
        image = Image.new("P", (8, 8))
        image.putpalette(list(colour) * 256)
        painted.append(_Given(image, "p").content_hash)
    assert painted[0] != painted[1]
    assert _Given(indices, "a").content_hash == _Given(np.stack([indices] * 3, 2), "b").content_hash
    assert _Given(indices.astype(float), "a").content_hash  # unusable, and told so later
