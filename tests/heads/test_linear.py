"""The linear head against scikit-learn, by hand, and on awkward data."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optimum import Optimum
from samples import examples, features

from headstart.errors import HeadError
from headstart.heads import linear
from headstart.heads.calibration import temperature
from headstart.heads.examples import Examples
from headstart.heads.solver import Preconditioner, compute_logits, solve, standardise
from headstart.system.memory import allocate_in_file


@pytest.mark.parametrize(("count", "dimensions"), [(200, 30), (60, 150)])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_it_finds_the_optimum_that_scikit_learn_finds(
    count: int, dimensions: int, classes: int, strength: float
) -> None:
    from sklearn.linear_model import LogisticRegression

    values, labels = features(count, dimensions, classes)
    data = standardise(values)
    columns = 1 if classes == 2 else classes
    weights, _ = solve(
        data, labels, np.full((1, count), 1 / count), np.array([strength]), columns,
        Preconditioner(data), tolerance=1e-4, most=500,
    )  # fmt: skip
    scaled = ((values - data.mean) * data.inverse_scale).astype("f8")
    oracle = LogisticRegression(C=1 / (strength * count), tol=1e-10, max_iter=10_000)
    oracle.fit(scaled, labels)

    def value(w: np.ndarray, b: np.ndarray) -> float:
        z = scaled @ w + b
        if columns == 1:
            z = np.hstack([np.zeros_like(z), z])
        loss = np.logaddexp.reduce(z, axis=1) - z[np.arange(count), labels]
        return float(loss.mean() + strength / 2 * (w**2).sum())

    ours = value(weights[0, :-1].astype("f8"), weights[0, -1].astype("f8"))
    assert ours <= value(oracle.coef_.T, oracle.intercept_) * (1 + 1e-5)
    z = compute_logits(data, weights, slice(None))[:, 0].astype("f8")
    z = np.hstack([np.zeros_like(z), z]) if columns == 1 else z
    probabilities = np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None])
    assert np.abs(probabilities - oracle.predict_proba(scaled)).max() < 1e-3


def make(kind: str, count: int = 300) -> Examples:
    """Images of three classes, one of them rare."""
    values, labels = features(count, 40, 3, apart=0.5)
    labels = np.where((labels == 2) & (np.arange(count) % 4 > 0), 0, labels)
    groups = np.arange(count) // 6 if "groups" in kind else None
    targets = labels
    if "several" in kind:
        own = np.eye(3, dtype="f4")[labels]
        targets = np.maximum(own, (values[:, :3] > np.quantile(values[:, :3], 0.7, axis=0)) * 1.0)
    made = examples(values, targets, 3, groups=groups, balanced="balanced" in kind)
    return replace(made, parts=(slice(0, 25), slice(25, 40))) if "parts" in kind else made


@pytest.fixture(params=["in memory", "in a file"])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Moves features into a file, as those are that memory does not hold, or leaves them."""

    def place(given: Examples) -> Examples:
        if request.param == "in memory":
            return given
        monkeypatch.setattr("headstart.heads.solver.MOST", 0)
        monkeypatch.setattr("headstart.heads.solver.BLOCK", 64)
        values = allocate_in_file(tmp_path, given.values.shape)
        values[:] = given.values
        return replace(given, values=values)

    return place


@pytest.mark.parametrize("kind", ["plain", "balanced", "groups", "several classes",
                                  "several classes balanced groups"])  # fmt: skip
def test_a_head_is_the_optimum(kind: str, large: Any) -> None:
    """At the strength that was chosen, by scikit-learn in double precision."""
    given = large(make(kind))
    fit = linear.fit(given)
    best = Optimum(given.values[:, 0], given.targets, given.task, fit.cross_validation.strength,
                   given.weights)  # fmt: skip
    loss, objective = best.compare(fit.head(), fit.temperature)
    assert abs(loss) < 1e-4
    assert -1e-6 < objective < 1e-4


def test_of_very_many_a_sample_says_where_to_look(
    large: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer strengths are tried, fewer rows tell how features go together: the optimum is the same,
    and what serves.
    """
    given = large(make("balanced", 1200))
    whole = linear.fit(given)
    for name, value in (
        ("linear.MANY", 1000),
        ("linear.SAMPLE", 300 * 40),
        ("solver.TELLING", 400),
    ):
        monkeypatch.setattr(f"headstart.heads.{name}", value)
    fit = linear.fit(given)
    tried = [trial.strength for trial in fit.cross_validation.trials]
    assert len(tried) < len(whole.cross_validation.trials)
    assert max(tried) < max(linear.STRENGTHS)
    losses = [min(t.log_loss for t in one.cross_validation.trials) for one in (fit, whole)]
    assert losses[0] < losses[1] + 1e-3
    best = Optimum(given.values[:, 0], given.targets, given.task, fit.cross_validation.strength,
                   given.weights)  # fmt: skip
    loss, objective = best.compare(fit.head(), fit.temperature)
    assert abs(loss) < 1e-4
    assert -1e-6 < objective < 1e-4


@pytest.mark.parametrize("kind", ["plain", "parts balanced"])
def test_of_very_many_classes_and_images_some_are_judged(
    kind: str, large: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of them is that of heads that were not trained on them; nothing is held of
    others, and the head is the optimum on all.
    """
    given = large(make(kind, 600))
    monkeypatch.setattr("headstart.heads.linear.SAID", 150)
    monkeypatch.setattr("headstart.heads.solver.LOGITS", 1)  # blocks of few rows
    fit = linear.fit(given)
    assert fit.judged is not None
    assert 30 <= len(fit.judged) == len(fit.out_of_fold) <= 60
    assert fit.cross_validation.logits.shape == (len(fit.judged), 3)
    right = fit.out_of_fold.argmax(axis=1) == given.targets[fit.judged]
    assert 0.5 < right.mean() < 1
    if kind == "plain":
        best = Optimum(given.values[:, 0], given.targets, given.task,
                       fit.cross_validation.strength, given.weights)  # fmt: skip
        loss, objective = best.compare(fit.head(), fit.temperature)
        assert abs(loss) < 1e-4
        assert -1e-6 < objective < 1e-4


@pytest.mark.parametrize("kind", ["parts", "parts balanced", "parts several classes"])
def test_an_average_of_heads_is_that_of_optima(kind: str, large: Any) -> None:
    """Of several cuts a head each."""
    given = large(make(kind))
    fit = linear.fit(given)
    values, crossed = given.values[:, 0].astype("f8"), fit.cross_validation
    best = np.zeros((len(values), 3))
    for part, strength, share in zip(given.parts, crossed.strengths, crossed.shares, strict=True):
        own = Optimum(values[:, part], given.targets, given.task, strength, given.weights)
        best += share * (own.rows @ own.weight + own.bias)
    ours = (values @ fit.weight + fit.bias) * fit.temperature
    loss = given.task.loss
    losses = [np.average(loss.of_logits(z, given.targets), weights=given.weights)
              for z in (ours, best)]  # fmt: skip
    assert abs(losses[0] - losses[1]) < 1e-4


def test_problems_solved_together_are_those_solved_alone() -> None:
    values, labels = features(120, 20, 3)
    data = standardise(values)
    mask = (np.arange(120) % 2 == 0) / 60.0
    rows = np.stack([np.full(120, 1 / 120), mask])
    strengths = np.array([0.1, 0.02])
    together, _ = solve(data, labels, rows, strengths, 3, Preconditioner(data), tolerance=1e-4)
    for index in range(2):
        alone, _ = solve(
            data, labels, rows[[index]], strengths[[index]], 3, Preconditioner(data),
            tolerance=1e-4,
        )  # fmt: skip
        assert np.abs(together[index] - alone[0]).max() < 2e-3


def test_a_feature_that_hardly_any_image_has_does_not_decide() -> None:
    """A unit that is all but silent in training and speaks in a new image."""
    values, labels = features(100, 40, 2)
    rare = np.full((100, 1), 0.0, "f4")
    rare[labels == 1] += 1e-4 * np.random.default_rng(1).random((int(labels.sum()), 1))
    head = linear.fit(examples(np.hstack([values, rare]), labels)).head()
    new = np.hstack([values[:1], [[1.0]]]).astype("f4")
    known = np.hstack([values[:1], [[0.0]]]).astype("f4")
    moved = np.log(head.probabilities(new)) - np.log(head.probabilities(known))
    assert np.abs(moved).max() < 20


def test_out_of_fold_is_by_heads_that_did_not_see_the_row() -> None:
    """Labels at random: a head that had seen the rows would be right far more than by chance."""
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(200, 300)).astype("f4"), rng.integers(0, 2, 200)
    head = linear.fit(examples(values, labels, 2))
    assert (head.out_of_fold.argmax(axis=1) == labels).mean() < 0.65


def test_it_learns_and_is_calibrated() -> None:
    values, labels = features(600, 40, 3, apart=0.5)
    head = linear.fit(examples(values[:400], labels[:400], 3))
    probabilities = head.head().probabilities(values[400:])
    assert (probabilities.argmax(axis=1) == labels[400:]).mean() > 0.6
    assert (
        abs(probabilities.max(axis=1).mean() - (probabilities.argmax(1) == labels[400:]).mean())
        < 0.1
    )


def test_with_hardly_an_error_the_head_is_not_made_surer() -> None:
    """Two classes far apart: of these images the loss falls the surer the head is made, of new
    ones it rises.
    """
    stated, plain = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        labels = np.arange(1100) % 2
        centres = np.where(labels == 1, 0.42, -0.42)[:, None]
        values = (centres + rng.normal(size=(1100, 30))).astype("f4")
        head = linear.fit(examples(values[:100], labels[:100]))
        assert head.temperature >= 1
        probabilities = head.head().probabilities(values[100:])
        logits = values[100:] @ (head.weight * head.temperature) + head.bias * head.temperature
        loss = head.task.loss
        stated.append(loss.of_probabilities(probabilities, labels[100:]).mean())
        plain.append(loss.of_logits(logits, labels[100:]).mean())
    assert np.mean(stated) < np.mean(plain) + 0.002


def test_what_is_said_of_an_image_does_not_depend_on_its_own_label() -> None:
    """But by its fold: the temperature of the others' logits, with other labels of this one."""
    values, labels = features(100, 300, 3, apart=0.2)
    fit = linear.fit(examples(values, labels, 3))
    loss, logits = fit.task.loss, fit.cross_validation.logits
    plain = np.log(fit.out_of_fold)
    ratio = np.ptp(logits, axis=1) / np.ptp(plain, axis=1)
    fold_of = examples(values, labels, 3).folds(5, 1)
    assert len(set(np.round(ratio, 3))) > 1
    for fold in range(5):
        others = fold_of != fold
        own = temperature(logits[others], labels[others], loss)
        assert ratio[~others] == pytest.approx(own, rel=1e-3)


def test_the_same_bytes_give_the_same_head() -> None:
    values, labels = features(150, 60, 3)
    first, second = (
        linear.fit(examples(values, labels, 3)),
        linear.fit(examples(values.copy(), labels, 3)),
    )
    assert np.array_equal(first.weight, second.weight)
    assert np.array_equal(first.bias, second.bias)
    assert first.cross_validation.strength == second.cross_validation.strength


def test_features_are_not_changed() -> None:
    values, labels = features(60, 20, 2)
    kept = values.copy()
    linear.fit(examples(values, labels, 2))
    assert np.array_equal(values, kept)


def test_balanced_counts_classes_alike() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(600) % 20 == 0).astype(int)
    values = (rng.normal(size=(600, 5)) + labels[:, None]).astype("f4")
    recalls = {}
    for weight in (None, "balanced"):
        predicted = linear.fit(examples(values, labels, 2, balanced=weight == "balanced")).head()
        recalls[weight] = (predicted.probabilities(values).argmax(axis=1) == 1)[labels == 1].mean()
    assert recalls["balanced"] > recalls[None] + 0.2


@pytest.mark.parametrize("classes", [2, 3])
def test_awkward_data_gives_finite_heads(classes: int) -> None:
    values, labels = features(40, 10, classes)
    constant = values.copy()
    constant[:, 3] = 7
    separable = np.eye(classes, dtype="f4")[labels] * 100
    same = np.ones_like(values)
    for awkward in (constant, separable, same):
        head = linear.fit(examples(awkward, labels, classes))
        probabilities = head.head().probabilities(awkward)
        assert np.isfinite(probabilities).all()
        assert probabilities.sum(axis=1) == pytest.approx(np.ones(40), abs=1e-5)
    assert linear.fit(examples(same, labels, classes)).head().probabilities(same).max() < 0.9


def test_two_images_and_a_class_of_one() -> None:
    values = np.array([[0.0, 1.0], [1.0, 0.0]], "f4")
    head = linear.fit(examples(values, np.array([0, 1]), 2))
    assert np.isfinite(head.weight).all()
    values, _ = features(21, 8, 2)
    labels = np.array([0] * 10 + [1] * 10 + [2])
    assert np.isfinite(linear.fit(examples(values, labels, 3)).weight).all()


def test_what_no_other_fold_can_teach_is_not_counted() -> None:
    """A class of one group: no head that has not seen it knows it."""
    values, labels = features(60, 8, 3, apart=5.0)
    groups = np.where(labels == 2, 99, np.arange(60))
    crossed = linear.cross_validate(examples(values, labels, 3, groups=groups))
    unknown = np.isnan(crossed.logits).any(axis=1)
    assert np.array_equal(unknown, labels == 2)
    assert min(trial.log_loss for trial in crossed.trials) < 0.7  # of the other two classes alone
    alone = linear.fit(examples(values, labels, 3, groups=labels))
    assert np.isnan(alone.out_of_fold).all()
    assert alone.cross_validation.strength == max(linear.STRENGTHS)
    assert np.isfinite(alone.weight).all()


def test_what_cannot_be_trained_on() -> None:
    values, labels = features(20, 4, 2)
    broken = values.copy()
    broken[3, 1] = np.nan
    with pytest.raises(HeadError, match="found nan or infinity in 1 of 20 images"):
        linear.fit(examples(broken, labels, 2))
    with pytest.raises(HeadError, match=r"expected labels 0\.\.1, found 0\.\.5"):
        linear.fit(examples(values, np.where(labels == 1, 5, 0), 2))
    with pytest.raises(HeadError, match=r"found \(20, 1, 4\) and \(19,\)"):
        linear.fit(examples(values, labels[:-1], 2))


def test_large_problems_try_fewer_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = features(100, 20, 2)
    monkeypatch.setattr(linear, "WORK", 2.5 * 20 * 4 * 100 * 20 * len(linear.STRENGTHS))
    logits = linear.cross_validate(examples(values, labels)).logits
    assert (~np.isnan(logits[:, 0])).mean() == pytest.approx(0.4)  # two folds of five
    parts = replace(examples(values, labels), parts=(slice(0, 20), slice(0, 2)))
    assert linear._affordable_folds(parts, linear.STRENGTHS, 5) == 2  # of a narrow part no more


@pytest.mark.parametrize(("count", "dimensions"), [(60, 150), (150, 40)])
def test_cross_validation_says_what_fit_says(count: int, dimensions: int) -> None:
    values, labels = features(count, dimensions, 3)
    whole = linear.fit(examples(values, labels, 3))
    alone = linear.cross_validate(examples(values, labels, 3))
    assert alone.strength == whole.cross_validation.strength
    # The search stops within a tolerance, on either way to the optimum.
    loss = whole.task.loss
    stated, known = loss.probabilities(alone.logits), loss.probabilities(
        whole.cross_validation.logits)  # fmt: skip
    assert np.abs(stated - known).max() < 0.03


def test_in_several_classes_the_head_is_one_regression_a_class() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 12)).astype("f4")
    targets = (values[:, :3] + rng.normal(0, 0.7, (300, 3)) > 0.3).astype("f4")
    head = linear.fit(examples(values, targets))
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    for c in range(3):
        theirs = LogisticRegression(
            C=1 / (head.cross_validation.strength * 300), tol=1e-8, max_iter=1000
        )
        theirs.fit(scaled, targets[:, c])
        ours = head.head().probabilities(values)[:, c]
        assert np.corrcoef(ours, theirs.predict_proba(scaled)[:, 1])[0, 1] > 0.999
    assert head.out_of_fold.shape == (300, 3)


HEAD_OF_1000 = """
import hashlib, os, sys
import numpy as np
from headstart.heads.examples import Labels
from headstart.heads.linear import fit
from headstart.metrics.task import SingleLabel

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
rng = np.random.default_rng(0)
targets = rng.integers(0, 3, 1000)
values = rng.normal(size=(1000, 320)).astype(np.float32) + 0.1 * targets[:, None]
labels = Labels(targets=targets, task=SingleLabel(("a", "b", "c")))
head = fit(labels.with_features(values[:, None].astype(np.float32)))
print(hashlib.sha256(head.weight.tobytes() + head.bias.tobytes()).hexdigest())
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores that a process can be kept from",
)
def test_a_head_of_few_images_is_the_same_on_any_number_of_cores() -> None:
    one, two = (
        subprocess.run(
            [sys.executable, "-c", HEAD_OF_1000, cores], check=True, capture_output=True, text=True
        ).stdout
        for cores in "12"
    )  # fmt: skip
    assert len(one.strip()) == 64
    assert one == two
