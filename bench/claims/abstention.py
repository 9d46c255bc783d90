"""What is said of answers and of "none of these": draws of real sets are trainings, whose remainder
stands for new images.
"""

from collections.abc import Iterator

import numpy as np

from claims import Draws, claim
from claims._sets import draw, examples_of
from headstart.abstention.abstention import FOLDS
from headstart.abstention.novelty import Sample
from headstart.abstention.selective import Answers, OutOfFold
from headstart.heads import linear
from headstart.heads.examples import Examples
from headstart.metrics.intervals import interval

SETS = ("hymenoptera", "clothing", "sign_language_digits", "cats_and_dogs_filtered")
ACCURACIES = (0.9, 0.95, 0.99)
RATES = (0.02, 0.05, 0.1)
MOST = 400  # images of a training, and at most three fifths of a set


def _trainings(draws: Draws) -> Iterator[tuple[str, int, Examples, Examples]]:
    """Set, number, training images and new ones."""
    for name in SETS:
        every = examples_of(draws.sets / name)
        for number in range(draws.repeats):
            seen, unseen = draw(every, min(MOST, len(every) * 3 // 5), draws.rng)
            yield name, number, seen, unseen


def _answers(draws: Draws) -> Iterator[tuple[str, Answers, int, int]]:
    """Set, what is told, how many new images are answered and how many of these rightly."""
    for name, seed, seen, unseen in _trainings(draws):
        fit = linear.fit(seen, seed=seed)
        known = OutOfFold.of(fit.out_of_fold, seen.targets)
        said = fit.head().probabilities(unseen.values[:, 0])
        predicted, confidence = said.argmax(axis=1), said.max(axis=1)
        for accuracy in ACCURACIES:
            told = known.answer(accuracy)
            answered = confidence >= told.thresholds[predicted]
            right = answered & (predicted == unseen.targets)
            yield name, told, int(answered.sum()), int(right.sum())


@claim("accuracy of answers within its interval", (0.95, 1.0), repeats=100)
def within_interval(draws: Draws) -> dict[str, np.ndarray]:
    """The accuracy asked for is not above the 95% interval of the answers to new images."""
    outcomes: dict[str, list[bool]] = {}
    for name, told, answered, right in _answers(draws):
        _, high = interval(right, answered) or (0.0, 1.0)
        outcomes.setdefault(f"{told.accuracy:.0%} of {name}", []).append(high >= told.accuracy)
    return {key: np.array(values) for key, values in outcomes.items()}


@claim("interval of the accuracy of answers", (0.93, 1.0), repeats=100)
def covered(draws: Draws) -> dict[str, np.ndarray]:
    """What is told of the answers and what new images say of them differ by no more than both
    intervals allow (Newcombe 1998, method 10).
    """
    outcomes: dict[str, list[bool]] = {}
    for name, told, answered, right in _answers(draws):
        new = interval(right, answered)
        if told.accuracy_interval is None or new is None:
            continue
        share, found = told.right / told.answered, right / answered
        (low, high), (low_new, high_new) = told.accuracy_interval, new
        below = np.hypot(share - low, high_new - found)
        above = np.hypot(high - share, found - low_new)
        held = -below <= found - share <= above
        outcomes.setdefault(f"{told.accuracy:.0%} of {name}", []).append(bool(held))
    return {key: np.array(values) for key, values in outcomes.items()}


@claim("accuracy of answers on average", (0.0, 0.1), repeats=40)
def on_average(draws: Draws) -> dict[str, np.ndarray]:
    """By how much the answers to new images are more often right than was asked for, over trainings
    that answer any.
    """
    outcomes: dict[str, list[float]] = {}
    for name, told, answered, right in _answers(draws):
        if answered:
            beyond = right / answered - told.accuracy
            outcomes.setdefault(f"{told.accuracy:.0%} of {name}", []).append(beyond)
    return {key: np.array(values) for key, values in outcomes.items()}


@claim("false alarms of none of these", (-1.0, 0.0), repeats=100)
def false_alarms(draws: Draws) -> dict[str, np.ndarray]:
    """By how much more new images of the classes trained on are refused than was said."""
    outcomes: dict[str, list[float]] = {}
    for name, seed, seen, unseen in _trainings(draws):
        sample = Sample(seen.values[:, 0], seed)
        known = sample.learn(seen.folds(FOLDS, seed)[sample.rows])
        assert known is not None
        typicality = known.typicality(known.distances(unseen.values[:, 0]))
        for rate in RATES:
            beyond = float((typicality <= rate).mean()) - rate
            outcomes.setdefault(f"{rate:.0%} of {name}", []).append(beyond)
    return {key: np.array(values) for key, values in outcomes.items()}


@claim("interval of false alarms", (0.93, 1.0), repeats=100)
def interval_of_false_alarms(draws: Draws) -> dict[str, np.ndarray]:
    """The interval told beside a share of false alarms ends above that of new images."""
    outcomes: dict[str, list[bool]] = {}
    for name, seed, seen, unseen in _trainings(draws):
        sample = Sample(seen.values[:, 0], seed)
        known = sample.learn(seen.folds(FOLDS, seed)[sample.rows])
        assert known is not None
        typicality = known.typicality(known.distances(unseen.values[:, 0]))
        for rate in RATES:
            refused = int((typicality <= rate).sum())
            low, _ = interval(refused, len(unseen)) or (0.0, 1.0)
            held = low <= known.false_alarms(rate)[1]
            outcomes.setdefault(f"{rate:.0%} of {name}", []).append(held)
    return {key: np.array(values) for key, values in outcomes.items()}
