"""The forecast on laws that are known, the curve on features whose answer is known."""

import numpy as np
import pytest
from samples import examples, features

from headstart.errors import DatasetError
from headstart.heads import linear
from headstart.selection.learning_curve import extrapolate, fit_curve, learning_curve

SIZES = np.array([25.0, 50, 100, 200, 400, 800])


@pytest.mark.parametrize(("level", "slope", "exponent"), [(0.0, 2.0, 0.5), (0.05, 1.0, 0.5),
                                                         (0.02, 3.0, 0.9)])  # fmt: skip
def test_a_power_law_is_found_again(level: float, slope: float, exponent: float) -> None:
    errors = (level + slope * SIZES**-exponent)[None]
    expected = level + slope * 1600.0**-exponent
    assert extrapolate(SIZES, errors, 1600)[0] == pytest.approx(expected, abs=0.003)


def test_what_does_not_fall_is_not_said_to_fall() -> None:
    assert extrapolate(SIZES, np.full((1, 6), 0.1), 1600)[0] == pytest.approx(0.1)
    rising = np.linspace(0.1, 0.2, 6)[None]
    now, then = (extrapolate(SIZES, rising, size)[0] for size in (800, 1600))
    assert now == then == pytest.approx(SIZES @ rising[0] / SIZES.sum())  # level, at the mean


def drawn(errors: np.ndarray, count: int) -> np.ndarray:
    """(3, count, S) draws of being right."""
    return np.random.default_rng(0).random((3, count, len(errors))) > errors


def test_more_photos_of_the_class_that_still_learns() -> None:
    slow, done = 0.02 + 2 * SIZES**-0.5, np.full(6, 0.02)
    right = np.concatenate([drawn(slow, 500), drawn(done, 500)], axis=1)
    labels = np.repeat([0, 1], 500)
    learned = fit_curve(right, labels, ["slow", "done"], SIZES)
    assert learned.forecasts[0].name == "slow"
    assert learned.forecasts[0].is_clear
    assert not learned.forecasts[1].is_clear
    low, high = learned.forecasts[0].gain_interval
    assert low < 2 * (800**-0.5 - 1600**-0.5) < high
    assert learned.sizes[-1] == 800


def test_few_groups_are_refused_and_uneven_ones_make_the_curve_shorter() -> None:
    values, labels = features(240, 30, 3, apart=0.8)
    with pytest.raises(DatasetError, match="5 groups or more for a learning curve, found 2"):
        learning_curve(examples(values, labels, 3, groups=np.arange(240) % 2))
    groups = np.where(np.arange(240) < 120, 0, 1 + np.arange(240) % 6)  # one is half of all
    learned = learning_curve(examples(values, labels, 3, groups=groups))
    assert learned.sizes[-1] <= 120 * 5 / 4


def test_chance_is_not_taken_for_a_gain() -> None:
    right = drawn(np.full(6, 0.3), 60)
    learned = fit_curve(right, np.arange(60) % 2, ["a", "b"], SIZES)
    assert not learned.overall.is_clear


def test_on_features_it_rises_and_ends_where_cross_validation_is() -> None:
    values, labels = features(240, 30, 3, apart=0.8)
    learned = learning_curve(examples(values, labels, 3))
    assert learned.accuracies[-1] > learned.accuracies[0] + 0.1
    assert learned.sizes[-1] == 240
    crossed = linear.cross_validate(examples(values, labels, 3)).logits
    # The same heads but for the draw of the folds: a few of the 240 images change sides.
    right = float((crossed.argmax(axis=1) == labels).mean())
    assert learned.accuracies[-1] == pytest.approx(right, abs=0.03)
    low, high = learned.intervals[-1]
    assert low < right < high
    assert learned.overall.accuracy == learned.accuracies[-1]
    assert learned.to_dict()["overall"]["name"] == "all classes"


def test_groups_are_never_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 6)
    labels = groups % 2
    values = rng.normal(size=(40, 16)).repeat(6, axis=0).astype("f4")  # a patient, not a class
    alone = learning_curve(examples(values, labels, 2)).accuracies[-1]
    apart = learning_curve(examples(values, labels, 2, groups=groups)).accuracies[-1]
    assert alone > 0.95
    assert apart < 0.75


def test_too_few_images_are_refused() -> None:
    values, labels = features(20, 5, 4)
    with pytest.raises(DatasetError, match="expected 8 training images or more of every class"):
        learning_curve(examples(values, labels, 4))
