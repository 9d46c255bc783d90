"""The main job, end to end, on small real files with the real default backbone."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import headstart
from headstart.data.dataset import load
from headstart.data.given import Source
from headstart.errors import BadImage, ClassifierError, DatasetError, RecipeError
from headstart.recipe import load_recipe
from headstart.runs import folder as runs
from headstart.runs import training as pipeline
from headstart.runs.evaluate import evaluate_views


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    return headstart.train(tiny, out=tmp_path_factory.mktemp("runs") / "tiny")


def test_it_learns_and_says_how_well(run: headstart.Run) -> None:
    validation = run.metrics["validation"]
    assert validation.accuracy == 1
    assert validation.accuracy_interval is not None
    assert validation.accuracy_interval[0] < 1
    assert run.record["classes"] == ["blue", "red"]
    assert run.record["images"]["train"] + run.record["images"]["validation"] == 48
    assert {"train", "validation", "cross_validation"} <= run.metrics.keys()


def test_a_run_is_understood_from_any_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.parent)
    run = headstart.train(tiny.name, out=tmp_path / "run", cut="last", size=64)
    assert run.record["source"] == str(tiny.resolve())
    (tmp_path / "some.h5").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("classic", weights="some.h5").weights == str(tmp_path / "some.h5")
    assert load_recipe("classic", weights="missing.h5").weights == "missing.h5"  # for the message


def test_a_training_does_not_go_on_with_other_images(tiny: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(tiny, tmp_path / "photos")
    recipe = load_recipe("quick", cut="block6d_add", size=64)
    fingerprint = load(photos).fingerprint()
    folder = runs.start(
        Source(photos), recipe, False, tmp_path / "run", fingerprint, {"selection": {}}
    )
    (photos / "red" / "0.jpg").unlink()
    with pytest.raises(ClassifierError, match="expected the images with which the training"):
        pipeline.resume(folder)
    shutil.copy(tiny / "red" / "0.jpg", photos / "red")
    assert pipeline.resume(folder).record["selection"] == {}  # what was chosen before the stop


def test_the_folder_holds_what_it_should(run: headstart.Run) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert names == {
        "audit.json", "charts", "classifier", "metrics.json", "neighbours.safetensors",
        "out_of_fold.safetensors", "predictions.csv", "recipe.toml", "report.html",
        "run.json", "training.csv",
        "unreadable.csv",
    }  # fmt: skip
    assert {path.name for path in (run.folder / "classifier").iterdir()} == {
        "abstention.safetensors", "classifier.json", "head.safetensors", "model.bin", "model.xml"
    }  # fmt: skip


def test_a_second_training_computes_nothing_and_gives_the_same(
    run: headstart.Run, tiny: Path, tmp_path: Path
) -> None:
    again = headstart.train(tiny, out=tmp_path / "again")
    assert again.record["cache"] == {"hits": 48, "misses": 0}
    for name in ("abstention.safetensors", "head.safetensors", "model.bin", "model.xml",
                 "classifier.json"):  # fmt: skip
        first = (run.folder / "classifier" / name).read_bytes()
        assert (again.folder / "classifier" / name).read_bytes() == first
    assert (again.folder / "metrics.json").read_text() == (run.folder / "metrics.json").read_text()


def test_training_images_have_their_cross_validated_probabilities(run: headstart.Run) -> None:
    with (run.folder / "training.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "content", "label", "cross_validated", "blue", "red"]
    told = run.metrics["cross_validation"]
    assert len(rows) == told.n
    assert sum(row["cross_validated"] == row["label"] for row in rows) == told.accuracy * told.n
    kept = load_file(run.folder / "out_of_fold.safetensors")["probabilities"]
    assert [float(row["red"]) for row in rows] == pytest.approx(kept[:, 1].tolist(), rel=1e-5)


def test_the_recipe_in_the_run_does_it_again(run: headstart.Run) -> None:
    assert run.recipe == headstart.Recipe(cut=run.recipe.cut)


def test_an_image_gives_the_same_however_it_comes(run: headstart.Run, tiny: Path) -> None:
    path = tiny / "red" / "0.jpg"
    image = Image.open(path)
    pixels = np.asarray(image)
    classifier = run.classifier
    expected = classifier.predict(path).probabilities
    others = [tiny / "blue" / "1.png", path, tiny / "red" / "4.png"]
    ways = [
        classifier.predict(str(path)),
        classifier.predict(path.read_bytes()),
        classifier.predict(pixels),
        classifier.predict(image),
        classifier.predict(others)[1],
        classifier.predict(pixels[None])[0],
        next(p for p in classifier.predict(tiny) if p.name == str(path)),
    ]
    image.close()
    for prediction in ways:
        assert prediction.probabilities == expected
    assert classifier.predict_proba([path])[0, 1] == pytest.approx(expected["red"])


def test_predictions_are_those_of_the_evaluation(run: headstart.Run, tiny: Path) -> None:
    rows = (run.folder / "predictions.csv").read_text().splitlines()[1:]
    assert rows
    for row in rows:
        name, _, split, label, predicted, blue, red = row.split(",")
        assert split == "validation"
        assert label == name.split("/")[0]
        prediction = run.classifier.predict(tiny / name)
        assert prediction.label == predicted
        assert prediction.probabilities["blue"] == pytest.approx(float(blue), abs=1e-4)
        assert prediction.probabilities["red"] == pytest.approx(float(red), abs=1e-4)


def test_the_openvino_model_alone_goes_from_pixels_to_probabilities(
    run: headstart.Run, tiny: Path
) -> None:
    import openvino

    model = openvino.Core().read_model(run.folder / "classifier" / "model.xml")
    classes = json.loads(model.get_rt_info(["headstart", "classes"]).astype(str))
    assert classes == ["blue", "red"]
    compiled = openvino.Core().compile_model(model, "CPU")
    from headstart.images.geometry import prepare

    pixels = prepare((tiny / "red" / "0.jpg").read_bytes(), run.classifier.geometry)
    probabilities = compiled(pixels[None])["probabilities"][0]
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    expected = run.classifier.predict(tiny / "red" / "0.jpg").probabilities["red"]
    assert probabilities[1] == pytest.approx(expected, abs=0.02)


def test_bad_images_are_left_out_named_and_counted(tiny: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(tiny, photos)
    (photos / "red" / "broken.jpg").write_bytes(b"<html>not found</html>")
    run = headstart.train(photos, out=tmp_path / "run")
    assert run.record["images"]["unreadable"] == 1
    assert (
        "red/broken.jpg,not an image (looks like HTML)"
        in (run.folder / "unreadable.csv").read_text()
    )
    with pytest.raises(BadImage, match=r"red/broken\.jpg: not an image"):
        headstart.train(photos, out=tmp_path / "strict", strict=True)


def test_figures_do_not_count_what_could_not_be_learned(tiny: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for label, names in (("red", range(2)), ("blue", range(1, 3))):
        for number in names:
            (photos / label).mkdir(parents=True, exist_ok=True)
            (source,) = (tiny / label).glob(f"{2 * number + (label == 'blue')}.*")
            shutil.copy(source, photos / label)
    run = headstart.train(photos, out=tmp_path / "few", cut="block1a_project_bn", size=64)
    assert set(run.metrics) == {"train", "validation"}  # one image a class to train on
    with pytest.raises(DatasetError, match=r"training images of two groups or more in a class"):
        headstart.remedies(run, budget=1)


def test_nothing_that_can_be_used_is_not_evaluated(run: headstart.Run, tmp_path: Path) -> None:
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "1.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"expected images that can be used in .*, found none"):
        headstart.evaluate(run, tmp_path)


def test_of_many_bad_images_ten_are_told_and_all_are_kept(tiny: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(tiny, photos)
    for number in range(1234):
        (photos / "red" / f"broken{number}.jpg").write_bytes(b"broken %d" % number)
    run = headstart.train(photos, out=tmp_path / "run", cut="block1a_project_bn", size=64)
    told = run.record["warnings"]
    assert len(told) == 11
    assert [text.startswith("left out red/broken") for text in told] == [True] * 10 + [False]
    assert told[-1] == "left out 1,224 more images; unreadable.csv in the run names all"
    assert len((run.folder / "unreadable.csv").read_text().splitlines()) == 1235
    evaluated = evaluate_views(run, photos, 1)
    assert len(evaluated.warnings) == 12  # and how many were trained on
    assert evaluated.warnings[-1] == (
        "left out 1,224 more images; headstart predict RUN PHOTOS --format csv names all"
    )
    with pytest.raises(BadImage, match=r"red/broken0\.jpg: .*Without --strict"):
        evaluate_views(run, photos, 1, strict=True)


def test_among_many_a_bad_image_is_reported_and_alone_it_raises(
    run: headstart.Run, tiny: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    predictions = run.classifier.predict([bad, tiny / "red" / "0.jpg", tmp_path / "bad.jpg"])
    assert [p.error for p in predictions] == ["empty file", None, "empty file"]
    assert [p.label for p in predictions] == [None, "red", None]
    with pytest.raises(BadImage, match="empty file"):
        run.classifier.predict(bad)


def test_evaluate_measures_a_saved_classifier(run: headstart.Run, tiny: Path) -> None:
    assert headstart.evaluate(run.folder, tiny)["all"].accuracy == 1


def test_evaluate_refuses_classes_it_does_not_know(
    run: headstart.Run, tiny: Path, tmp_path: Path
) -> None:
    for label in ("red", "green"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_bytes((tiny / "red" / "0.jpg").read_bytes())
    with pytest.raises(DatasetError, match="expected images of the classes blue, red, found also"):
        headstart.evaluate(run.folder, tmp_path)


def test_a_run_is_never_overwritten(run: headstart.Run, tiny: Path) -> None:
    with pytest.raises(RecipeError, match="with something in it"):
        headstart.train(tiny, out=run.folder)


def test_views_and_balanced_and_several_cuts(tiny: Path, tmp_path: Path) -> None:
    run = headstart.train(
        tiny,
        out=tmp_path / "run",
        views=2,
        augmentation="flip",
        balanced=True,
        cut="block5c_add+block6d_add",
        pooling="avg+max",
    )
    assert run.metrics["validation"].accuracy == 1
    assert run.recipe.cut == ("block5c_add", "block6d_add")
    # 112 and 192 channels, each averaged and maximised
    assert len(run.classifier.head.layers[0].weight) == 2 * (112 + 192)


def test_training_and_predicting_need_no_tensorflow_torch_or_keras(
    tiny: Path, tmp_path: Path
) -> None:
    program = f"""
import sys
for name in ("tensorflow", "torch", "jax", "keras"):
    sys.modules[name] = None
import headstart
run = headstart.train({str(tiny)!r}, out={str(tmp_path / "run")!r})
print(run.classifier.predict({str(tiny / "red" / "0.jpg")!r}).label)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "red", done.stderr


def test_predicting_imports_nothing_heavy(run: headstart.Run, tiny: Path) -> None:
    program = f"""
import sys, headstart
headstart.load({str(run.folder)!r}).predict({str(tiny / "red" / "0.jpg")!r})
heavy = {{"keras", "tensorflow", "torch", "sklearn", "scipy", "pydantic"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_killed_training_goes_on_from_what_it_kept(
    run: headstart.Run, tiny: Path, tmp_path: Path
) -> None:
    """Killed when 24 of 48 images are kept, it computes the others alone and ends as `run` did."""
    out, mark = tmp_path / "run", tmp_path / "24-are-kept"
    program = f"""
import sys, time
from pathlib import Path
import headstart
from headstart.features import cache, extract

extract.KEEP = 8
real, batches = cache.Space.put, []

def put(space, keys, vectors):
    real(space, keys, vectors)
    batches.append(len(keys))
    if sum(batches) >= 24 and sys.argv[1] == "stop":
        Path({str(mark)!r}).touch()
        time.sleep(600)

cache.Space.put = put
headstart.train({str(tiny)!r}, out={str(out)!r})
"""
    environment = {**os.environ, "HEADSTART_CACHE": str(tmp_path / "cache")}
    child = subprocess.Popen([sys.executable, "-c", program, "stop"], env=environment)
    deadline = time.monotonic() + 120
    while not mark.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert mark.exists(), "it ended before it could be killed"
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not (out / "run.json").exists()
    done = subprocess.run(
        [sys.executable, "-c", program, "go on"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    again = headstart.Run(out)
    assert again.record["cache"] == {"hits": 24, "misses": 24}
    for name in ("abstention.safetensors", "head.safetensors", "model.bin", "model.xml",
                 "classifier.json"):  # fmt: skip
        unbroken = (run.folder / "classifier" / name).read_bytes()
        assert (out / "classifier" / name).read_bytes() == unbroken, name
    for name in ("metrics.json", "predictions.csv"):
        assert (out / name).read_text() == (run.folder / name).read_text()
