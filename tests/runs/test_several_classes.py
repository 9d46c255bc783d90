"""Images in several classes: head, thresholds, metrics, and the whole way."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import examples

import headstart
from headstart.errors import ClassifierError, DatasetError, RecipeError
from headstart.metrics.multilabel import evaluate_multi


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs of up to two colours; labels "blue;red", repeated rows, and none."""
    folder = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:64, :64]
    rows = []
    for index in range(160):
        present = [
            name for name, on in zip(("blue", "red"), rng.random(2) < 0.5, strict=True) if on
        ]
        pixels = rng.normal(128, 20, (64, 64, 3))
        for name in present:
            x, y = rng.integers(12, 52, 2)
            disc = (across - x) ** 2 + (down - y) ** 2 < 120
            pixels[disc] = (230, 30, 30) if name == "red" else (30, 30, 230)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
        if len(present) == 2 and index % 2:
            rows += [(f"{index}.png", name) for name in present]
        else:
            rows.append((f"{index}.png", ";".join(present)))
    file = folder / "labels.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("path", "label"), *rows])
    return file


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    return headstart.train(table, out=tmp_path_factory.mktemp("multi") / "run", size=64)


def test_the_whole_way(run: headstart.Run, table: Path) -> None:
    assert run.record["classes"] == ["blue", "red"]
    assert run.record["images"]["train"] + run.record["images"]["validation"] == 160
    validation = run.metrics["validation"]
    assert validation.mean_average_precision > 0.8
    text = (run.folder / "predictions.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert {"blue;red", "blue", "red", ""} >= {row["predicted"] for row in rows}
    labelled = {row["label"] for row in rows}
    assert labelled == {"blue;red", "blue", "red", ""}
    with (run.folder / "training.csv").open(newline="", encoding="utf-8") as file:
        training = list(csv.DictReader(file))
    assert {row["cross_validated"] for row in training} == labelled
    right = sum(row["cross_validated"] == row["label"] for row in training)
    assert right / len(training) > 0.6
    predictions = headstart.load(run.folder).predict([table.parent / f"{i}.png" for i in range(20)])
    for prediction in predictions:
        assert prediction.labels is not None
        assert prediction.label == ";".join(prediction.labels)
    assert headstart.evaluate(run.folder, table)["all"].n == 160


def test_repeated_rows_and_joined_labels_are_the_same(table: Path) -> None:
    from headstart.data.dataset import load

    dataset = load(table)
    assert dataset.task.multilabel
    assert sum(len(item.labels) == 2 for item in dataset.items) > 20
    assert sum(not item.labels for item in dataset.items) > 20


def test_a_table_in_an_archive_may_have_several_classes_too(table: Path, tmp_path: Path) -> None:
    import shutil

    from headstart.data.dataset import load

    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", table.parent)
    dataset = load(packed)
    assert dataset.task.multilabel
    assert dataset.classes == ("blue", "red")
    assert not any("too few images to validate" in warning for warning in dataset.warnings)


def test_cross_validation_is_not_flattered_by_the_thresholds() -> None:
    from headstart.heads.fit import fit_linear
    from headstart.recipe import load_recipe

    rng = np.random.default_rng(0)
    targets = (rng.random((200, 6)) < 0.1).astype(np.float32)  # noise: nothing can be known
    values = rng.normal(size=(200, 1, 8)).astype(np.float32)
    trained = fit_linear(examples(values, targets), load_recipe("quick"))
    assert trained.out_of_fold is not None
    names = list("abcdef")
    own = evaluate_multi(trained.out_of_fold, targets, names, trained.thresholds)
    others = evaluate_multi(trained.out_of_fold, targets, names, trained.thresholds_out_of_fold)
    assert own.macro_f1 is not None
    assert others.macro_f1 is not None
    assert others.macro_f1 < own.macro_f1 - 0.02
    assert others.classes[0].threshold == pytest.approx(trained.thresholds_out_of_fold[:, 0].mean())


def test_views_do_not_make_a_rare_class_a_common_one() -> None:
    from headstart.heads.fit import fit_linear
    from headstart.recipe import load_recipe

    rng = np.random.default_rng(0)
    targets = np.zeros((60, 2), np.float32)
    targets[::2, 0], targets[:4, 1] = 1, 1
    trained = fit_linear(
        examples(rng.normal(size=(60, 3, 8)).astype(np.float32), targets), load_recipe("quick")
    )
    assert trained.thresholds is not None
    assert trained.thresholds[1] == 0.5  # 4 images, if 12 views


def test_what_does_not_suit_several_classes_is_refused(
    run: headstart.Run, table: Path, tiny: Path, tmp_path: Path
) -> None:
    from headstart.runs import studies
    from headstart.runs.compare import compare
    from headstart.runs.remedies import remedies
    from headstart.system.progress import Silent

    with pytest.raises(RecipeError, match="for images in several classes, found head = 'neural'"):
        headstart.train(table, out=tmp_path / "run", head="neural", size=64)
    with pytest.raises(DatasetError, match="one class an image for a learning curve"):
        studies.learning_curve(table)
    with pytest.raises(DatasetError, match="one class an image for a neural head"):
        studies.learning_rates(table, run.recipe, Silent())
    with pytest.raises(DatasetError, match="one class an image to compare remedies"):
        remedies(run)
    with pytest.raises(ClassifierError, match="found several classes an image"):
        compare(run, run)


def test_none_of_these_is_told_and_an_accuracy_refused(run: headstart.Run, table: Path) -> None:
    classifier = headstart.load(run.folder)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 255
    disc, alien = classifier.predict([table.parent / "1.png", stripes], reject=0.05)
    assert disc.typicality is not None
    assert (alien.silence, alien.label, alien.labels) == ("none of these", None, ())
    with pytest.raises(ClassifierError, match="one class an image, found one of several"):
        classifier.predict(stripes, accuracy=0.9)
