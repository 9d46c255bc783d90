"""A prediction as the row of a table and as an object in JSON: one form for screen and files."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from headstart.classifier import NONE_OF_THESE, NOT_SURE, Prediction

ANSWERED, FAILED = "answered", "failed"
Row = tuple[str, str]  # an image's name, and what became of it: ANSWERED, FAILED, or its silence


@dataclass(frozen=True)
class Form:
    """What a row tells. top_k: how many classes. asked: whether an answer may be taken back.
    several: whether an image may be in several classes.
    """

    top_k: int = 1
    asked: bool = False
    several: bool = False

    @property
    def columns(self) -> list[str]:
        """The names of the cells."""
        more = [
            f"{part}_{k}" for k in range(2, self.top_k + 1) for part in ("label", "probability")
        ]
        answer = ["answer"] if self.asked else []
        return ["image", *answer, "label", "probability", *more, "error"]

    def cells(self, prediction: Prediction) -> list[Any]:
        """One for each column: text, a probability, or None for an empty one."""
        cells: list[Any] = []
        if prediction.labels is not None:
            cells = [prediction.label, None]
        else:
            for name, probability in prediction.top(self.top_k):
                cells += [name, probability]
        if prediction.silence is not None:
            cells[0] = None  # the class that was not said
        cells += [None] * (2 * self.top_k - len(cells))
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
        row["probabilities"] = dict(prediction.top(max(self.top_k, 1)))
        return row


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
