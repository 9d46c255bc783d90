"""An export is kept only where it predicts the same, and says later whether it still does."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from export.conftest import OLD

from headstart.classifier import Classifier, load
from headstart.cli.export import keras_maker
from headstart.errors import ClassifierError, EngineError, HeadstartError, MissingExtra
from headstart.export import to_onnx as writer
from headstart.export.folder import export, read_record, verify
from headstart.export.formats import REFUSED, Subject, find_format
from headstart.export.parity import compare
from headstart.system.digest import seal

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_an_export_predicts_the_same_without_headstart(old_run: Path, tmp_path: Path) -> None:
    classifier = load(old_run)
    done = export(Subject(classifier), "onnx", tmp_path / "out", origin={"run": "r"})
    assert done.parity.images >= 9
    assert done.parity.difference < 1e-5
    assert done.parity.labels == 1
    told = verify(tmp_path / "out")
    assert told["beyond"] == []
    assert told["images"] >= 9
    record = read_record(tmp_path / "out")
    assert record["classes"] == list(classifier.classes)
    assert record["thresholds"] == (
        None if classifier.thresholds is None else classifier.thresholds.tolist()
    )
    model = onnx.load(tmp_path / "out" / "model.onnx")
    kept = {row.key: row.value for row in model.metadata_props}
    assert json.loads(kept["classes"]) == list(classifier.classes)
    assert json.loads(kept["provenance"])["run"] == "r"
    assert {"licence", "geometry", "preprocessing", "golden"} <= set(kept)


def test_openvino_says_what_its_model_api_reads(linear: Path, tmp_path: Path) -> None:
    classifier = load(linear)
    for precision in ("f32", "f16"):
        folder = tmp_path / precision
        done = export(Subject(classifier), "openvino", folder, precision=precision)
        assert done.parity.difference <= (1e-6 if precision == "f32" else 1e-2)
    model = openvino.Core().read_model(folder / "model.xml")
    about = {k: model.get_rt_info(["model_info", k]).astype(str) for k in ("model_type", "labels")}
    assert about == {"model_type": "Classification", "labels": " ".join(classifier.classes)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("kind", "precision"), [("keras", "f32"), ("savedmodel", "f32"), ("litert", "f16")]
)
def test_what_keras_makes_predicts_the_same(kind: str, precision: str, tmp_path: Path) -> None:
    """Of the head for two classes that gives one number: both come out."""
    pytest.importorskip("tensorflow")
    if kind == "litert":
        pytest.importorskip("ai_edge_litert")
    neural = OLD / "neural"
    subject = Subject(load(neural), keras_maker(neural))
    done = export(subject, kind, tmp_path / "out", precision=precision)
    assert done.parity.difference < (1e-4 if precision == "f32" else 1e-2)


def test_keras_needs_the_run(linear: Path, tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match="a classifier alone"):
        export(Subject(load(linear)), "keras", tmp_path / "out")


def test_the_readme_runs(linear: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(Subject(load(linear)), "onnx", folder)
    text = (folder / "README.md").read_text(encoding="utf-8")
    program = (
        text.split("```python\n")[1].split("```")[0].replace("photo.jpg", "golden/odd-exif.jpg")
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    golden = json.loads((folder / "golden.json").read_text())["odd-exif.jpg"]["probabilities"]
    told = ast.literal_eval(done.stdout)
    assert list(told.values()) == pytest.approx(golden, abs=1e-5)
    ran = subprocess.run(
        [sys.executable, folder / "run.py", folder / "golden" / "odd-exif.jpg", folder / "no.jpg"],
        capture_output=True, text=True,
    )  # fmt: skip
    first, second = ran.stdout.splitlines()
    assert f"{max(golden):.1%}" in first
    assert "cannot be used" in second
    assert ran.returncode == 1


def test_names_of_classes_travel_whatever_they_are(linear: Path, tmp_path: Path) -> None:
    old = load(linear)
    names = ['a "quoted"\nname', "日本, ü;{}`"]
    classifier = Classifier(names, old.geometry, "f32", old.head, old.graph())
    export(Subject(classifier), "onnx", tmp_path / "out")
    assert read_record(tmp_path / "out")["classes"] == names
    assert verify(tmp_path / "out")["beyond"] == []


def test_what_differs_is_not_kept(
    linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = writer.to_onnx

    def spoil(graph: Any, *, half: bool) -> Any:
        model = whole(graph, half=half)
        (weights,) = [a for a in model.graph.initializer if tuple(a.dims)[:1] == (1,)
                      and len(a.dims) == 3]  # fmt: skip
        values = onnx.numpy_helper.to_array(weights) * 2
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        return model

    monkeypatch.setattr(writer, "to_onnx", spoil)
    with pytest.raises(EngineError, match=r"agree .* within 0\.001, found .*odd-.*differs by"):
        export(Subject(load(linear)), "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_verify_tells_what_is_changed(linear: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(Subject(load(linear)), "onnx", folder)
    golden = json.loads((folder / "golden.json").read_text())
    golden["odd-grey.jpg"]["probabilities"].reverse()
    (folder / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(ClassifierError, match=r"golden\.json.*the file that was exported"):
        verify(folder)
    record = read_record(folder)
    record["parts"].pop("golden.json")
    record.pop("digest")
    (folder / "export.json").write_text(json.dumps(seal(record)))
    told = verify(folder)
    assert [row.split()[0] for row in told["beyond"]] == ["odd-grey.jpg"]
    (folder / "export.json").write_text(json.dumps(record))
    with pytest.raises(ClassifierError, match="changed since"):
        verify(folder)
    shutil.rmtree(folder)
    with pytest.raises(ClassifierError, match=r"found no export\.json"):
        verify(folder)


def test_where_it_is_no_new_folder(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(EngineError, match="--out with another name"):
        export(Subject(load(linear)), "onnx", tmp_path)


def test_parity_counts_what_only_one_side_reads() -> None:
    expected = np.array([[0.9, 0.1], [np.nan, np.nan], [0.4, 0.6], [0.5, 0.5]], np.float32)
    found = [np.array([0.898, 0.102]), "refused", np.array([0.6, 0.4]), "cannot"]
    parity = compare(list("abcd"), expected, found, 0.01)
    assert parity.images == 2
    assert parity.difference == pytest.approx(0.2)
    assert parity.labels == 0.5
    assert [name for name, _ in parity.beyond] == ["c", "d"]
    both = compare(["a"], np.array([[0.99, 1.0]]), [np.array([1.0, 0.99])], 0.1,
                   lambda row: list(row > 0.5))  # fmt: skip
    assert both.labels == 1  # of several classes an image
    nan = compare(["a"], expected[:1], [np.array([np.nan, 0.1])], 0.01)
    assert [name for name, _ in nan.beyond] == ["a"]


@pytest.mark.parametrize("kind", REFUSED)
def test_dead_formats_are_refused_with_what_to_use(kind: str) -> None:
    with pytest.raises(HeadstartError, match=r"onnxruntime.*--to onnx"):
        find_format(kind)


def test_unknown_ones_too() -> None:
    with pytest.raises(HeadstartError, match=r"found 'onx'\. Type: --to onnx"):
        find_format("onx")
    with pytest.raises(HeadstartError, match="--precision f32"):
        find_format("onnx", "f64")


def test_without_the_extra(linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"headstart\[onnx\]"):
        export(Subject(load(linear)), "onnx", tmp_path / "out")
