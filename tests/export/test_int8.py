"""Eight bits are kept where they do not cost more than is allowed."""

import importlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from export.conftest import OLD

from headstart.classifier import load
from headstart.errors import EngineError
from headstart.export.folder import export, verify
from headstart.export.formats import Subject
from headstart.export.int8 import Examples, judge, weigh
from headstart.export.parity import reference


@pytest.fixture
def examples(linear: Path, tmp_path: Path) -> Examples:
    """Photos of the old run, in the classes that the classifier gives them."""
    with zipfile.ZipFile(OLD / "photos.zip") as archive:
        archive.extractall(tmp_path / "photos")
    paths = sorted(p for p in (tmp_path / "photos").rglob("*") if p.suffix in (".png", ".jpg"))
    classifier = load(linear)
    rows = reference(classifier, paths)
    usable = [place for place, row in enumerate(rows) if not np.isnan(row).any()]
    paths = [paths[place] for place in usable]
    has = rows[usable].argmax(axis=1)[:, None] == np.arange(len(classifier.classes))
    return Examples(paths, paths, has)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["openvino", "onnx"])
def test_eight_bits_are_judged_by_accuracy(
    kind: str, linear: Path, examples: Examples, tmp_path: Path
) -> None:
    pytest.importorskip("nncf")
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    subject = Subject(load(linear), examples=examples)
    done = export(subject, kind, tmp_path / "out", precision="int8", most_drop=0.5)
    assert done.cost is not None
    assert done.cost.accuracy_f32 == 1
    assert done.cost.paired.n == len(examples.judged)
    assert done.cost.speed > 0
    assert "in the place of 100.0%" in str(done.cost)
    assert done.record["tolerance"] == 0.05
    assert done.record["not_sure"] == {}
    assert verify(tmp_path / "out")["beyond"] == []
    if kind == "onnx":
        model = importlib.import_module("onnx").load(tmp_path / "out" / "model.onnx")
        small = {a.name for a in model.graph.initializer if a.data_type == 3 and len(a.dims) == 4}
        scaled = {n.input[0]: n.output[0] for n in model.graph.node
                  if n.op_type == "DequantizeLinear"}  # fmt: skip
        weights = {n.input[1] for n in model.graph.node if n.op_type == "Conv"}
        assert {scaled[name] for name in small} == weights  # every kernel is in 8 bits
        assert all(len(n.input) == 3 for n in model.graph.node if n.op_type == "Conv")


def test_a_loss_beyond_what_is_allowed_is_refused(linear: Path, examples: Examples) -> None:
    classifier = load(linear)
    expected = examples.has.astype(np.float32)
    found = [*(row for row in expected[:-1]), expected[-1][::-1]]
    with pytest.raises(EngineError, match=r"lose at most 0\.5%.* interval .*--max-drop"):
        weigh(classifier, Path("none"), examples, expected, found, 0.005)


def test_several_classes_are_judged_by_all_of_them() -> None:
    classifier = load(OLD / "several_classes")
    count = len(classifier.classes)
    sure, none = np.ones(count), np.zeros(count)
    truth = np.array([[True] * count, [True] * count])
    assert judge(classifier, [sure, none], truth=truth).tolist() == [True, False]


def test_without_images_there_are_no_eight_bits(
    linear: Path, examples: Examples, tmp_path: Path
) -> None:
    for given in (None, replace(examples, training=[]), replace(examples, judged=[])):
        with pytest.raises(EngineError, match=r"to calibrate 8 bits.*--precision f16"):
            export(Subject(load(linear), examples=given), "openvino", tmp_path / "o",
                   precision="int8")  # fmt: skip
