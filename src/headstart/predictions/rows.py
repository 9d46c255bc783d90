"""A prediction as the row of a table and as an object in JSON: one form for screen and files."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from headstart.classifier import NONE_OF_THESE, NOT_SURE, Classifier, Prediction

ANSWERED, FAILED = "answered", "failed"
Row = tuple[str, str]  # an image's name, and what became of it: ANSWERED, FAILED, or its silence


@dataclass(frozen=True)
class Form:
    """What a row tells. top_k: how many classes. asked: whether an answer may be taken back.
    several: whether an image may be in several classes.

    Where an answer may be taken back, or be of several classes, `label` and `probability` are what
    is said ("a;b", "0.9;0.8"), and from `label_1` on stand the likeliest classes, said or not; else
    `label` is the likeliest, and the next is `label_2`.
    """

    top_k: int = 1
    asked: bool = False
    several: bool = False

    @property
    def columns(self) -> list[str]:
        """The names of the cells."""
        first = 1 if self._apart else 2
        more = [
            f"{part}_{k}" for k in range(first, self.top_k + 1) for part in ("label", "probability")
        ]
        answer = ["answer"] if self.asked else []
        return ["image", *answer, "label", "probability", *more, "error"]

    @property
    def _apart(self) -> bool:
        """Whether what is said and what is likeliest are told apart."""
        return self.asked or self.several

    def cells(self, prediction: Prediction) -> list[Any]:
        """One for each column: text, a probability, or None for an empty one."""
        cells: list[Any] = []
        if self._apart:
            cells = [prediction.label, prediction.probability]
        if self.several and prediction.labels is not None:
            shares = (prediction.probabilities[label] for label in prediction.labels)
            cells[1] = ";".join(f"{share:.6f}" for share in shares) or None
        for pair in prediction.top(self.top_k):
            cells += pair
        cells += [None] * (2 * (self.top_k + self._apart) - len(cells))
        said = None if prediction.error else prediction.silence or ANSWERED
        return [prediction.name, *[said] * self.asked, *cells, prediction.error]

    def describe(self, prediction: Prediction) -> dict[str, Any]:
        """The same as plain JSON types, with the classes of an image in several as a list."""
        row: dict[str, Any] = {"image": prediction.name, "label": prediction.label}
        if prediction.error is not None:
            row["error"] = prediction.error
            return row
        if self.asked:
            row["answer"] = prediction.silence or ANSWERED
        if prediction.typicality is not None:
            row["typicality"] = prediction.typicality
        row["probability"] = prediction.probability
        if prediction.labels is not None:
            row["labels"] = list(prediction.labels)
        told = {*(prediction.labels or ()), *dict(prediction.top(max(self.top_k, 1)))}
        row["probabilities"] = {k: v for k, v in prediction.probabilities.items() if k in told}
        return row


@dataclass(frozen=True)
class Asked:
    """What is asked of a classifier, see `Classifier.predict`, and how many classes are named."""

    top_k: int = 1
    tta: int = 1
    accuracy: float | None = None
    reject: float | None = None

    @property
    def silent(self) -> bool:
        """Whether an answer may be taken back."""
        return self.accuracy is not None or self.reject is not None

    def form(self, classifier: Classifier) -> Form:
        """Of the rows."""
        top_k = min(self.top_k, len(classifier.classes))
        return Form(top_k, self.silent, classifier.task.multilabel)


@dataclass
class Tally:
    """How many images were answered, not answered, and could not be used."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, prediction: Prediction) -> None:
        """One more image."""
        self.counts[FAILED if prediction.error else prediction.silence or ANSWERED] += 1

    def note(self, rows: Iterable[Row]) -> Iterator[str]:
        """Count the rows of an earlier call, and hand on their images' names."""
        for name, kind in rows:
            self.counts[kind] += 1
            yield name

    @property
    def images(self) -> int:
        """All of them."""
        return self.counts.total()

    @property
    def failed(self) -> int:
        """Those that could not be used."""
        return self.counts[FAILED]

    @property
    def usable(self) -> dict[str, int]:
        """Of all others those answered, not sure and none of these."""
        return {kind: self.counts[kind] for kind in (ANSWERED, NOT_SURE, NONE_OF_THESE)}
