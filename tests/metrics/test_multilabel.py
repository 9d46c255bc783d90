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


def test_the_intervals_are_those_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((150, 3)) < [0.5, 0.2, 0.05]).astype(int)
    probabilities = np.clip(0.3 * targets + rng.random((150, 3)) * 0.7, 0, 1)
    ours = evaluate_multi(probabilities, targets, ["a", "b", "c"], np.full(3, 0.5))
    right, given = targets.astype(bool), probabilities >= 0.5
    samples = [_figures(probabilities[p], right[p], given[p])
               for p in rng.integers(0, 150, (1000, 150))]  # fmt: skip
    low, high = np.nanpercentile(samples, [2.5, 97.5], axis=0)
    for place, ends in enumerate((ours.mean_average_precision_interval, ours.micro_f1_interval,
                                  ours.macro_f1_interval)):  # fmt: skip
        assert ends == pytest.approx((low[place], high[place]), abs=0.025)


def test_a_threshold_is_the_best_f1_and_a_half_for_few() -> None:
    probabilities = np.linspace(0, 1, 101)
    target = (probabilities > 0.295).astype(float)
    assert best_threshold(probabilities, target) == pytest.approx(0.295, abs=0.006)
    rare = np.zeros(101)
    rare[-5:] = 1
    assert best_threshold(probabilities, rare) == 0.5
