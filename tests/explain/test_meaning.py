"""On real photos: hiding what a map marks takes more from the class than hiding as much elsewhere,
and the nearest training images are of the same class.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.explain import neighbours
from headstart.explain.maps import Explainer

pytestmark = pytest.mark.shared
SCRIPT = Path(__file__).parents[2] / "bench" / "explanations.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    if not SCRIPT.is_file():
        pytest.skip("needs bench/, which comes with the repository alone")
    spec = importlib.util.spec_from_file_location("bench_explanations", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    out = tmp_path_factory.mktemp("meaning") / "run"
    return headstart.train(photos / "hymenoptera", out=out, cut="last")


def test_hiding_what_is_marked_matters_more_than_chance(
    bench: Any, run: headstart.Run, photos: Path
) -> None:
    items = bench.held_out(photos / "hymenoptera", 76)
    assert len(items) == 76
    falls = bench.measure_falls(run.classifier, items)
    difference, (low, high) = bench.compare(falls.marked, falls.moved)
    assert 0.05 < low < difference < high  # 0.17 (0.11 to 0.23) where this was written
    assert bench.compare(falls.marked, falls.of_another)[1][0] > 0  # not just the middle


def test_real_maps_add_up_and_neighbours_are_alike(
    bench: Any, run: headstart.Run, photos: Path
) -> None:
    items = bench.held_out(photos / "hymenoptera", 76)
    known = neighbours.read(run.folder, run.classifier.head.dimensions)
    assert known is not None
    assert len(known.images) == run.record["images"]["train"]
    alike = []
    for item, one in zip(items, Explainer(run.classifier).explain(items), strict=True):
        assert one.evidence is not None
        assert one.evidence.difference == pytest.approx(0, abs=1e-4)
        near = known.nearest(one.features)
        assert all(neighbour.path.is_file() for neighbour in near)
        alike.append(np.mean([neighbour.label == item.label for neighbour in near]))
    assert np.mean(alike) > 0.75  # 0.87 where this was written; half of all are ants
