"""Labels that are perhaps wrong: who is suspicious, and what the list is worth."""

from pathlib import Path

import numpy as np
import pytest

from headstart.audit.labels import _estimate, believe, find_wrong_labels, flip, rank_labels
from headstart.audit.neighbours import compare_classes, find_neighbours, normalise
from headstart.data.item import Item
from headstart.metrics.task import MultiLabel, SingleLabel

TWO = SingleLabel(("ant", "bee"))


def test_belief_is_of_the_label_and_against_it_speaks_the_likeliest_other() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    belief, against = believe(probabilities, np.array([0, 2]))
    assert belief.tolist() == [0.7, 0.3]
    assert against.tolist() == [1, 1]


def test_of_several_classes_the_most_surely_wrong_one_speaks() -> None:
    probabilities = np.array([[0.9, 0.8, 0.1]])
    belief, against = believe(probabilities, np.array([[1, 0, 0]]))  # the second one is missing
    assert belief.tolist() == pytest.approx([0.2])
    assert against.tolist() == [1]


def test_flipped_labels_are_wrong_and_few() -> None:
    targets = np.arange(100) % 3
    rows, flipped = flip(targets, SingleLabel(("a", "b", "c")), 0.02, 0)
    assert len(rows) == 2
    assert np.flatnonzero(flipped != targets).tolist() == sorted(rows.tolist())
    several = np.zeros((50, 3))
    rows, flipped = flip(several, MultiLabel(("a", "b", "c")), 0.02, 0)
    assert (flipped != several).sum() == 1


def test_neighbours_of_another_class_are_suspicious() -> None:
    angles = np.array([0, 1, 2, 90, 91, 92, 1.5]) / 180 * np.pi
    vectors = normalise(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    shares = compare_classes(vectors, np.array([0, 0, 0, 1, 1, 1, 1]))
    assert shares.argmax() == 6
    assert shares[6] > 0.9
    assert (shares[:6] < 0.5).all()
    rows = compare_classes(vectors, np.array([0, 0, 0, 1, 1, 1, 1]), np.array([6, 0]))
    assert rows.tolist() == pytest.approx(shares[[6, 0]].tolist())
    near = find_neighbours(vectors, 2).near
    assert set(near[6].tolist()) == {1, 2}


def made_up(wrong: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two clear classes, some labels wrong: vectors, targets, probabilities, which are wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(1000) % 2
    values = rng.normal(0, 1, (1000, 8)) + 4 * np.eye(8)[truth]
    logits = 2 * (values[:, 1] - values[:, 0])
    probabilities = np.stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))], axis=1)
    rows = rng.choice(1000, wrong, replace=False)
    targets = truth.copy()
    targets[rows] = 1 - targets[rows]
    return normalise(values), targets, probabilities, rows


def test_wrong_labels_come_first_and_their_share_is_told() -> None:
    vectors, targets, probabilities, rows = made_up(50)
    ranking = rank_labels(vectors, targets, probabilities, TWO)
    assert ranking.planted >= 100
    listed = set(ranking.order[: ranking.listed].tolist())
    right = len(listed & set(rows.tolist()))
    assert right >= 45
    assert ranking.share == pytest.approx(right / ranking.listed, abs=0.15)
    items = [Item(Path(f"{i}.jpg"), f"{i}.jpg", (TWO.classes[t],)) for i, t in enumerate(targets)]
    found = find_wrong_labels(items, targets, probabilities, TWO, ranking)
    assert len(found) == ranking.listed
    assert found[0].details["label"] != found[0].details["suggested"]
    assert "are expected to be wrong" in found[0].evidence
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)


def test_where_all_labels_are_right_few_are_listed() -> None:
    vectors, targets, probabilities, _ = made_up(0)
    assert rank_labels(vectors, targets, probabilities, TWO).listed <= 5


def test_the_list_ends_where_half_of_it_would_be_wrong() -> None:
    scores = np.concatenate([np.full(10, 0.99), np.full(90, 0.1)])
    listed, expected = _estimate(scores, np.full(50, 0.99))
    assert (listed, expected) == (21, pytest.approx(10.5, abs=0.1))  # 10 seen, of 95% that are
    assert _estimate(np.linspace(0.5, 0, 100), np.full(50, 0.99)) == (0, 0.0)


def test_where_classes_cannot_be_told_apart_nothing_is_listed() -> None:
    vectors, targets, probabilities, _ = made_up(0)
    targets = np.random.default_rng(1).integers(0, 2, 1000)
    assert rank_labels(vectors, targets, probabilities, TWO).listed == 0


def test_what_no_head_has_judged_is_not_suspicious() -> None:
    vectors, targets, probabilities, rows = made_up(50)
    probabilities[rows] = np.nan
    ranking = rank_labels(vectors, targets, probabilities, TWO)
    assert not np.isnan(ranking.scores).any()


def test_the_ranking_beats_cleanlab_on_the_same_probabilities() -> None:
    rank = pytest.importorskip("cleanlab.rank")
    gained = []
    for seed in range(5):
        vectors, targets, probabilities, rows = made_up(50, seed)
        wrong = np.isin(np.arange(1000), rows)
        theirs = -rank.get_label_quality_scores(targets, probabilities)
        ours = rank_labels(vectors, targets, probabilities, TWO).scores
        gained.append(average_precision(ours, wrong) - average_precision(theirs, wrong))
    assert np.mean(gained) > -0.005  # here the probabilities know all that there is to know


def average_precision(scores: np.ndarray, wrong: np.ndarray) -> float:
    hits = wrong[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def test_labels_that_a_person_has_found_right_are_not_listed() -> None:
    vectors, targets, probabilities, _ = made_up(20)
    before = rank_labels(vectors, targets, probabilities, TWO)
    settled = np.zeros(1000, bool)
    settled[before.order[:5]] = True
    after = rank_labels(vectors, targets, probabilities, TWO, settled=settled)
    assert not set(after.order.tolist()) & set(before.order[:5].tolist())
    assert after.listed <= before.listed
    assert after.share is None or before.share is None or after.share <= before.share + 0.1
