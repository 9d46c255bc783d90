"""Probabilities averaged over views of an image."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.images.augment import FLIP, make_view
from headstart.images.geometry import prepare
from headstart.runs.evaluate import evaluate, evaluate_views
from headstart.system.progress import Recorder


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    return headstart.train(tiny, out=tmp_path_factory.mktemp("tta") / "run", size=64)


def test_without_augmentation_the_views_are_flips(run: headstart.Run, tiny: Path) -> None:
    path = tiny / "red" / "0.jpg"
    pixels = prepare(path.read_bytes(), run.classifier.geometry)
    flipped = make_view(pixels, FLIP, seed=0, image_hash=b"", view=1)
    assert np.array_equal(flipped, pixels[:, ::-1])
    alone = run.classifier.predict_proba([pixels, flipped])
    both = run.classifier.predict(path, views=2).probabilities
    expected = dict(zip(run.classifier.classes, alone.mean(axis=0), strict=True))
    assert both == pytest.approx(expected, abs=1e-6)
    assert run.classifier.predict(path, views=9).probabilities == both  # there are but two


def test_views_of_the_training_augmentation_are_the_same_each_time(
    tiny: Path, tmp_path: Path
) -> None:
    run = headstart.train(tiny, out=tmp_path / "run", size=64, views=2, augmentation="lesson")
    path = tiny / "blue" / "1.png"
    first = run.classifier.predict(path, views=4).probabilities
    assert headstart.load(run.folder).predict(path, views=4).probabilities == first
    (one,) = run.classifier.by_view([path], 4)
    assert one[2] is not None
    assert one[2].shape == (4, 2)
    assert len({row.tobytes() for row in one[2]}) == 4


def test_bad_images_keep_their_places(run: headstart.Run, tiny: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    predictions = run.classifier.predict([bad, tiny / "red" / "0.jpg", bad], views=2)
    assert [p.label for p in predictions] == [None, "red", None]


def test_evaluation_tells_whether_it_pays(run: headstart.Run, tiny: Path) -> None:
    evaluated = evaluate_views(run.folder, tiny, 3)
    assert evaluated.views == 2  # the image and its mirror image
    assert evaluated.metrics["all"].accuracy == evaluated.alone["all"].accuracy == 1
    assert evaluated.paired["all"].verdict == "the data cannot tell"
    assert evaluate(run.folder, tiny)["all"] == evaluated.alone["all"]


def test_images_that_it_was_trained_on_are_told(
    run: headstart.Run, tiny: Path, tmp_path: Path
) -> None:
    progress = Recorder()
    evaluate_views(run.folder, tiny, 1, progress=progress)
    trained = run.record["images"]["train"]
    assert any(f"{trained} of these 48 images were trained on" in w for w in progress.warnings)
    shutil.copytree(run.folder / "classifier", tmp_path / "alone")
    progress = Recorder()
    evaluate_views(tmp_path / "alone", tiny, 1, progress=progress)
    assert not progress.warnings  # nobody can know
