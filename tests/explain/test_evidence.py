"""Log odds, and their shares by place, on numbers written by hand and on made-up maps."""

import numpy as np
import pytest

from headstart.explain.evidence import (
    activation_map,
    contrast,
    enlarge,
    linear_form,
    log_odds,
    logits,
    masking_map,
)
from headstart.explain.parts import Part
from headstart.heads.head import Affine, Dense, Head

RNG = np.random.default_rng(1)


def dense(inputs: int, units: int, activation: str) -> Dense:
    weight, bias = RNG.normal(size=(inputs, units)), RNG.normal(size=units)
    return Dense(weight.astype("f4"), bias.astype("f4"), activation)


def scaling(units: int) -> Affine:
    scale, shift = RNG.normal(size=units), RNG.normal(size=units)
    return Affine(scale.astype("f4"), shift.astype("f4"))


HEADS = {
    "softmax of two": Head((dense(6, 2, "softmax"),)),
    "softmax of four": Head((dense(6, 4, "softmax"),)),
    "several classes": Head((dense(6, 3, "sigmoid"),)),
    "one number for two": Head((dense(6, 1, "sigmoid"),), binary=True),
    "scaled before": Head((scaling(6), dense(6, 3, "softmax"))),
    "linear layers": Head((scaling(6), dense(6, 5, "linear"), scaling(5), dense(5, 3, "softmax"))),
}
CURVED = Head((scaling(6), dense(6, 8, "relu"), dense(8, 3, "softmax")))
PARTS = [Part("avg", slice(0, 3), 2), Part("max", slice(3, 6), 3)]
MAPS = [RNG.normal(size=(4, 4, 3)).astype("f4"), RNG.normal(size=(7, 7, 3)).astype("f4")]
FEATURES = np.concatenate([part.pool(m) for part, m in zip(PARTS, MAPS, strict=True)])


@pytest.mark.parametrize("name", [*HEADS, "curved"])
def test_log_odds_are_those_of_the_probability(name: str) -> None:
    head = HEADS.get(name, CURVED)
    features = RNG.normal(size=(5, 6)).astype("f4")
    p = head.probabilities(features).astype(float)
    for chosen in range(head.outputs):
        odds = log_odds(head, logits(head, features), chosen)
        assert 1 / (1 + np.exp(-odds)) == pytest.approx(p[:, chosen], abs=1e-6)


def test_sure_beyond_what_a_probability_can_tell() -> None:
    head = Head((Dense(np.eye(2, dtype="f4"), np.zeros(2, "f4"), "softmax"),))
    far = np.array([[90.0, 0.0]], "f4")
    assert head.probabilities(far)[0, 0] == 1
    assert log_odds(head, logits(head, far), 0)[0] == 90


@pytest.mark.parametrize("name", HEADS)
def test_linear_form_gives_the_logits(name: str) -> None:
    head = HEADS[name]
    form = linear_form(head)
    assert form is not None
    features = RNG.normal(size=(5, 6)).astype("f4")
    assert features @ form[0] + form[1] == pytest.approx(logits(head, features), abs=1e-5)


def test_what_is_not_linear_has_no_linear_form() -> None:
    assert linear_form(CURVED) is None


def test_others_count_as_they_compete() -> None:
    head = Head((Dense(np.eye(3, dtype="f4"), np.zeros(3, "f4"), "softmax"),))
    weights, rest = contrast(head, np.array([2.0, 1.0, 1.0]), 0)
    assert weights.tolist() == [1, -0.5, -0.5]
    assert rest == pytest.approx(-np.log(2))
    weights, _ = contrast(head, np.array([2.0, 1.0, -30.0]), 0)
    assert weights == pytest.approx([1, -1, 0], abs=1e-9)


@pytest.mark.parametrize("name", HEADS)
def test_the_map_adds_up_to_the_log_odds(name: str) -> None:
    head = HEADS[name]
    form = linear_form(head)
    assert form is not None
    for chosen in range(head.outputs):
        values, _ = activation_map(head, form, PARTS, MAPS, FEATURES, chosen, (20, 30))
        assert values.shape == (20, 30)
        odds = log_odds(head, logits(head, FEATURES[None]), chosen)[0]
        assert values.sum() == pytest.approx(odds, abs=1e-5)


def test_features_without_a_place_are_part_of_the_constant() -> None:
    head = HEADS["softmax of two"]
    form = linear_form(head)
    assert form is not None
    parts = [PARTS[0], Part("none", slice(3, 6), 3)]
    maps = [MAPS[0], FEATURES[3:]]
    values, constant = activation_map(head, form, parts, maps, FEATURES, 1, (8, 8))
    odds = log_odds(head, logits(head, FEATURES[None]), 1)[0]
    assert values.sum() == pytest.approx(odds, abs=1e-5)
    own = FEATURES[3:] @ (form[0][3:, 1] - form[0][3:, 0])
    assert constant == pytest.approx(form[1][1] - form[1][0] + own, abs=1e-5)
    hidden, rest = masking_map(head, parts, maps, FEATURES, 1, (8, 8))
    assert hidden == pytest.approx(values, abs=1e-5)
    assert rest == pytest.approx(constant, abs=1e-5)


def test_hiding_places_of_an_average_gives_the_activation_map() -> None:
    head = Head((dense(3, 2, "softmax"),))
    form = linear_form(head)
    assert form is not None
    features = FEATURES[:3]
    exact, constant = activation_map(head, form, PARTS[:1], MAPS[:1], features, 1, (9, 9))
    hidden, rest = masking_map(head, PARTS[:1], MAPS[:1], features, 1, (9, 9))
    assert hidden == pytest.approx(exact, abs=1e-5)
    assert rest == pytest.approx(constant, abs=1e-4)


def test_hiding_finds_the_only_place_that_counts() -> None:
    """A curved head that looks at one channel, which only one place has."""
    weight = np.array([[4.0], [0.0]], "f4")
    head = Head((
        Dense(weight, np.zeros(1, "f4"), "relu"),
        Dense(np.array([[-1.0, 1.0]], "f4"), np.zeros(2, "f4"), "softmax"),
    ))  # fmt: skip
    places = RNG.random((6, 6, 2)).astype("f4")
    places[..., 0] = 0
    places[4, 1, 0] = 9
    part = Part("max", slice(0, 2), 2)
    values, constant = masking_map(head, [part], [places], part.pool(places), 1, (6, 6))
    assert np.unravel_index(values.argmax(), values.shape) == (4, 1)
    assert values.sum() == pytest.approx(72, rel=1e-5)  # 2 x 4 x 9
    assert constant == pytest.approx(0, abs=1e-4)


def test_large_maps_are_hidden_in_fields_that_all_maps_share() -> None:
    maps = [RNG.normal(size=(40, 30, 3)).astype("f4"), RNG.normal(size=(9, 20, 3)).astype("f4")]
    features = np.concatenate([part.pool(m) for part, m in zip(PARTS, maps, strict=True)])
    values, _ = masking_map(CURVED, PARTS, maps, features, 0, (64, 64))
    odds = log_odds(CURVED, logits(CURVED, features[None]), 0)[0]
    assert values.sum() == pytest.approx(odds, abs=1e-4)


@pytest.mark.parametrize(
    ("small", "large"),
    [((7, 7), (150, 150)), ((1, 5), (8, 9)), ((12, 12), (7, 5)), ((4, 4), (4, 4))],
)
def test_a_map_keeps_its_sum_when_enlarged(small: tuple[int, int], large: tuple[int, int]) -> None:
    shares = RNG.normal(size=small)
    enlarged = enlarge(shares, large)
    assert enlarged.shape == large
    assert enlarged.sum() == pytest.approx(shares.sum(), abs=1e-9)
    if small == large:
        assert enlarged == pytest.approx(shares)
