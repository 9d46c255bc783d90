"""Log losses by hand, against scikit-learn, and where numbers are extreme or missing."""

import numpy as np
import pytest

from headstart.metrics.losses import BinaryCrossEntropy, CrossEntropy, Loss

SOFT, BINARY = CrossEntropy(), BinaryCrossEntropy()
RNG = np.random.default_rng(0)


def test_cross_entropy_by_hand() -> None:
    logits = np.array([[0, np.log(3)], [5, 5]])
    assert SOFT.probabilities(logits) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
    losses = SOFT.of_logits(logits, np.array([1, 0]))
    assert losses == pytest.approx([np.log(4 / 3), np.log(2)])


def test_binary_cross_entropy_by_hand() -> None:
    """Stated 0.75 and 0.5, and the first is there: the mean of ln 4/3 and ln 2."""
    logits = np.array([[np.log(3), 0]])
    assert BINARY.probabilities(logits) == pytest.approx(np.array([[0.75, 0.5]]))
    expected = (np.log(4 / 3) + np.log(2)) / 2
    assert BINARY.of_logits(logits, np.array([[1, 0]])) == pytest.approx([expected])


@pytest.mark.parametrize("classes", [2, 5])
def test_cross_entropy_is_the_log_loss_of_scikit_learn(classes: int) -> None:
    from sklearn.metrics import log_loss

    logits = RNG.normal(0, 3, (200, classes))
    targets = RNG.integers(0, classes, 200)
    probabilities = SOFT.probabilities(logits)
    expected = log_loss(targets, probabilities, labels=range(classes))
    assert SOFT.of_logits(logits, targets).mean() == pytest.approx(expected)
    assert SOFT.of_probabilities(probabilities, targets).mean() == pytest.approx(expected)


def test_binary_cross_entropy_is_the_mean_log_loss_of_scikit_learn() -> None:
    from sklearn.metrics import log_loss

    logits = RNG.normal(0, 3, (200, 4))
    targets = (RNG.random((200, 4)) < 0.3).astype("f4")
    probabilities = BINARY.probabilities(logits)
    expected = np.mean([log_loss(targets[:, c], probabilities[:, c]) for c in range(4)])
    assert BINARY.of_logits(logits, targets).mean() == pytest.approx(expected)
    assert BINARY.of_probabilities(probabilities, targets).mean() == pytest.approx(expected)


def test_a_certainty_that_is_wrong_costs_the_same_either_way() -> None:
    """float32 cannot tell 1 - 1e-7 from 1: ln 1e7 = 16.118 is the most that an image costs."""
    certain = np.array([[1.0, 0.0]], "f4")
    assert SOFT.of_probabilities(certain, np.array([1])) == pytest.approx([16.118], abs=1e-3)
    assert SOFT.of_probabilities(certain, np.array([0])) == pytest.approx([0])
    wrong = BINARY.of_probabilities(certain, np.array([[0, 1]]))
    assert wrong == pytest.approx([16.118], abs=1e-3)
    assert BINARY.of_probabilities(certain, np.array([[1, 0]])) == pytest.approx([0], abs=1e-6)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_extreme_logits_have_finite_losses(kind: str) -> None:
    z = np.array([[1e4, -1e4]], kind)
    assert SOFT.of_logits(z, np.array([0])).tolist() == [0]
    assert SOFT.of_logits(z, np.array([1])).tolist() == [2e4]
    assert BINARY.of_logits(z, np.array([[1, 0]], kind)).tolist() == [0]
    assert BINARY.of_logits(z, np.array([[0, 1]], kind)).tolist() == [1e4]
    for loss in (SOFT, BINARY):
        probabilities = loss.probabilities(z)
        assert probabilities == pytest.approx(np.array([[1.0, 0.0]]), abs=1e-12)


def test_what_no_fold_covered_has_no_loss() -> None:
    probabilities = np.array([[0.5, 0.5], [np.nan, np.nan]])
    single = SOFT.of_probabilities(probabilities, np.array([0, 1]))
    several = BINARY.of_probabilities(probabilities, np.array([[1, 0], [0, 1]]))
    for losses in (single, several):
        assert losses[0] == pytest.approx(np.log(2))
        assert np.isnan(losses[1])


def test_two_exclusive_classes_take_one_column() -> None:
    assert [SOFT.columns(classes) for classes in (2, 3, 10)] == [1, 3, 10]
    assert [BINARY.columns(classes) for classes in (2, 3, 10)] == [2, 3, 10]
    one = np.array([[np.log(3)]])
    assert SOFT.probabilities(SOFT.expand(one)) == pytest.approx(np.array([[0.25, 0.75]]))
    three = np.array([[1.0, 2, 3]])
    assert SOFT.expand(three) is three
    assert BINARY.expand(one) is one


@pytest.mark.parametrize(
    ("loss", "columns", "targets"),
    [
        (SOFT, 1, np.array([0, 1, 1])),
        (SOFT, 3, np.array([2, 0, 1])),
        (BINARY, 2, np.array([[1, 0], [0, 0], [1, 1]])),
    ],
)
def test_the_residual_is_the_slope_of_the_loss(
    loss: Loss, columns: int, targets: np.ndarray
) -> None:
    """Against a difference quotient, for two problems at once."""
    z = RNG.normal(0, 2, (3, 2, columns))
    values, residual = loss.with_residual(z.copy(), targets)
    assert values.shape == (3, 2)
    assert residual.shape == z.shape
    for column in range(columns):
        step = np.zeros_like(z)
        step[:, :, column] = 1e-5
        after, _ = loss.with_residual(z + step, targets)
        before, _ = loss.with_residual(z - step, targets)
        assert (after - before) / 2e-5 == pytest.approx(residual[:, :, column], abs=1e-6)


def test_the_losses_of_a_solver_are_those_of_the_metrics() -> None:
    z = RNG.normal(0, 2, (50, 1, 3))
    labels, several = RNG.integers(0, 3, 50), (RNG.random((50, 3)) < 0.4).astype("f4")
    values, _ = SOFT.with_residual(z.copy(), labels)
    assert values[:, 0] == pytest.approx(SOFT.of_logits(z[:, 0], labels))
    sums, _ = BINARY.with_residual(z.copy(), several)  # over the classes, not their mean
    assert sums[:, 0] == pytest.approx(3 * BINARY.of_logits(z[:, 0], several), rel=1e-5)


@pytest.mark.parametrize("columns", [1, 2])
def test_extreme_logits_have_finite_slopes(columns: int) -> None:
    z = np.full((1, 1, columns), 1e4, "f4")
    z[0, 0, 0] = -1e4
    values, residual = SOFT.with_residual(z.copy(), np.array([1]))
    assert np.isfinite(values).all()
    assert residual[0, 0, 0] == pytest.approx(-1 if columns == 1 else 0)
    values, residual = BINARY.with_residual(z.copy(), np.ones((1, columns)))
    assert values[0, 0] == pytest.approx(1e4)
    assert residual[0, 0, 0] == pytest.approx(-1)
