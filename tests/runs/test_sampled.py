"""Choices made on a sample, and trainings whose features a cluster makes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.errors import DatasetError, RecipeError
from headstart.recipe import Recipe
from headstart.runs import sampled
from headstart.runs.sampled import CHOSEN, choose_on_sample, settle_recipe
from headstart.selection.cuts import Selection
from headstart.store.folder import Folder
from headstart.store.job import write_features
from headstart.system.progress import Recorder


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """A search that chooses two cuts, a head for each, and flips; the names it was shown."""
    shown: list[set[str]] = []

    def choose(dataset: Any, recipe: Recipe, progress: Any) -> Selection:
        shown.append({item.name for item in dataset.split("train")})
        cuts = ["block2b_add", "block3b_add:grid"]
        return Selection(recipe.changed(cut=cuts, fusion="late", views=2), None)

    monkeypatch.setattr(sampled.steps, "choose_cut", choose)
    return shown


def test_training_images_choose(tiny: Path, chosen: list[set[str]]) -> None:
    progress = Recorder()
    recipe = choose_on_sample(tiny, Recipe(), progress, 30)
    assert (recipe.cut, recipe.fusion) == (("block2b_add", "block3b_add:grid"), "late")
    assert recipe.views == Recipe().views  # files hold the images as they are
    whole = headstart.runs.steps.read_dataset(tiny, Recipe(), progress)
    training = {item.name for item in whole.split("train")}
    assert 10 < len(chosen[0]) <= 30
    assert chosen[0] <= training


def test_the_choice_is_kept_beside_the_files(
    tiny: Path, tmp_path: Path, chosen: list[set[str]]
) -> None:
    folder, progress = Folder(tmp_path / "to"), Recorder()
    first = settle_recipe(tiny, folder, Recipe(), progress)
    assert settle_recipe(tiny, folder, Recipe(), progress) == first
    assert len(chosen) == 1
    with pytest.raises(DatasetError, match=r"to be of the same choices, found .*pooling"):
        settle_recipe(tiny, folder, Recipe(pooling="max"), progress)
    (tmp_path / "to" / CHOSEN).write_text("no recipe [")
    with pytest.raises(DatasetError, match=r"the recipe of its files"):
        settle_recipe(tiny, folder, Recipe(), progress)
    with pytest.raises(RecipeError, match=r"found cut = last. Type: it without --sample"):
        settle_recipe(tiny, folder, Recipe(cut="last"), progress)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": "ray://head:10001"}, r"found none. Type: --features s3://"),
        ({"features": "to"}, r"found --features to alone. Type: --on ray"),
        ({"on": "ray", "views": 2, "augmentation": "flip"}, r"found views = 2. Type: it without"),
    ],
)
def test_what_a_cluster_cannot_train(tiny: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        headstart.train(tiny, progress=False, **options)


def test_a_training_on_a_cluster(tiny: Path, tmp_path: Path, ray_cluster: dict[str, str]) -> None:
    own = ["--cut", "block2b_add", "--size", "64", "--precision", "f32"]
    command = [sys.executable, "-m", "headstart", "train", str(tiny), "--on", "ray",
               "--features", "there", "--out", "one", *own]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, env=ray_cluster, capture_output=True, check=True)
    write_features(
        tiny, tmp_path / "here", cut="block2b_add", size=64, precision="f32", progress=False
    )
    headstart.train(tmp_path / "here", out=tmp_path / "other", progress=False)
    one, other = (headstart.load(tmp_path / name) for name in ("one", "other"))
    for name, array in one.head.arrays().items():
        assert np.array_equal(array, other.head.arrays()[name])
    assert one.fingerprint() == other.fingerprint()
