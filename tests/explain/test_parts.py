"""Poolings by place: the shares of the places add up to what the pooling gives."""

from typing import Any

import numpy as np
import pytest

from headstart.errors import ClassifierError
from headstart.explain.parts import Part, watch

RNG = np.random.default_rng(0)
PLACES = RNG.normal(size=(5, 7, 3))
PARTS = {
    "avg": Part("avg", slice(0, 3), 2),
    "max": Part("max", slice(0, 3), 2),
    "flatten": Part("flatten", slice(0, 105), 2),
    "grid": Part("grid", slice(0, 12), 2, field=(3, 4), stride=(2, 3)),
}


@pytest.mark.parametrize("pooling", PARTS)
def test_shares_add_up_to_the_pooled_features(pooling: str) -> None:
    part = PARTS[pooling]
    pooled = part.pool(PLACES)
    weights = RNG.normal(size=pooled.shape)
    shares = part.attribute(PLACES, weights)
    assert shares.shape == (5, 7)
    assert shares.sum() == pytest.approx(pooled @ weights, abs=1e-12)


def test_a_maximum_is_owed_to_its_place() -> None:
    places = np.zeros((2, 2, 2))
    places[0, 1] = 3, -1
    places[1, 0] = 1, 2
    shares = PARTS["max"].attribute(places, np.array([10.0, 100.0]))
    assert shares.tolist() == [[0, 30], [200, 0]]


def test_fields_of_a_grid_share_the_middle() -> None:
    part = Part("grid", slice(0, 4), 2, field=(2, 2), stride=(1, 1))
    places = np.arange(9.0).reshape(3, 3, 1)
    assert part.pool(places).tolist() == [2, 3, 5, 6]
    shares = part.attribute(places, np.array([4.0, 0, 0, 0]))
    assert shares.tolist() == [[0, 1, 0], [3, 4, 0], [0, 0, 0]]


def make_graph(poolings: list[str], channels_first: bool, shape: tuple[int, ...]) -> Any:
    """The product's own pooling over an image that is its own feature map."""
    import openvino
    from openvino import opset13 as op

    from headstart.backbones.cut import Cut
    from headstart.features.graph import _pool_and_join

    image = op.parameter([1, *shape], np.uint8, name="image")
    feature_map = op.convert(image, "f32")
    if channels_first:
        feature_map = op.transpose(feature_map, op.constant(np.array([0, 3, 1, 2])))
    taps = {
        Cut(f"layer{number}", pooling): (feature_map.output(0), pooling)
        for number, pooling in enumerate(poolings)
    }
    model, slices = _pool_and_join(image, taps, channels_first)
    # As a classifier: something comes before the features.
    features = model.get_results()[0].input_value(0)
    first = op.reduce_sum(features, op.constant(np.array([1])), True)
    return openvino.Model([first.output(0)], [image], "classifier"), slices


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize(
    "poolings",
    [["avg"], ["max"], ["grid"], ["flatten"], ["avg+max"], ["avg", "grid", "max", "flatten"]],
)
def test_maps_are_found_behind_the_features(poolings: list[str], channels_first: bool) -> None:
    from headstart.features.engine import OpenVinoEngine

    model, _ = make_graph(poolings, channels_first, (9, 6, 4))
    parts = watch(model, poolings)
    image = RNG.integers(0, 256, (9, 6, 4)).astype(np.uint8)
    (outputs,) = OpenVinoEngine(model, "f32").run_all([image])
    _, features, *_ = outputs
    assert sum(part.where.stop - part.where.start for part in parts) == len(features)
    for part in parts:
        places = part.arrange(outputs[part.output])
        assert np.array_equal(places, image.astype(np.float32))
        assert part.pool(places) == pytest.approx(features[part.where], rel=1e-6)


def test_features_without_a_place_are_told() -> None:
    import openvino
    from openvino import opset13 as op

    image = op.parameter([1, 2, 2, 3], np.uint8)
    vector = op.reduce_mean(op.convert(image, "f32"), op.constant(np.array([1, 2])), False)
    features = op.reshape(vector, op.constant(np.array([1, -1])), False)
    features.output(0).tensor.set_names({"features"})
    model = openvino.Model([op.relu(features).output(0)], [image], "classifier")
    assert [part.pooling for part in watch(model, ["avg"])] == ["none"]


def test_a_graph_of_another_make_is_refused() -> None:
    model, _ = make_graph(["max"], True, (4, 4, 3))
    with pytest.raises(ClassifierError, match="expected a classifier with avg pooling inside"):
        watch(model, ["avg"])
    with pytest.raises(ClassifierError, match="avg and max pooling inside"):
        watch(model, ["avg+max"])
