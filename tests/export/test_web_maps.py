"""What each place spoke for, as the page's network gives it."""

from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.explain.evidence import linear_form, logits
from headstart.export.web_maps import add_maps
from headstart.features.engine import OpenVinoEngine


@pytest.mark.parametrize("cut", [["block3b_add:avg+max", "block2b_add:grid"], ["block2b_add:avg"]])
def test_shares_and_bias_add_up_to_the_logits(tiny: Path, tmp_path: Path, cut: list[str]) -> None:
    run = headstart.train(tiny, out=tmp_path / "run", cut=cut, size=64)
    classifier = run.classifier
    graph, bias = add_maps(classifier)
    assert bias is not None
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    probabilities, *maps = next(iter(OpenVinoEngine(graph, "f32").run_all([pixels])))
    assert len(maps) == len(graph.outputs) - 1
    summed = sum(one.reshape(len(classifier.classes), -1).sum(axis=1) for one in maps) + bias
    odds = np.log(probabilities)
    assert np.allclose(summed - summed[0], odds - odds[0], atol=1e-3)
    linear = linear_form(classifier.head)
    assert linear is not None
    assert np.allclose(linear[1], bias)
    assert logits(classifier.head, np.zeros((1, classifier.head.dimensions), "f4")).shape == (1, 2)


def test_a_flat_map_gives_none(tiny: Path, tmp_path: Path) -> None:
    run = headstart.train(tiny, out=tmp_path / "run", cut="block6c_add:flatten", size=64)
    graph, bias = add_maps(run.classifier)
    assert bias is None
    assert len(graph.outputs) == 1
