""" "None of these" in an export's own graph is that of the classifier."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino.opset13 as ops
import pytest

from headstart.abstention.abstention import Abstention
from headstart.abstention.novelty import Sample
from headstart.abstention.selective import OutOfFold
from headstart.classifier import Classifier, find_features, load
from headstart.errors import EngineError
from headstart.export import novelty_graph
from headstart.export.folder import describe, export, read_record, verify
from headstart.export.formats import Subject, find_format
from headstart.export.novelty_graph import add_typicality
from headstart.export.parity import compare_typicality
from headstart.features.engine import OpenVinoEngine

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SOME = pytest.mark.parametrize("knowing", [slice(3, -5)], indirect=True, ids=["some"])
IMAGES = 60


def draw(classifier: Classifier, count: int, seed: int) -> list[np.ndarray]:
    """Pictures, smooth ones and noise."""
    rng = np.random.default_rng(seed)
    shape = classifier.geometry.height, classifier.geometry.width, 3
    smooth = [np.broadcast_to(rng.integers(0, 256, 3), shape) for _ in range(count)]
    return [(row + rng.integers(0, 40, shape)).clip(0, 255).astype(np.uint8) for row in smooth]


@pytest.fixture(params=[slice(None), slice(3, -5)], ids=["all", "some"])
def knowing(request: pytest.FixtureRequest, linear: Path) -> Classifier:
    """A classifier that looks at all or some of its features."""
    old = load(linear)
    graph = old.graph()
    graph.add_outputs([find_features(graph)])
    rows = OpenVinoEngine(graph, "f32").run_all(draw(old, IMAGES, 0))
    features = np.stack([row[1] for row in rows])
    novelty = Sample(features, 0, request.param).learn(np.arange(IMAGES) % 5)
    rng = np.random.default_rng(0)
    confident = rng.uniform(0.5, 1, IMAGES)
    answers = OutOfFold.of(
        np.stack([confident, 1 - confident], 1), rng.integers(0, 2, IMAGES)
    )  # says nothing
    return Classifier(
        old.classes, old.geometry, "f32", old.head, old.graph(), old.description,
        Abstention(answers, novelty),
    )  # fmt: skip


def test_the_graph_computes_what_the_classifier_does(knowing: Classifier) -> None:
    graph = knowing.graph()
    add_typicality(graph, knowing)
    images = [*draw(knowing, 20, 1), np.zeros_like(draw(knowing, 1, 1)[0])]
    found = [float(row[1]) for row in OpenVinoEngine(graph, "f32").run_all(images)]
    expected = [one.typicality for one in knowing.predict(images, reject=0.05)]
    assert found == pytest.approx(expected, abs=1 / IMAGES)
    assert np.mean(np.isclose(found, expected, atol=1e-6)) > 0.9
    assert len(set(expected)) > 5


@SOME
@pytest.mark.parametrize(("kind", "precision"), [("onnx", "f32"), ("openvino", "f16")])
def test_it_travels(kind: str, precision: str, knowing: Classifier, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(Subject(knowing), kind, folder, precision=precision)
    told = read_record(folder)["none_of_these"]
    assert told["output"]["name"] == "typicality"
    assert told["rates"] == [pytest.approx(1 / (IMAGES + 1)), 0.5]
    assert told["difference"] <= told["tolerance"]
    assert verify(folder)["typicality_difference"] <= told["tolerance"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "python run.py --reject 0.05" in text
    golden = sorted((folder / "golden").iterdir())

    def ask(*options: str) -> list[str]:
        run = [sys.executable, str(folder / "run.py"), *options, *map(str, golden)]
        done = subprocess.run(run, capture_output=True, text=True)
        return done.stdout.splitlines() or done.stderr.splitlines()

    rows = [json.loads(line) for line in ask("--json", "--reject", "0.05")]
    assert [row["answer"] == "none of these" for row in rows] == [
        row["typicality"] <= 0.05 for row in rows
    ]
    assert any("none of these" in line for line in ask("--reject", "0.05"))
    assert ask("--reject", "0.001") == [
        "expected --reject with a share from 0.016 to 0.5, found 0.001"
    ]
    assert ask("--accuracy", "0.5")[0].startswith("expected --accuracy with one of 0.9, ")
    assert any(line.split("  ")[1].startswith("not sure") for line in ask("--accuracy", "0.9"))


@SOME
def test_what_cannot_tell_says_so(linear: Path, tmp_path: Path, knowing: Classifier) -> None:
    export(Subject(load(linear)), "onnx", tmp_path / "out")
    assert read_record(tmp_path / "out")["none_of_these"] is None
    done = subprocess.run(
        [sys.executable, tmp_path / "out" / "run.py", "--reject", "0.05", "x.jpg"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "this export cannot tell" in done.stderr
    for kind, precision in (("openvino", "int8"), ("keras", "f32")):
        record = describe(knowing, find_format(kind, precision), precision, {})
        assert record["none_of_these"] is None


@SOME
def test_one_that_differs_is_not_kept(
    knowing: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(rows: Any) -> Any:
        return ops.multiply(whole(rows), np.float32(0.5))

    whole = novelty_graph._sum_of_squares
    monkeypatch.setattr(novelty_graph, "_sum_of_squares", spoil)
    with pytest.raises(EngineError, match="typicality differs by"):
        export(Subject(knowing), "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_typicalities_are_compared() -> None:
    answers = [{"typicality": 0.3}, {"error": "none"}, {"typicality": 0.9}, {"typicality": 0.1}]
    told = compare_typicality(list("abcd"), np.array([0.31, 0.5, np.nan, 0.2]), answers, 0.05)
    assert told.difference == pytest.approx(0.1)
    assert told.beyond == (("d", "typicality differs by 0.1"),)
