"""How far images are from those trained on."""

import numpy as np
import pytest
from samples import features

from headstart.abstention.novelty import Sample, leave_out
from headstart.errors import ClassifierError

FOLDS = np.arange(200) % 10


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """300 images of four classes."""
    return features(300, 40, 4, apart=2.0)


def test_angles_give_what_features_give(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """What is learned from products of the sample is what predicting computes."""
    values, _ = drawn
    learned, asked = np.arange(200), np.arange(200, 300)
    sample = Sample(values, seed=0)
    known = sample.learn(np.arange(300) % 10)
    assert known is not None
    expected = sample.score(asked, np.arange(300))
    assert known.distances(values[asked]) == pytest.approx(expected, abs=2e-3)
    expected = sample.score(asked, learned)
    # All axes are kept: the distance is that of the directions themselves.
    spread = values.std(axis=0)
    scaled = values / (spread + 0.1 * spread.mean())
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    nearest = np.square(unit[200:, None] - unit[None, :200]).sum(axis=2).min(axis=1)
    assert expected == pytest.approx(nearest, rel=1e-3, abs=1e-5)


def test_new_images_are_refused_as_often_as_was_said(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    values, _ = drawn
    known = Sample(values[:200], seed=0).learn(FOLDS)
    assert known is not None
    typical = known.typicality(known.distances(values[200:]))
    low, high = known.false_alarms(0.1)
    assert low < 0.1 < high
    assert (typical <= 0.1).mean() < high
    alien = np.abs(np.random.default_rng(1).normal(size=(50, 40))).astype("f4")
    assert (known.typicality(known.distances(alien)) <= 0.1).mean() > 0.9
    assert known.typicality(np.array([9.0, 0.0])).tolist() == [1 / 201, 1.0]


def test_a_rate_that_so_few_images_cannot_tell_is_refused(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    known = Sample(drawn[0][:200], seed=0).learn(FOLDS)
    assert known is not None
    known.check_rate(1 / 201)
    for rate in (0.001, 0.6, float("nan")):
        with pytest.raises(ClassifierError, match=r"0\.005, which 200 training images can tell"):
            known.check_rate(rate)


def test_a_class_that_was_left_out_is_refused() -> None:
    values, labels = features(200, 40, 4, apart=6.0)
    rows = leave_out(Sample(values, seed=0), labels, FOLDS, ["a", "b", "c", "d"], 0.05)
    assert [row.name for row in rows] == ["a", "b", "c", "d"]
    assert [row.images for row in rows] == [50] * 4
    assert np.mean([row.refused / row.images for row in rows]) > 0.5


def test_too_few_images_tell_nothing() -> None:
    for count in (1, 2):
        assert Sample(np.ones((count, 3), "f4"), seed=0).learn(np.arange(count)) is None
    alike = Sample(np.ones((20, 3), "f4"), seed=0).learn(np.arange(20) % 5)
    assert alike is not None
    assert alike.distances(np.ones((1, 3), "f4")) == pytest.approx([0], abs=1e-3)


def test_of_many_images_some_are_kept() -> None:
    values, _ = features(3000, 20, 3)
    sample = Sample(values, seed=0)
    assert len(sample) == 2048
    again = Sample(values, seed=0)
    assert np.array_equal(sample.rows, again.rows)
