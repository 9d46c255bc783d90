"""A class folder called "a;b" is one class in every command: `;` means several in tables only."""

import csv
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import headstart

pytestmark = [  # Keras' own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
CUT = "block1a_project_bn"
CLASSES = ["a;b", "c"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 of each class: reddish and bluish noise."""
    folder = tmp_path_factory.mktemp("semicolon") / "pictures"
    rng = np.random.default_rng(0)
    for index in range(80):
        name, colour = [("a;b", (150, 90, 90)), ("c", (90, 90, 150))][index % 2]
        pixels = np.clip(np.array(colour) + rng.normal(0, 40, (32, 32, 3)), 0, 255)
        target = folder / name / f"{index}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(target)
    return folder


@pytest.fixture(scope="module")
def run(pictures: Path) -> headstart.Run:
    return headstart.train(pictures, out=pictures.parent / "run", cut=CUT, size=64)


def test_it_is_trained_and_told_apart(run: headstart.Run, pictures: Path) -> None:
    assert run.record["classes"] == CLASSES
    assert not run.record["multi"]
    with (run.folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == CLASSES
    assert {row["label"] for row in rows} == {row["predicted"] for row in rows} == set(CLASSES)
    assert run.metrics["validation"].accuracy == 1
    assert [row.name for row in run.metrics["validation"].classes] == CLASSES


def test_it_is_predicted(run: headstart.Run, pictures: Path) -> None:
    prediction = run.classifier.predict(pictures / "a;b" / "0.png")
    assert prediction.label == "a;b"
    assert prediction.labels is None  # the classifier gives one class an image
    assert prediction.probability == prediction.probabilities["a;b"] > 0.5


def test_it_is_evaluated(run: headstart.Run, pictures: Path) -> None:
    metrics = headstart.evaluate(run, pictures)["all"]
    assert metrics.n == 80
    assert [(row.name, row.support) for row in metrics.classes] == [("a;b", 40), ("c", 40)]
    assert metrics.accuracy == 1


def test_predictions_are_read_back_and_compared(run: headstart.Run, pictures: Path) -> None:
    other = headstart.train(pictures, out=pictures.parent / "other", cut="block1a_depthwise_relu",
                            size=64)  # fmt: skip
    (pair,) = headstart.compare(run, other).pairs
    assert pair is not None
    assert pair.n == run.metrics["validation"].n == run.record["images"]["validation"]
    assert (pair.only_first_right, pair.only_second_right) == (0, 0)  # both all right


@pytest.mark.parametrize(
    "damage", [None, "image\n1.png\n", "i,c,s,l,p,a;b,c\n1,0,validation,b,b,1,0\n"]
)
def test_predictions_that_cannot_be_read(
    run: headstart.Run, tmp_path: Path, damage: str | None
) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    (folder / "predictions.csv").unlink()
    if damage is not None:
        (folder / "predictions.csv").write_text(damage)
    with pytest.raises(
        headstart.HeadstartError, match=r"table as headstart train wrote it, found: .*Restore"
    ):
        headstart.compare(run, folder)


def test_it_has_a_learning_curve(pictures: Path) -> None:
    curve = headstart.learning_curve(pictures, cut=CUT, size=64)
    assert list(curve.classes) == CLASSES
    assert {forecast.name for forecast in curve.forecasts} == set(CLASSES)


def test_remedies_are_tried(run: headstart.Run) -> None:
    tried, _ = headstart.remedies(run, budget=0)
    assert [row.name for row in tried[0].metrics.classes] == CLASSES
    assert tried[0].metrics.n == run.record["images"]["train"]


def test_the_estimator_takes_it_as_one_class(pictures: Path) -> None:
    paths = sorted(pictures.glob("*/*"))
    labels = [path.parent.name for path in paths]
    fitted = headstart.ImageClassifier(cut=CUT, size=64).fit(paths, labels)
    assert fitted.classes_.tolist() == CLASSES
    assert set(fitted.predict(paths[:2] + paths[-2:])) == set(CLASSES)


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs headstart[tensorflow]")
def test_a_neural_head_learns_it(pictures: Path) -> None:
    run = headstart.train(pictures, out=pictures.parent / "neural", cut=CUT, size=64, head="neural",
                          epochs=2)  # fmt: skip
    assert run.classifier.classes == tuple(CLASSES)
    assert run.metrics["validation"].n == run.record["images"]["validation"]
