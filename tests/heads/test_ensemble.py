"""Heads of one form as one head: what each says, averaged before the last activation."""

from collections.abc import Callable

import numpy as np
import pytest

from headstart.errors import HeadError, RecipeError
from headstart.heads.ensemble import average_heads, check_ensemble
from headstart.heads.head import Affine, Dense, Head, Layer

RNG = np.random.default_rng(0)


def scaling(units: int, activation: str = "linear") -> Affine:
    return Affine(*RNG.normal(size=(2, units)).astype("f4"), activation)


def dense(rows: int, columns: int, activation: str = "linear") -> Dense:
    weight, bias = RNG.normal(0, 0.4, (rows, columns)), RNG.normal(size=columns)
    return Dense(weight.astype("f4"), bias.astype("f4"), activation)


def alike(activation: str) -> Affine:
    """An activation before anything else: the same in every head."""
    return Affine(np.ones(5, "f4"), np.zeros(5, "f4"), activation)


FORMS: dict[str, Callable[[], list[Layer]]] = {
    "batchnorm alone": lambda: [scaling(5)],
    "two batchnorms": lambda: [scaling(5), scaling(5), dense(5, 5, "relu")],
    "batchnorm in the middle": lambda: [dense(5, 5, "relu"), scaling(5), dense(5, 5, "elu")],
    "batchnorm, then an activation": lambda: [dense(5, 5), scaling(5, "tanh")],
    "an activation first": lambda: [alike("relu"), scaling(5), dense(5, 5, "tanh")],
    "a softmax first": lambda: [alike("softmax"), dense(5, 5, "tanh")],
    "batchnorm last": lambda: [dense(5, 5, "relu"), dense(5, 5, "selu"), scaling(5)],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_logits_are_the_mean(form: str, classes: int) -> None:
    last = (5, 1, "sigmoid") if classes == 2 else (5, 3, "softmax")
    heads = [Head((*FORMS[form](), dense(*last)), binary=classes == 2) for _ in range(3)]
    x = RNG.normal(size=(9, 5)).astype("f4")

    def logits(head: Head) -> np.ndarray:
        scores = np.log(head.probabilities(x).astype(np.float64))
        return scores - scores.mean(axis=1, keepdims=True)

    expected = np.mean([logits(head) for head in heads], axis=0)
    assert logits(average_heads(heads)) == pytest.approx(expected, abs=2e-3, rel=2e-3)


def test_the_mean_of_two_sigmoids_by_hand() -> None:
    def head(weight: float, bias: float) -> Head:
        last = Dense(np.array([[weight]], "f4"), np.array([bias], "f4"), "sigmoid")
        return Head((last,), binary=True)

    mean = average_heads([head(0, 0), head(0, 2 * np.log(3))])
    assert mean.probabilities(np.zeros((1, 1), "f4"))[0] == pytest.approx([0.25, 0.75])


def test_a_softmax_inside_cannot_be_averaged() -> None:
    heads = [Head((dense(5, 4, "softmax"), dense(4, 3, "softmax"))) for _ in range(2)]
    with pytest.raises(HeadError, match="without a softmax inside"):
        average_heads(heads)


@pytest.mark.parametrize(
    ("layers", "message"),
    [(["dense 8 softmax"], "without softmax"), (["dense 8", "activation softmax"], "without soft"),
     (["batchnorm", "activation relu", "dense 8"], "a 'dense' layer before an activation"),
     (["activation relu", "batchnorm", "dropout", "activation relu"], "a 'dense' layer before")],
)  # fmt: skip
def test_layers_that_cannot_be_averaged_are_refused(layers: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_ensemble(layers)


@pytest.mark.parametrize(
    "layers",
    [[], ["dropout"], ["batchnorm", "dense 8 relu"], ["activation softmax", "batchnorm"],
     ["dense 8", "batchnorm", "activation relu", "dropout 0.5", "dense 4 tanh"]],
)  # fmt: skip
def test_other_layers_are_not(layers: list[str]) -> None:
    check_ensemble(layers)
