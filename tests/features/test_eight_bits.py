"""A recipe in eight bits: calibrated on training images, kept, and chosen where nothing is lost."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.classifier import load
from headstart.data import dataset
from headstart.errors import EngineError, MissingExtra, RecipeError
from headstart.export.folder import export, verify
from headstart.export.formats import Subject
from headstart.features import eight_bits
from headstart.features.extractor import open_extractor
from headstart.recipe import load_recipe
from headstart.runs import steps
from headstart.selection import precision
from headstart.selection.score import CutScore
from headstart.system.progress import Recorder

SMALL: dict[str, Any] = {"size": 32, "cut": "block1a_project_bn"}
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for name, shade in (("blue", (60, 60, 200)), ("red", (200, 60, 60))):
        (folder / name).mkdir()
        for number in range(20):
            pixels = np.clip(rng.normal(shade, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("nncf")
    out = tmp_path_factory.mktemp("runs") / "run"
    return headstart.train(colours, precision="int8", out=out, **SMALL)


def test_a_recipe_in_eight_bits(run: Any, colours: Path, tmp_path: Path) -> None:
    assert run.classifier.precision == load(run.folder).precision == "int8"
    assert run.metrics["train"].accuracy == 1
    kinds = {op.get_type_name() for op in run.classifier.graph().get_ops()}
    assert "FakeQuantize" in kinds
    again = headstart.train(colours, precision="int8", out=tmp_path / "again", **SMALL)
    assert again.record["cache"] == {"hits": 40, "misses": 0}
    for name in ("model.bin", "head.safetensors"):
        one, other = (r.folder / "classifier" / name for r in (run, again))
        assert not one.exists() or one.read_bytes() == other.read_bytes()


def test_it_differs_from_full_precision_by_rounding(colours: Path) -> None:
    pytest.importorskip("nncf")
    items = dataset.load(colours).split("train")
    full = open_extractor(load_recipe("quick", precision="f32", **SMALL))
    eight = eight_bits.open_eight_bits(full, items)
    assert eight.fingerprint != full.fingerprint
    images = [item.prepare(full.geometry) for item in items[:8]]
    exact, rounded = (np.stack(list(each.run(images))) for each in (full, eight))
    assert 0 < np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()
    other = eight_bits.open_eight_bits(full, items[:4])
    assert other.fingerprint != eight.fingerprint  # other ranges, other numbers


def test_it_leaves_as_openvino_alone(run: Any, tmp_path: Path) -> None:
    done = export(Subject(run.classifier), "openvino", tmp_path / "out")
    assert done.parity.difference < 1e-6
    assert verify(tmp_path / "out")["beyond"] == []
    for kind, bits in (("onnx", "f32"), ("openvino", "int8"), ("keras", "f32")):
        with pytest.raises(EngineError, match=r"one whose network is in 8 bits.* --to openvino"):
            export(Subject(run.classifier), kind, tmp_path / "no", precision=bits)
    assert not (tmp_path / "no").exists()


def test_what_it_does_not_go_with(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match="finetune = true needs another precision"):
        load_recipe("quick", precision="int8", finetune=True)

    known = importlib.import_module

    def missing(name: str, *place: Any) -> Any:
        if name == "nncf":
            raise ImportError(name)
        return known(name, *place)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"headstart\[int8\]"):
        headstart.train(colours, precision="int8", out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def choose(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any, Recorder]:
    """On a processor that computes in f32, which has images enough."""
    pytest.importorskip("nncf")
    monkeypatch.setattr(precision, "resolve_precision", lambda _: "f32")
    monkeypatch.setattr(precision, "PAYS", 40)
    progress = Recorder()
    found = dataset.load(folder)
    recipe, told = steps.choose_precision(found, load_recipe("quick", **SMALL), progress)
    return recipe.precision, told, progress


def test_it_is_chosen_where_nothing_is_lost(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, told, _ = choose(colours, monkeypatch)
    assert chosen == told["chosen"] == "int8"
    full, eight = told["tried"]
    assert eight["accuracy"] >= full["accuracy"] - precision.DROP
    assert told["images"] == len(dataset.load(colours).split("train"))


def test_it_is_not_chosen_where_something_is_lost(
    colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 bits that were calibrated on nothing but black: all that is brighter is cut off."""
    quantise = eight_bits.quantise
    monkeypatch.setattr(
        eight_bits, "quantise",
        lambda graph, pixels, **how: quantise(graph, [0 * image for image in pixels], **how),
    )  # fmt: skip
    monkeypatch.setattr(eight_bits, "FORMAT", 99)  # not the good one that is kept
    chosen, told, _ = choose(colours, monkeypatch)
    assert (chosen, told["chosen"] != "int8") == ("auto", True)


def test_few_images_are_not_measured(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("quick", **SMALL)
    monkeypatch.setattr(precision, "resolve_precision", lambda _: "f32")
    assert not precision.may_pay(recipe, precision.PAYS - 1)
    monkeypatch.setattr(precision, "resolve_precision", lambda _: "bf16")
    assert not precision.may_pay(recipe, precision.PAYS)  # nearly as quick as 8 bits


def score(losses: list[float], right: list[bool]) -> CutScore:
    accuracy = float(np.mean(right))
    return CutScore((), {}, 1.0, 1, accuracy, (0.0, 1.0), np.array(losses), np.array(right),
                    np.zeros((len(losses), 2)))  # fmt: skip


def test_the_rule_by_hand() -> None:
    full = score([0.1, 0.2, 0.3, 0.4], [True] * 4)
    assert precision.serves(full, full)
    assert precision.serves(full, score([0.1, 0.2, 0.2, 0.5], [True] * 4))
    assert not precision.serves(full, score([0.2, 0.31, 0.4, 0.5], [True] * 4))
    assert not precision.serves(full, score([0.1, 0.2, 0.3, 0.4], [True, True, True, False]))
