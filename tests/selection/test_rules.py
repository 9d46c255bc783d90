"""What is taken of the cuts that were measured, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from headstart.backbones.cut import Cut
from headstart.heads.examples import Labels
from headstart.heads.fusion import weigh
from headstart.metrics.task import SingleLabel
from headstart.selection.rules import MeanOfCuts, OneCut
from headstart.selection.score import CutScore, score_logits

TARGETS = np.array([0, 1, 0, 1])
LABELS = Labels(targets=TARGETS, task=SingleLabel(("a", "b")))


def scored(name: str, losses: list[float], cost: float = 1.0) -> CutScore:
    of_images = np.array(losses), np.ones(len(losses)), np.zeros((len(losses), 2))
    return CutScore((Cut.parse(name),), {}, cost, 10, 0.9, (0.8, 0.95), *of_images)


def said(name: str, sure: list[float], cost: float = 1.0) -> CutScore:
    """By the logit of the right class over the other's."""
    logits = np.zeros((4, 2), np.float32)
    logits[np.arange(4), TARGETS] = sure
    return score_logits(logits, LABELS, (Cut.parse(name),), {}, cost, 10, (0.1,))


def test_the_last_layer_stays_unless_it_is_beaten() -> None:
    noise = np.array([0.5, -0.5, 0.4, -0.4])
    last = scored("last:avg", list(1.05 + noise))
    early = scored("early:avg", [1, 1, 1, 1], cost=0.5)
    beaten = scored("last:avg", [2, 2.1, 2, 2.1])
    default = Cut.parse("last:avg")
    assert OneCut(default).take([last, early]) is last
    assert OneCut(default).take([beaten, early]) is early
    assert OneCut(None).take([last, early]) is early


def test_a_joined_cut_must_gain_more_than_a_standard_error() -> None:
    noise = np.array([0.5, -0.5, 0.4, -0.4])
    single, alike = scored("a", list(1.05 + noise)), scored("b", [1, 1, 1, 1])
    joined = replace(scored("b", [0.5, 0.5, 0.6, 0.5]), cuts=(Cut("b"), Cut("a")))
    same = replace(scored("b", list(0.95 + noise)), cuts=(Cut("b"), Cut("a")))
    assert OneCut(None).take([single, alike, joined]) is joined
    assert OneCut(None).take([single, alike, same]) in (single, alike)


def test_the_mean_of_cuts_by_hand() -> None:
    cuts = [said("a:avg", [4, 4, -1, 4], 0.5), said("b:avg", [5, 5, 5, -1])]
    rule = MeanOfCuts(None, LABELS, 100)
    mean = rule.take(cuts)
    shares = weigh([score.log_loss for score in cuts])
    assert mean.cuts == (Cut.parse("b:avg"), Cut.parse("a:avg"))  # the better one first
    assert mean.averaged
    assert mean.name == "b:avg and 1 more, averaged"
    assert (mean.cost, mean.dimensions, mean.strengths) == (1.0, 20, (0.1, 0.1))
    assert mean.logits == pytest.approx(shares[0] * cuts[0].logits + shares[1] * cuts[1].logits)
    assert mean.right.tolist() == [1, 1, 1, 1]  # each is wrong once, elsewhere
    assert mean.log_loss < min(score.log_loss for score in cuts)


def test_what_the_mean_would_be_by_other_images() -> None:
    """By images of which one cut knows nothing the other has all the weight."""
    cuts = [said("a:avg", [4, 4, -2, 4]), said("b:avg", [3, 3, 3, -1])]
    rule = MeanOfCuts(None, LABELS, 100)
    assert rule.right_by(cuts, np.array([2, 2, 2])).tolist() == [1, 1, 1, 0]
    assert rule.right_by(cuts, np.array([3, 3, 3])).tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(("images", "heads"), [(100, 8), (400, 8), (800, 4), (2000, 3)])
def test_of_more_images_fewer_heads_are_averaged(images: int, heads: int) -> None:
    rule = MeanOfCuts(Cut.parse("k9:avg"), LABELS, images)
    cuts = [said(f"k{k}:avg", [3, 3, 3, 3 - k / 100]) for k in range(10)]
    assert len(rule.take(cuts).cuts) == heads
    worth_it = [score.cuts[0].layer for score in rule.narrow(cuts)]
    assert worth_it == [*(f"k{k}" for k in range(heads)), "k9"]  # the default too, to be told


def test_one_cut_is_no_mean() -> None:
    alone = said("a:avg", [1, 2, 3, 4])
    assert MeanOfCuts(None, LABELS, 100).take([alone]) is alone
    bad = said("b:avg", [-9, -9, -9, -9])
    assert MeanOfCuts(None, LABELS, 100).take([alone, bad]) is alone
