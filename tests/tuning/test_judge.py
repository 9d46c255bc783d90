"""On which images it is asked whether fine-tuning pays, and what is said of them."""

import numpy as np
import pytest

from headstart.heads.examples import Labels
from headstart.metrics.comparison import compare
from headstart.metrics.task import SingleLabel
from headstart.tuning.judge import (
    Stage,
    can_choose,
    gains,
    judge,
    judge_without_gain,
    loses_plainly,
    part_images,
    score,
)

LABELS = np.arange(200) % 2


def labels_of(count: int, groups: np.ndarray | None = None) -> Labels:
    return Labels(targets=np.arange(count) % 2, task=SingleLabel(("a", "b")), groups=groups)


def sure(labels: np.ndarray, of_own: float) -> np.ndarray:
    """(N, 2) probabilities that give each image's own class so much."""
    return np.where(np.eye(2)[labels] == 1, of_own, 1 - of_own)


def test_every_image_learns_judges_or_stays_unseen() -> None:
    parts = part_images(labels_of(100), seed=0)
    assert [len(part) for part in (parts.learning, parts.judging, parts.unseen)] == [60, 20, 20]
    every = np.concatenate([parts.learning, parts.judging, parts.unseen])
    assert sorted(every) == list(range(100))
    assert np.bincount(LABELS[parts.unseen]).tolist() == [10, 10]
    assert not np.array_equal(part_images(labels_of(100), seed=1).unseen, parts.unseen)


def test_no_group_is_in_two_parts() -> None:
    groups = np.arange(100) // 4
    parts = part_images(labels_of(100, groups), seed=0)
    apart = [set(groups[part]) for part in (parts.learning, parts.judging, parts.unseen)]
    assert sum(map(len, apart)) == len(set.union(*apart)) == 25


@pytest.mark.parametrize(("groups", "enough"), [(1, False), (3, False), (4, True)])
def test_four_groups_are_needed_to_choose_by(groups: int, enough: bool) -> None:
    labels = labels_of(40, np.arange(40) // 2 % groups)
    assert can_choose(labels, part_images(labels, seed=0)) == enough


def test_single_images_are_groups_of_their_own() -> None:
    assert can_choose(labels_of(5), part_images(labels_of(5), seed=0))
    assert not can_choose(labels_of(3), part_images(labels_of(3), seed=0))


def test_the_score_of_probabilities() -> None:
    worth = score(np.array([[0.5, 0.5], [0.75, 0.25]]), np.array([0, 1]))
    assert worth.log_loss == pytest.approx((np.log(2) + np.log(4)) / 2)
    assert worth.accuracy == 0.5


def test_a_stage_must_take_two_hundredths_off_the_loss() -> None:
    before = sure(LABELS, np.exp(-1.0))
    assert gains(sure(LABELS, np.exp(-0.97)), before, LABELS)
    assert not gains(sure(LABELS, np.exp(-0.99)), before, LABELS)
    assert not gains(np.full((200, 2), np.nan), before, LABELS)


def test_losing_by_chance_is_not_losing_plainly() -> None:
    before = sure(LABELS, 0.8)
    worse = before.copy()
    worse[:100] = sure(LABELS[:100], 0.7)  # half the images lose, none wins
    assert loses_plainly(worse, before, LABELS)
    worse[4:] = before[4:]  # four images lose, four win
    worse[4:8] = sure(LABELS[4:8], 0.88)
    assert not loses_plainly(worse, before, LABELS)
    assert not loses_plainly(before, worse, LABELS)


def test_the_verdict_needs_more_than_chance() -> None:
    unsure = sure(LABELS, 0.6)
    noisy = unsure.copy()
    noisy[::2] = unsure[::2] + np.tile([[0.01, -0.01], [-0.01, 0.01]], (50, 1))
    better = sure(LABELS, 0.9)
    better[:10] = sure(LABELS[:10], 0.8)
    verdict = judge(better, unsure, LABELS)
    assert verdict.pays
    assert "on 200 training images unseen by both" in verdict.text
    verdict = judge(noisy, unsure, LABELS)
    assert not verdict.pays
    assert "The linear head is kept" in verdict.text
    assert compare(better, unsure, LABELS).verdict == "the data cannot tell"  # accuracy is alike


def test_a_loss_bought_with_accuracy_does_not_pay() -> None:
    before, after = sure(LABELS, 0.6), sure(LABELS, 0.95)
    after[:2] = sure(LABELS[:2], 0.49)
    assert score(after, LABELS).log_loss < score(before, LABELS).log_loss / 2
    assert not judge(after, before, LABELS).pays


def test_why_no_stage_was_kept() -> None:
    stages = [Stage("one", 2, 4, np.nan, 0.5, 1.0, False), Stage("two", 4, 4, 0.3, 0.9, 1.0, False)]
    verdict = judge_without_gain(stages, sure(LABELS, 0.75), LABELS)
    assert not verdict.pays
    assert verdict.text == (
        "Fine-tuning does not pay here: of 2 stages none took 2% off the log loss of 200 training "
        "images that it had not seen (0.288, at best 0.300; accuracy 100.0%, then 90.0%). The "
        "linear head is kept."
    )
    assert judge_without_gain([], sure(LABELS, 0.75), LABELS).text.startswith("No stage")
