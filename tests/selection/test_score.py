"""Which candidate is taken: the rule by hand."""

import numpy as np
import pytest
from samples import examples, features

from headstart.backbones.cut import Cut
from headstart.heads import linear
from headstart.metrics.task import MultiLabel
from headstart.selection import score as scoring
from headstart.selection.score import (
    CutScore,
    are_enough,
    choose_cheapest,
    choose_partners,
    sample,
    score_cut,
)


def scored(name: str, losses: list[float], cost: float = 1.0) -> CutScore:
    of_images = np.array(losses), np.ones(len(losses)), np.zeros((len(losses), 2))
    return CutScore((Cut.parse(name),), {}, cost, 10, 0.9, (0.8, 0.95), *of_images)


def test_standard_errors_by_hand() -> None:
    # differences 1, 1, 1, 3: mean 1.5, standard deviation 1, error 0.5
    assert scored("a", [1, 1, 1, 3]).loses_to(scored("b", [0, 0, 0, 0])) == pytest.approx(3)


def test_within_one_standard_error_the_earliest_wins() -> None:
    noise = np.array([0.5, -0.5, 0.4, -0.4])
    best = scored("late:avg", [1, 1, 1, 1])
    alike = scored("early:avg", list(1.05 + noise), cost=0.5)
    worse = scored("first:avg", [2, 2.1, 2, 2.1], cost=0.1)
    assert choose_cheapest([best, alike, worse]) is alike
    assert choose_cheapest([best, worse]) is best


def test_of_those_that_cost_the_same_the_best_wins() -> None:
    noise = np.array([0.5, -0.5, 0.4, -0.4])
    average = scored("a:avg", list(1.1 + noise), cost=0.5)
    grid = scored("a:grid", list(1.05 + noise), cost=0.5)
    next_one = scored("b:avg", list(1.01 + noise), cost=0.54)
    dearer = scored("c:avg", [1, 1, 1, 1], cost=0.56)
    assert choose_cheapest([average, grid, next_one, dearer]) is next_one


def test_what_is_joined_sees_something_else() -> None:
    anchor = scored("last:avg", [1, 1])
    others = [
        scored("last:max", [1.1, 1.1]), scored("next:avg", [1.2, 1.2]),
        scored("far:avg", [1.3, 1.3]), scored("far:grid", [1.4, 1.4]),
    ]  # fmt: skip
    named = {"last:avg": 1.0, "last:max": 1.0, "next:avg": 0.97, "far:avg": 0.8, "far:grid": 0.8}
    depths = {Cut.parse(name): depth for name, depth in named.items()}
    assert choose_partners([anchor, *others], anchor, depths) == [others[0], others[2]]


def test_a_sample_keeps_the_shares_of_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    chosen = sample(labels, 100)
    assert len(set(chosen)) == 100
    assert np.bincount(labels[chosen]).tolist() == [60, 30, 10]
    assert np.abs(np.bincount(labels[chosen[:50]]) - [30, 15, 5]).max() <= 1
    assert sorted(sample(labels, 5000)) == list(range(1000))


def test_images_in_several_classes_are_drawn_by_their_rarest() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]])
    assert MultiLabel(tuple("abc")).kinds(labels).tolist() == [1, 0, 2, 2, 3]
    rng = np.random.default_rng(0)
    many = (rng.random((4000, 12)) < 0.3).astype("f4")  # about a thousand combinations
    assert len(sample(MultiLabel(tuple("abcdefghijkl")).kinds(many), 800)) <= 800 + 6 * 13


def test_a_rare_class_is_in_every_sample() -> None:
    labels = np.repeat([0, 1], [5000, 100])
    assert np.bincount(labels[sample(labels, 100)]).tolist() == [98, 6]


def test_images_whose_fold_had_no_time_are_neither_right_nor_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring.linear, "WORK", 0)  # one fold
    labels = np.arange(200) % 2
    values = (labels[:, None, None] * 4.0 + np.zeros((200, 1, 3))).astype("f4")
    score = score_cut(examples(values, labels), (Cut("a"),), {}, 1.0, seed=0)
    assert score.accuracy == 1
    assert score.accuracy_interval[0] < 0.95  # of 40 images, not of 200
    noise = np.random.default_rng(0).normal(0, 4, values.shape).astype("f4")
    unsure = score_cut(examples(values + noise, labels), (Cut("a"),), {}, 1.0, seed=0)
    assert unsure.log_loss > 0.1
    alike = np.isclose(unsure.losses, unsure.log_loss, rtol=1e-9, atol=0)
    assert alike.sum() == 160  # those are given the mean of the others


def test_one_group_tells_nothing() -> None:
    labels = np.arange(200) % 2
    values = np.empty((200, 1, 0))
    assert are_enough(examples(values, labels), 100)
    assert not are_enough(examples(values, labels, groups=np.zeros(200, int)), 100)


def test_a_class_of_fewer_images_than_folds_tells_nothing() -> None:
    values = np.empty((200, 1, 0))
    assert are_enough(examples(values, np.repeat([0, 1], [195, 5])), 100)
    assert not are_enough(examples(values, np.repeat([0, 1], [196, 4])), 100)
    assert not are_enough(examples(values, np.arange(200) % 2), 201)


def test_a_score_is_what_cross_validation_says() -> None:
    values, labels = features(120, 10, 3, apart=0.6)
    given = examples(values, labels, 3)
    crossed = linear.cross_validate(given, folds=5, seed=2)
    score = score_cut(given, (Cut("a"), Cut("b", "max")), {"size": 288}, 0.5, seed=2)
    shares = given.task.loss.probabilities(crossed.logits.astype("f8"))
    assert score.losses == pytest.approx(-np.log(shares[np.arange(120), labels]), abs=1e-9)
    assert np.array_equal(score.right, shares.argmax(axis=1) == labels)
    assert score.accuracy == score.right.mean()
    assert (score.images, score.dimensions, score.strengths) == (120, 10, crossed.strengths)
    assert score.name == "a + b:max, size 288"
    near = score_cut(given, (Cut("a"),), {}, 0.5, seed=2, near=(linear.STRENGTHS[0],))
    beside = [s for s in linear.STRENGTHS if linear.STRENGTHS[0] / 11 < s < linear.STRENGTHS[0] * 4]
    assert near.strengths[0] in beside
