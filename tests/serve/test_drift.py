"""Alarms where images change, hardly any where they do not."""

import numpy as np
import pytest

from headstart.abstention.novelty import Novelty, Sample
from headstart.serve.drift import Drift, kolmogorov_smirnov


def test_the_p_value_is_that_of_the_textbook() -> None:
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    for shift in (0, 0.1, 0.3):
        first, second = rng.normal(shift, 1, 200), rng.normal(0, 1, 2000)
        expected = ks_2samp(first, second, method="exact").pvalue
        assert kolmogorov_smirnov(first, second) == pytest.approx(expected, rel=0.25, abs=0.01)
    assert kolmogorov_smirnov(first, first) == 1


@pytest.fixture(scope="module")
def learned() -> tuple[Novelty, np.ndarray]:
    rng = np.random.default_rng(1)
    features = np.maximum(rng.normal(size=(6000, 8)) @ rng.normal(size=(8, 32)), 0).astype("f4")
    novelty = Sample(features[:200], 0).learn(np.arange(200) % 10)
    assert novelty is not None
    return novelty, features[200:]


def test_few_alarms_without_drift_and_one_with_it(learned: tuple[Novelty, np.ndarray]) -> None:
    novelty, new = learned
    drift = Drift(novelty, window=100, level=0.01)
    for row in new[:5000]:
        drift.add(row)
    assert drift.windows == 50
    assert drift.alarms <= 4  # one half is expected
    assert not drift.is_on
    for row in new[:100] + 1.5 * np.random.default_rng(2).random((100, 32), np.float32):
        drift.add(row)
    assert drift.is_on
