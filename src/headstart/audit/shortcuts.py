"""Shortcuts: what should not matter, and gives the class away all the same.

A small classifier sees one property alone, such as the file format or the border, and is
cross-validated. What it reaches beyond guessing the most common class, a network can reach as well,
and fail where the property is another one. Of every set something can be guessed from light and
ground; a property is named only if it surely takes away a good part of the errors of guessing.
Letters: N images, C classes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.audit.findings import Finding
from headstart.audit.pixels import EDGES, SIDES, Looks
from headstart.data.cells import NUMBERED
from headstart.data.item import Item
from headstart.heads import linear
from headstart.heads.examples import Examples
from headstart.metrics.intervals import CROSSED, Interval, interval
from headstart.metrics.task import Task

# Share of the errors of guessing that a named property takes away at least; of four sets as they
# are no property takes more than 0.12.
DECISIVE = 0.3
LEAST = 40  # images
BINS = 24  # of a number, with as many images in each as in the others
KINDS = 30  # of a word, the most common ones
STRENGTHS = (0.01,)
FOLDS = 5

# In the order in which they are named where several say the same: the plainest first.
NUMBERS: dict[str, tuple[str, ...]] = {
    "size": ("height", "width"),
    "border": EDGES,
    "brightness": ("mean", "p5", "p95", "contrast"),
    "blur": ("sharpness",),
    "ring": SIDES,
}
WORDS: dict[str, tuple[str, ...]] = {"format": ("format",), "camera": ("camera",)}
CALLED = {
    "format": "the file format", "camera": "the camera named in EXIF", "size": "the size in pixels",
    "aspect": "the proportions", "order": "the number in the file name", "border": "the border",
    "brightness": "the brightness", "blur": "the sharpness",
    "ring": "what is around the subject",
}  # fmt: skip
INSIDE = {"border", "brightness"}  # what the ring shows too
# What a network sees is named before what goes with it, and light before the border, which has it
# too, if it takes away nearly as many errors.
BEHIND = {"camera": 0.2, "order": 0.2, "border": 0.1}


@dataclass(frozen=True)
class Guess:
    """What one property alone gives. subject: the class against all others, None for all classes.
    majority: what guessing the most common one would reach.
    """

    name: str
    accuracy: float
    interval: Interval
    majority: float
    subject: str | None = None

    @property
    def decisive(self) -> float:
        """The share of the errors of guessing that it takes away, at least."""
        return (self.interval[0] - self.majority) / max(1 - self.majority, 1e-9)


def find_shortcuts(
    items: Sequence[Item], looks: Looks, task: Task, targets: np.ndarray,
    groups: np.ndarray | None = None,
) -> list[Finding]:  # fmt: skip
    """The properties that give a class away, the surest first. groups: (N,) as folds keep them."""
    guesses = [guess for guess in measure_all(items, looks, task, targets, groups)
               if guess.decisive >= DECISIVE]  # fmt: skip
    if any(guess.name in INSIDE for guess in guesses):
        guesses = [guess for guess in guesses if guess.name != "ring"]
    guesses.sort(key=lambda guess: BEHIND.get(guess.name, 0) - guess.decisive)
    return [_describe(guess) for guess in guesses]


def measure_all(
    items: Sequence[Item], looks: Looks, task: Task, targets: np.ndarray,
    groups: np.ndarray | None = None,
) -> list[Guess]:  # fmt: skip
    """What each property gives, of all classes or of the one that it tells best. Properties that
    are alike in all images are left out; all are where there are too few images.
    """
    rows = np.flatnonzero(looks.known)
    if len(rows) < LEAST:
        return []
    looks = Looks(looks.numbers[rows], looks.thumbs[rows], looks.known[rows])
    labels = Examples(
        values=np.zeros((len(rows), 1, 1), np.float32), targets=targets[rows], task=task,
        groups=None if groups is None else groups[rows],
    )  # fmt: skip
    if labels.group_count < FOLDS:
        return []
    properties = list_properties([items[i] for i in rows.tolist()], looks)
    return [
        _guess(name, replace(labels, values=columns[:, None]))
        for name, columns in properties.items()
        if columns.shape[1] > 1
    ]


def list_properties(items: Sequence[Item], looks: Looks) -> dict[str, np.ndarray]:
    """By name (N, columns) of 0 and 1, for a linear head to see: no order of sizes is supposed."""
    properties = {name: _one_of(looks.of(column)) for name, (column,) in WORDS.items()}
    sides = looks.of("height", "width")
    properties["size"] = _bin(sides)
    properties["aspect"] = _bin(np.round(sides[:, 1] / np.maximum(sides[:, 0], 1), 2)[:, None])
    properties["order"] = _bin(np.array([_number(item) for item in items])[:, None])
    for name in ("border", "brightness", "blur", "ring"):
        columns = NUMBERS[name]
        properties[name] = _bin(looks.of(*columns).reshape(len(items), len(columns)))
    return properties


def _number(item: Item) -> float:
    """The last number in a file's name; -1 where there is none, or only that of its row in a table,
    which nobody has given it.
    """
    found = [] if NUMBERED.search(item.path.stem) else re.findall(r"\d{1,15}", item.path.stem)
    return float(found[-1]) if found else -1.0


def _one_of(words: np.ndarray) -> np.ndarray:
    kinds, counts = np.unique(words, return_counts=True)
    common = kinds[np.argsort(-counts, kind="stable")][:KINDS]
    return (words[:, None] == common[None]).astype(np.float32)


def _bin(numbers: np.ndarray) -> np.ndarray:
    """(N, K) to (N, up to K * BINS)."""
    columns = []
    for values in numbers.T:
        limits = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
        place = np.searchsorted(limits, values)
        columns.append((place[:, None] == np.unique(place)[None]).astype(np.float32))
    varying = [column for column in columns if column.shape[1] > 1]
    return np.concatenate(varying or columns[:1], axis=1)


def _guess(name: str, examples: Examples) -> Guess:
    """The best of what the property tells of all classes, and of each against the others."""
    crossed = linear.cross_validate(examples, folds=FOLDS, strengths=STRENGTHS)
    known = ~np.isnan(crossed.logits[:, 0])
    task, targets = examples.task, examples.targets[known]
    probabilities = task.loss.probabilities(crossed.logits[known])
    guesses: list[Guess] = []

    def add(right: np.ndarray, majority: float, subject: str | None = None) -> None:
        hits, n = int(right.sum()), len(right)
        told = interval(hits, n, worth=CROSSED)
        if told is not None:
            guesses.append(Guess(name, hits / n, told, majority, subject))

    if task.multilabel:
        said, truth = probabilities > 0.5, targets == 1
    else:
        answer = probabilities.argmax(axis=1)
        add(answer == targets, float(task.class_counts(targets).max()) / max(len(targets), 1))
        numbers = np.arange(len(task.classes))
        said, truth = answer[:, None] == numbers, targets[:, None] == numbers
    if task.multilabel or len(task.classes) > 2:
        for number, subject in enumerate(task.classes):
            share = float(truth[:, number].mean())
            add(said[:, number] == truth[:, number], max(share, 1 - share), subject)
    if not guesses:
        return Guess(name, 0.0, (0.0, 0.0), 1.0)
    return max(guesses, key=lambda guess: guess.decisive)


def _describe(guess: Guess) -> Finding:
    low, high = guess.interval
    whom = "the class" if guess.subject is None else f"whether it is {guess.subject}"
    details = {
        "property": guess.name, "accuracy": round(guess.accuracy, 4),
        "interval": [round(low, 4), round(high, 4)], "majority": round(guess.majority, 4),
    }  # fmt: skip
    if guess.subject is not None:
        details["class"] = guess.subject
    return Finding(
        "shortcut", "warning", (), guess.decisive,
        f"{CALLED[guess.name]} alone tells {whom} in {guess.accuracy:.1%} of the images "
        f"({low:.1%} to {high:.1%}); guessing reaches {guess.majority:.1%}",
        "make it alike in all classes, or judge by images in which it is another: what is learned "
        "may be this",
        details,
    )  # fmt: skip
