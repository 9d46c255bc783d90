"""The picture of one image, whatever its shape and however its classes are called."""

import numpy as np
import pytest

from headstart.classifier import Prediction
from headstart.explain.evidence import Evidence
from headstart.explain.maps import Explanation
from headstart.explain.neighbours import Neighbour
from headstart.explain.picture import draw
from headstart.images.geometry import Geometry


@pytest.mark.parametrize("shape", [(300, 400), (400, 90), (5, 1000), (1, 1)])
@pytest.mark.parametrize("exact", [True, False])
def test_it_is_drawn(
    shape: tuple[int, int], exact: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = np.full((*shape, 3), 90, np.uint8)
    values = np.linspace(-1, 1, 64 * 48).reshape(64, 48).astype("f4")
    label = "a name as long as nobody gives " * 6
    said = {label: 0.9, **{f"class {number}": 0.01 for number in range(10)}}
    evidence = Evidence(label, 0.9, 2.2, values, 0.0, exact)
    gone = Neighbour("x" * 90 + ".jpg", label, tmp_path_factory.mktemp("none") / "gone.jpg", 0.5)
    explanation = Explanation(Prediction("a.jpg", label, said), evidence)
    alone = draw(image, "a.jpg", explanation, Geometry(64, 48, "crop"))
    beside = draw(image, "a.jpg", explanation, Geometry(64, 48, "crop"), [gone] * 7)
    assert alone.shape[1:] == beside.shape[1:] == (952, 3)
    assert beside.shape[0] > alone.shape[0] + 150
    assert len(np.unique(alone.reshape(-1, 3), axis=0)) > 100
