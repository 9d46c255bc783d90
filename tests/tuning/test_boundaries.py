"""Where a backbone can be parted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.backbones.cut import Cut
from headstart.data.dataset import load
from headstart.errors import BackboneError, ClassifierError
from headstart.features.extractor import open_extractor
from headstart.recipe import Recipe, load_recipe
from headstart.tuning.boundaries import Boundary, compute_activations, plan_descent


def recipe(**choices: Any) -> Recipe:
    small = {"cut": "block6d_add", "size": 64, "precision": "f32", "views": 2}
    return load_recipe("thorough", **{**small, **choices})


def test_boundaries_go_down_from_the_earliest_cut() -> None:
    cuts = (Cut("top_relu", "avg"), Cut("block6b_add", "grid"))
    assert plan_descent(recipe(), cuts) == (
        Boundary("block5c_add", 2), Boundary("block5a_project_bn", 4),
        Boundary("block4a_project_bn", 7),
    )  # fmt: skip
    chosen = recipe(boundary="block6a_project_bn")
    assert plan_descent(chosen, (Cut("block6d_add"),)) == (Boundary("block6a_project_bn", 3),)


def test_no_large_maps_are_boundaries() -> None:
    # Of 64 pixels an eighth is the third stage.
    plan = plan_descent(recipe(), (Cut("block5a_project_bn"),))
    assert plan[-1] == Boundary("block3a_project_bn", 5)


def test_above_the_first_cut_there_is_nothing_to_tune() -> None:
    assert plan_descent(recipe(), (Cut("block1a_project_bn"),)) == ()


def test_a_boundary_above_the_cut_is_refused() -> None:
    with pytest.raises(BackboneError, match="expected a boundary below the cut block6d_add"):
        plan_descent(recipe(boundary="top_relu"), (Cut("block6d_add"),))


def test_activations_are_what_the_frozen_part_gives(tiny: Path) -> None:
    items, chosen = load(tiny).split("train")[:3], recipe()
    activations = compute_activations(items, "block1a_project_bn", chosen)
    assert activations.shape == (3, 2, 32 * 32 * 16)
    below = open_extractor(chosen.changed(cut="block1a_project_bn:flatten"))
    pixels = [item.prepare(below.geometry) for item in items]
    assert np.array_equal(activations[:, 0], np.stack(list(below.run(pixels))))
    assert not np.array_equal(activations[:, 0], activations[:, 1])


def test_an_image_that_changed_meanwhile_is_named(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = np.full((8, 8, 3), (10 * number, 50, ord(name)), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    items = load(tmp_path).split("train")
    Path(items[0].path).write_bytes(b"no image any more")
    with pytest.raises(ClassifierError, match="changed while it was trained on"):
        compute_activations(items[:1], "block1a_project_bn", recipe())
