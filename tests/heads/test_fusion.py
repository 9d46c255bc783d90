"""Heads of several cuts averaged."""

from dataclasses import replace

import numpy as np
import pytest
from samples import examples, features

from headstart.heads import linear
from headstart.heads.fusion import DECAY, LEAST, average, weigh

PARTS = (slice(0, 10), slice(10, 40))


def test_shares_by_hand() -> None:
    assert weigh([0.4]) == pytest.approx([1])
    assert weigh([0.4, 0.4]) == pytest.approx([0.5, 0.5])
    one, other = weigh([0.4, 0.4 * (1 + DECAY)])
    assert other / one == pytest.approx(1 / np.e)
    assert weigh([0.1, 0.4, 0.1]) == pytest.approx([0.5, 0, 0.5])  # below LEAST: none
    assert weigh([0.4, 0.41, 0.42, 0.43], 2)[2:].tolist() == [0, 0]
    assert min(share for share in weigh(np.linspace(0.4, 0.9, 20)) if share) >= LEAST
    assert weigh([0.0, 0.0, 0.3]) == pytest.approx([0.5, 0.5, 0])  # nothing is wrong


def test_what_has_no_share_may_be_unknown() -> None:
    known, unknown = np.ones((2, 3), "f4"), np.full((2, 3), np.nan, "f4")
    assert average([known, unknown], np.array([1.0, 0.0])).tolist() == known.tolist()


@pytest.mark.parametrize("classes", [2, 4])
def test_the_mean_of_heads_is_one_head(classes: int) -> None:
    values, labels = features(160, 40, classes, apart=0.6)
    given = examples(values, labels, int(labels.max()) + 1)
    fused = linear.fit(replace(given, parts=PARTS))
    alone = [linear.fit(replace(given, values=given.values[:, :, part])) for part in PARTS]
    shares = fused.cross_validation.shares
    losses = [min(trial.log_loss for trial in fit.cross_validation.trials) for fit in alone]
    assert shares == pytest.approx(weigh(losses), abs=0.02)
    for part, fit, share in zip(PARTS, alone, shares, strict=True):
        expected = share * fit.weight * fit.temperature / fused.temperature
        assert fused.weight[part] == pytest.approx(expected, rel=0.02, abs=1e-3)
    crossed = linear.cross_validate(
        replace(given, parts=PARTS), near=fused.cross_validation.strengths
    )
    known = ~np.isnan(crossed.logits[:, 0])
    assert np.allclose(crossed.logits[known], fused.cross_validation.logits[known], atol=0.2)
    assert fused.out_of_fold.shape == (160, classes)


def test_one_part_is_a_head_like_any_other() -> None:
    values, labels = features(120, 20, 3)
    given = examples(values, labels, int(labels.max()) + 1)
    whole, part = linear.fit(given), linear.fit(replace(given, parts=(slice(0, 20),)))
    assert np.array_equal(whole.weight, part.weight)
    assert np.array_equal(whole.out_of_fold, part.out_of_fold)


def test_the_mean_errs_less_where_each_knows_another_thing() -> None:
    """Each part alone tells half of the signal, among as much noise."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 400)
    values = rng.normal(0.3 * (2 * labels - 1)[:, None], 1, (400, 40)).astype("f4")
    train, new = slice(0, 150), slice(150, None)
    given = examples(values[train], labels[train])

    def accuracy(parts: tuple[slice, ...], keep: slice = slice(None)) -> float:
        head = linear.fit(replace(given, values=given.values[:, :, keep], parts=parts)).head()
        said = head.probabilities(values[new, keep]).argmax(axis=1)
        return float((said == labels[new]).mean())

    halves = (slice(0, 20), slice(20, 40))
    assert accuracy(halves) > max(accuracy((), half) for half in halves) + 0.02
