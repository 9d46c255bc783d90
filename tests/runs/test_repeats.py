"""Recipes over redrawn training images: which images, who trains, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from samples import examples, features

import headstart
from headstart.data.dataset import load
from headstart.errors import ClassifierError
from headstart.metrics.resampling import compare_resampled
from headstart.recipe import load_recipe
from headstart.runs.repeats import measure_repeats, redraw
from headstart.system.progress import Recorder, Silent


def test_redrawn_sides_are_those_of_other_seeds(tiny: Path) -> None:
    dataset = load(tiny, split=False)
    sides = redraw(dataset, 0.2, 4)
    assert sides.shape == (4, len(dataset.items))
    assert len({tuple(side) for side in sides}) == 4
    for seed, side in enumerate(sides):
        held = {item.name for item in load(tiny, seed=seed).split("validation")}
        assert held == {i.name for i, out in zip(dataset.items, side, strict=True) if out}


def test_a_head_is_judged_by_images_that_it_was_not_trained_on() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(200, 300)).astype("f4"), rng.integers(0, 2, 200)  # nothing
    sides = rng.random((4, 200)) < 0.25
    given = examples(values, labels)
    accuracies = measure_repeats(given, load_recipe("quick", cut="last"), sides, Silent())
    assert accuracies.shape == (4,)
    assert accuracies.mean() < 0.65


def test_a_recipe_that_sees_more_is_better_and_of_equals_none_is() -> None:
    values, labels = features(300, 40, 3, apart=0.8)
    noise = np.random.default_rng(1).normal(size=values.shape).astype("f4")
    sides = np.random.default_rng(0).random((5, 300)) < 0.2
    recipe = load_recipe("quick", cut="last")
    good, bad = (measure_repeats(examples(each, labels, 3), recipe, sides, Silent())
                 for each in (values, values * 0.1 + noise))  # fmt: skip
    assert compare_resampled(good - bad, 240, 60).verdict == "the first recipe is better"
    assert compare_resampled(good - good, 240, 60).verdict == "the data cannot tell"


def test_runs_are_compared_over_repeats(tiny: Path, tmp_path: Path) -> None:
    runs = [headstart.train(tiny, out=tmp_path / cut, cut=cut, size=64)
            for cut in ("block2b_add", "block6d_add")]  # fmt: skip
    progress = Recorder()
    compared = headstart.compare(*runs, repeats=3, progress=progress)
    (pair,) = compared.repeats
    images = runs[0].record["images"]
    assert len(pair.differences) == 3
    assert pair.train + pair.test == images["train"] + images["validation"]
    assert not headstart.compare(*runs).repeats
    with pytest.raises(ClassifierError, match="expected two repeats or more, found 1"):
        headstart.compare(*runs, repeats=1)
    record = {**runs[1].record, "tuning": {"kept": True}}
    (runs[1].folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ClassifierError, match="which was fine-tuned"):
        headstart.compare(runs[0], headstart.Run(runs[1].folder), repeats=3)
