"""The part above a boundary, against the same training of the whole network."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from headstart.backbones.cut import Cut
from headstart.features.extractor import open_extractor
from headstart.recipe import Recipe, load_recipe
from headstart.tuning.upper import (
    State,
    build_network,
    build_upper,
    compile_upper,
    learning_rate_shares,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'headstart[tensorflow]'"
)
HEAD = np.full((192, 2), [0.01, -0.01], "f4"), np.zeros(2, "f4")


def recipe(**choices: Any) -> Recipe:
    small = {"cut": "block6d_add", "size": 64, "precision": "f32", "batch_size": 8}
    return load_recipe("thorough", **{**small, **choices})


def test_the_plain_head_is_calibrated() -> None:
    state = State((), (np.array([[1.0, -1.0]]), np.array([2.0, 0.0])), temperature=2.0)
    logit = (3 - (-1)) / 2  # of one feature that is 1
    probability = state.plain_head().probabilities(np.ones((1, 1), np.float32))[0, 0]
    assert probability == pytest.approx(1 / (1 + np.exp(-logit)))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)


def whole(base: Any, head: Any, boundary: str, cut: str) -> Any:
    """The network from the image on, frozen up to the boundary."""
    import keras

    for layer in base.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    for layer in base.layers[: base.layers.index(base.get_layer(boundary)) + 1]:
        layer.trainable = False
    x = keras.layers.GlobalAveragePooling2D()(base.get_layer(cut).output)
    return keras.Model(base.input, head(x))


@needs_tensorflow
def test_cached_boundaries_train_as_the_whole_network_does(images: np.ndarray) -> None:
    from headstart.heads.neural import prepare_keras
    from headstart.tuning.keras_model import normalised

    prepare_keras()
    chosen = recipe(tune_learning_rate=1e-4)  # a larger one makes rounding grow
    boundary, cut = "block6a_project_bn", "block6d_add"
    labels = np.eye(2, dtype="f4")[np.arange(len(images)) % 2]
    extractor = open_extractor(chosen.changed(cut=f"{boundary}:flatten"))
    activations = np.stack(list(extractor.run(images)))
    pixels = normalised(images, chosen)
    losses = {}
    for kind in ("cached", "whole"):
        network = build_network(chosen, *HEAD)
        if kind == "cached":
            model = build_upper(network, boundary, (Cut(cut),), chosen)
            values = activations
        else:
            model, values = whole(network.base, network.head, boundary, cut), pixels
        compile_upper(model, network.base, chosen)
        before = statistics(network.base)
        steps = []
        for step in range(10):
            rows = np.arange(step * 8, step * 8 + 8) % len(images)
            model.reset_metrics()
            steps.append(float(model.train_on_batch(values[rows], labels[rows])[0]))
        losses[kind] = steps
        assert steps[-1] < steps[0]
        for one, other in zip(before, statistics(network.base), strict=True):
            assert np.array_equal(one, other)
    assert losses["cached"] == pytest.approx(losses["whole"], abs=1e-3)


def statistics(base: Any) -> list[np.ndarray]:
    """Everything that batch normalisation holds."""
    import keras

    return [
        np.array(value)
        for layer in base.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for value in layer.get_weights()
    ]


@needs_tensorflow
def test_one_layer_may_be_pooled_in_two_ways(images: np.ndarray) -> None:
    cuts = (Cut("block6d_add", "avg"), Cut("block6d_add", "max"), Cut("block6d_depthwise_relu"))
    dimensions = 2 * 192 + 1152
    network = build_network(recipe(), np.zeros((dimensions, 2), "f4"), np.zeros(2, "f4"))
    model = build_upper(network, "block6c_add", cuts, recipe())
    assert model.output_shape == (None, 2)


@needs_tensorflow
def test_a_network_is_put_back_to_what_it_knew(images: np.ndarray) -> None:
    from headstart.heads.neural import prepare_keras

    prepare_keras()
    chosen, boundary = recipe(), "block6b_add"
    network = build_network(chosen, *HEAD)
    before = network.state()
    model = build_upper(network, boundary, (Cut("block6d_add"),), chosen)
    compile_upper(model, network.base, chosen)
    values = np.random.default_rng(0).normal(size=(8, model.input_shape[1])).astype("f4")
    model.train_on_batch(values, np.eye(2, dtype="f4")[np.arange(8) % 2])
    trained = network.state()
    assert not np.array_equal(trained.head[0], before.head[0])
    assert any(not np.array_equal(*pair) for pair in zip(trained.base, before.base, strict=True))
    network.load(before)
    assert np.array_equal(network.state().head[0], HEAD[0])
    for one, other in zip(network.state().base, before.base, strict=True):
        assert np.array_equal(one, other)


@needs_tensorflow
def test_blocks_further_down_learn_more_slowly() -> None:
    from headstart.backbones.keras_builder import keras_backbone
    from headstart.heads.neural import prepare_keras

    prepare_keras()
    base = keras_backbone("efficientnet_lite0", 64, None)
    shares = learning_rate_shares(base, recipe(tune_decay=0.5))
    by_layer = {path.rsplit("/", 2)[-2]: share for path, share in shares.items()}
    assert by_layer["block7a_project_conv"] == 0.25
    assert by_layer["block6d_project_conv"] == 0.125
