"""Heads as plain arrays: NumPy and OpenVINO must say the same."""

import numpy as np
import pytest

from headstart.errors import ClassifierError
from headstart.heads.head import ACTIVATIONS, Affine, Dense, Head, activate, from_arrays


def in_openvino(head: Head, features: np.ndarray) -> np.ndarray:
    import openvino
    from openvino import opset13 as op

    parameter = op.parameter([1, features.shape[1]], np.float32)
    model = openvino.Model([head.to_openvino(parameter).output(0)], [parameter])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled(row[None])[0] for row in features])


def test_probabilities_by_hand() -> None:
    head = Head((Dense(np.eye(2, dtype="f4"), np.array([0, np.log(3)], "f4"), "softmax"),))
    assert head.probabilities(np.zeros((1, 2), "f4"))[0] == pytest.approx([0.25, 0.75])


def test_one_sigmoid_becomes_two_probabilities() -> None:
    dense = Dense(np.array([[1.0]], "f4"), np.zeros(1, "f4"), "sigmoid")
    head = Head((dense,), binary=True)
    assert head.probabilities(np.array([[np.log(3)]], "f4"))[0] == pytest.approx([0.25, 0.75])


def test_no_images_give_no_rows() -> None:
    head = Head((Dense(np.ones((4, 3), "f4"), np.zeros(3, "f4"), "softmax"),))
    assert head.probabilities(np.zeros((0, 4), "f4")).shape == (0, 3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_openvino_and_numpy_agree(activation: str) -> None:
    rng = np.random.default_rng(0)
    head = Head(
        (
            Affine(rng.normal(size=6).astype("f4"), rng.normal(size=6).astype("f4")),
            Dense(
                rng.normal(size=(6, 5)).astype("f4"), rng.normal(size=5).astype("f4"), activation
            ),
            Dense(rng.normal(size=(5, 3)).astype("f4"), np.zeros(3, "f4"), "softmax"),
        )
    )
    features = rng.normal(size=(4, 6)).astype("f4")
    assert np.abs(in_openvino(head, features) - head.probabilities(features)).max() < 1e-5


def test_a_wide_layer_agrees_too() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.02, size=(2048, 600)).astype("f4")
    head = Head(
        (
            Dense(weight, np.zeros(600, "f4"), "relu"),
            Dense(rng.normal(0, 0.1, (600, 1)).astype("f4"), np.zeros(1, "f4"), "sigmoid"),
        ),
        binary=True,
    )
    features = rng.normal(size=(2, 2048)).astype("f4")
    assert np.abs(in_openvino(head, features) - head.probabilities(features)).max() < 1e-5


def test_saved_and_loaded_is_the_same() -> None:
    head = Head((Dense(np.ones((2, 2), "f4"), np.zeros(2, "f4"), "softmax"),))
    again = from_arrays(head.description(), head.arrays())
    features = np.array([[1.0, 2.0]], "f4")
    assert np.array_equal(again.probabilities(features), head.probabilities(features))


def test_a_missing_array_is_an_error() -> None:
    head = Head((Dense(np.ones((2, 2), "f4"), np.zeros(2, "f4"), "softmax"),))
    with pytest.raises(
        ClassifierError, match=r"whole head, found one without '0.bias'. Train again"
    ):
        from_arrays(head.description(), {"0.weight": np.ones((2, 2), "f4")})


def test_extreme_numbers_stay_finite() -> None:
    x = np.array([[-1e4, 1e4]], "f4")
    for activation in ("sigmoid", "softmax", "softplus", "elu", "silu"):
        assert np.isfinite(activate(x, activation)).all()
