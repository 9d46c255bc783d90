"""Remedies, comparison and the notebook on small data."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.errors import ClassifierError
from headstart.metrics.classification import evaluate
from headstart.metrics.comparison import compare
from headstart.recipe import load_recipe
from headstart.report.plots import curves_text, draw_picture, spark
from headstart.runs.pictures import picture_compared
from headstart.runs.remedies import Remedies, Remedy, list_candidates

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="needs TensorFlow: pip install 'headstart[tensorflow]'",
)
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_curves_in_the_terminal() -> None:
    assert spark([0, 1, 0.5]) == "▁█▅"
    assert spark([3, 3]) == "▁▁"
    history = {"loss": [0.6, 0.2], "val_loss": [0.5, 0.3], "accuracy": [0.5, 0.9]}
    assert "training accuracy   ▁█  0.500 to 0.900" in curves_text(history)


@pytest.fixture(scope="module")
def neural(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs TensorFlow: pip install 'headstart[tensorflow]'")
    out = tmp_path_factory.mktemp("study") / "neural"
    return headstart.train(
        tiny, out=out, head="neural", epochs=3, views=2, augmentation="flip", size=64
    )


def test_remedies_of_a_linear_head_are_such_as_change_it() -> None:
    names = [name for name, _ in list_candidates(load_recipe("quick"))]
    assert names == ["flipped views", "augmentation, 3 views", "small neural head"]


def test_a_tuned_backbone_has_seen_the_images(tiny: Path, tmp_path: Path) -> None:
    import json

    run = headstart.train(tiny, out=tmp_path / "run", cut="last", size=64)
    record = {**run.record, "tuning": {"kept": True}}
    (run.folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ClassifierError, match="a run whose backbone is frozen"):
        headstart.remedies(headstart.Run(run.folder))


def test_classes_called_as_columns_are_compared(tiny: Path, tmp_path: Path) -> None:
    import shutil

    for old, new in (("red", "label"), ("blue", "split")):
        shutil.copytree(tiny / old, tmp_path / "photos" / new)
    runs = [headstart.train(tmp_path / "photos", out=tmp_path / name, cut=name, size=64)
            for name in ("block2b_add", "block6d_add")]  # fmt: skip
    (pair,) = headstart.compare(*runs).pairs
    assert pair is not None
    assert pair.n == runs[0].metrics["validation"].n


def test_remedies_are_tried_by_cross_validation(neural: headstart.Run) -> None:
    remedies = headstart.remedies(neural.folder, budget=1e9)
    tried, untried = remedies
    assert not untried
    assert tried[0].name == "as it was"
    training = neural.record["images"]["train"]
    assert all(remedy.metrics.n == training for remedy in tried)
    assert all(remedy.comparison is not None for remedy in tried[1:])
    assert remedies.best in tried
    assert {name for name, _ in list_candidates(neural.recipe)} == {r.name for r in tried[1:]}


def made_up_remedies(seed: int, true: Sequence[float], images: int = 200) -> Remedies:
    """Remedies of known accuracies, each image's outcome by itself."""
    rng = np.random.default_rng(seed)
    right = rng.random((len(true), images)) < np.array(true)[:, None]
    labels = np.zeros(images, int)
    shares = [np.stack([row, ~row], axis=1).astype(float) for row in right]
    return Remedies([
        Remedy(
            str(number), load_recipe("quick"), evaluate(share, labels, ["a", "b"]), 1.0, row * 1.0,
            comparison=compare(share, shares[0], labels) if number else None,
        )
        for number, (row, share) in enumerate(zip(right, shares, strict=True))
    ], [])  # fmt: skip


def test_of_equal_remedies_none_is_called_better() -> None:
    false = np.zeros(100)
    judged, measured = [], []
    for seed in range(100):
        made = made_up_remedies(seed, [0.85] * 11)
        false[seed] = "this is better" in made.verdicts.values()
        if seed < 30:
            judged.append(made.worth.accuracy)
            measured.append(made.best.metrics.accuracy)
    assert false.mean() <= 0.05
    assert np.mean(measured) > 0.85 + 0.01
    assert abs(np.mean(judged) - 0.85) < 2 * np.std(judged) / 30**0.5
    assert "this is better" in made_up_remedies(0, [0.7, 0.7, 0.95]).verdicts.values()
    worse = made_up_remedies(0, [0.95, 0.7]).verdicts
    assert worse == {"1": "as it was is better"}


def test_remedies_keep_to_their_budget(neural: headstart.Run) -> None:
    """Something is tried all the same, and what is left is told with the time it takes."""
    outcome = headstart.remedies(neural, budget=0)
    tried, untried = outcome
    names = [name for name, _ in list_candidates(neural.recipe)]
    assert [remedy.name for remedy in tried] == ["as it was", names[0]]
    assert untried == names[1:]
    spent = [remedy.seconds for remedy in tried]
    assert outcome.seconds == pytest.approx(sum(spent) + len(untried) * sum(spent) / 2)


def test_the_recipe_as_it_was_is_the_run_s_own(neural: headstart.Run, tmp_path: Path) -> None:
    """Also where it draws its views anew, of which a few stand for endless ones."""
    fresh = neural.recipe.changed(views="fresh", augmentation="lesson")
    folder = shutil.copytree(neural.folder, tmp_path / "run")
    (folder / "recipe.toml").write_text(fresh.to_toml())
    tried, _ = headstart.remedies(folder, budget=0)
    assert tried[0].recipe == fresh
    assert tried[1].recipe.views != "fresh"


def test_runs_side_by_side(neural: headstart.Run, tiny: Path, tmp_path: Path) -> None:
    linear = headstart.train(tiny, out=tmp_path / "linear", size=64)
    compared = headstart.compare(neural, str(linear.folder))
    assert compared.recipes["head"] == ("neural", "linear")
    assert "backbone" not in compared.recipes
    (pair,) = compared.pairs
    assert pair is not None
    assert pair.n == linear.record["images"]["validation"]
    with pytest.raises(ClassifierError, match="expected two runs or more"):
        headstart.compare(linear)
    drawn = picture_compared(compared)
    assert [line.name for line in drawn.charts[0].lines] == ["neural"]
    assert compared.curves() == draw_picture(drawn, Path("curves.png"))
    assert linear.summary().startswith("training ")
    assert f"of {pair.n} images right" in linear.summary()


@needs_tensorflow
def test_the_notebook_runs(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra [dev]")
    from nbclient import NotebookClient

    path = Path(__file__).parents[2] / "examples" / "transfer_learning.ipynb"
    for name, value in {
        "PHOTOS": str(tiny), "WEIGHTS": "none", "EPOCHS": "1", "SIZE": "75", "CUT": "mixed2",
        "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    os.makedirs(tmp_path, exist_ok=True)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    text = str(notebook.cells)
    assert "both minus before" in text
    assert "validation" in text
