"""Metrics of images in several classes, by hand and against a plain bootstrap."""

import json

import numpy as np
import pytest

from headstart.metrics.multilabel import (
    MultiMetrics,
    _figures,
    average_precision,
    best_threshold,
    evaluate_multi,
)


def test_average_precision_by_hand() -> None:
    # found at ranks 1 and 3: (1/1 + 2/3) / 2
    scores, target = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert average_precision(scores, target) == pytest.approx(5 / 6)
    assert np.isnan(average_precision(scores, np.zeros(3, bool)))


def test_metrics_by_hand() -> None:
    probabilities = np.array([[0.9, 0.2], [0.8, 0.9], [0.1, 0.6], [0.3, 0.1]])
    targets = np.array([[1, 0], [1, 1], [0, 0], [0, 0]])
    metrics = evaluate_multi(probabilities, targets, ["a", "b"], np.array([0.5, 0.5]))
    assert metrics.accuracy == 0.75  # the third is given b
    assert metrics.micro_f1 == pytest.approx(2 * 3 / (3 + 4))
    assert metrics.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.mean_average_precision == 1
    assert metrics.hamming_loss == 1 / 8
    assert metrics.classes[1].precision == 0.5
    assert MultiMetrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics


def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and targets of n images, three classes, the last of them rare."""
    rng = np.random.default_rng(1)
    targets = (rng.random((n, 3)) < [0.5, 0.2, 0.05]).astype(int)
    return np.clip(0.3 * targets + rng.random((n, 3)) * 0.7, 0, 1), targets


def intervals(metrics: MultiMetrics) -> list[tuple[float, float]]:
    found = (metrics.mean_average_precision_interval, metrics.micro_f1_interval,
             metrics.macro_f1_interval)  # fmt: skip
    return [ends for ends in found if ends is not None]


def test_the_intervals_are_those_of_a_plain_jackknife() -> None:
    probabilities, targets = drawn(150)
    ours = evaluate_multi(probabilities, targets, ["a", "b", "c"], np.full(3, 0.5))
    right, given = targets.astype(bool), probabilities >= 0.5
    without = [_figures(*(np.delete(part, image, axis=0) for part in (probabilities, right, given)))
               for image in range(150)]  # fmt: skip
    errors = np.std(without, axis=0) * 149**0.5
    figures = _figures(probabilities, right, given)
    for figure, error, ends in zip(figures, errors, intervals(ours), strict=True):
        logit, half = np.log(figure / (1 - figure)), 1.95996 * error / (figure * (1 - figure))
        assert ends == pytest.approx(1 / (1 + np.exp([half - logit, -half - logit])), abs=1e-5)


def test_parts_of_many_images_say_what_a_plain_bootstrap_says() -> None:
    probabilities, targets = drawn(1500)
    ours = evaluate_multi(probabilities, targets, ["a", "b", "c"], np.full(3, 0.5))
    right, given = targets.astype(bool), probabilities >= 0.5
    rng = np.random.default_rng(1)
    samples = [_figures(probabilities[p], right[p], given[p])
               for p in rng.integers(0, 1500, (500, 1500))]  # fmt: skip
    low, high = np.nanpercentile(samples, [2.5, 97.5], axis=0)
    for ends, width in zip(intervals(ours), high - low, strict=True):
        assert ends[1] - ends[0] == pytest.approx(width, rel=0.15)


def test_all_right_is_not_certain() -> None:
    """20 of 20 images, nothing depends on any: Wilson's interval, from 20 / (20 + 1.96^2)."""
    targets = np.tile([[1, 0], [0, 1]], (10, 1))
    metrics = evaluate_multi(targets * 0.8 + 0.1, targets, ["a", "b"], np.full(2, 0.5))
    assert len(intervals(metrics)) == 3
    for ends in intervals(metrics):
        assert ends == pytest.approx((20 / (20 + 1.95996**2), 1), abs=1e-5)


def test_one_image_tells_little_and_none_nothing() -> None:
    one = evaluate_multi(np.array([[0.9, 0.1]]), np.array([[1, 0]]), ["a", "b"], np.full(2, 0.5))
    assert one.mean_average_precision_interval == pytest.approx((0.2065, 1), abs=1e-4)
    none = evaluate_multi(np.zeros((0, 2)), np.zeros((0, 2)), ["a", "b"], np.full(2, 0.5))
    assert intervals(none) == []
    absent = evaluate_multi(np.full((5, 2), 0.9), np.zeros((5, 2)), ["a", "b"], np.full(2, 0.5))
    assert intervals(absent) == []


def test_a_threshold_is_the_best_f1_and_a_half_for_few() -> None:
    probabilities = np.linspace(0, 1, 101)
    target = (probabilities > 0.295).astype(float)
    assert best_threshold(probabilities, target) == pytest.approx(0.295, abs=0.006)
    rare = np.zeros(101)
    rare[-5:] = 1
    assert best_threshold(probabilities, rare) == 0.5


def test_cross_validation_tells_less_of_the_final_classifier_than_new_images() -> None:
    """An image counts as 1 / 1.4: intervals of logits are sqrt(1.4) times as wide."""
    probabilities, targets = drawn(150)
    new, crossed = (
        evaluate_multi(probabilities, targets, ["a", "b", "c"], np.full(3, 0.5), crossed=by)
        for by in (False, True)
    )
    for narrow, wide in zip(intervals(new), intervals(crossed), strict=True):
        (a, b), (c, d) = (np.log(np.array(ends) / (1 - np.array(ends))) for ends in (narrow, wide))
        assert (d - c) / (b - a) == pytest.approx(1.4**0.5)
    low, high = new.accuracy_interval or (0, 1)
    lowest, highest = crossed.accuracy_interval or (0, 1)
    assert lowest < low < high < highest
