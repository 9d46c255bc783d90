"""What a folder of predictions comes to: how many images of which class, and the least sure."""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from headstart.classifier import Prediction

MOST = 5  # least sure images that are remembered
NAMED = 20  # classes that are named
FAILED = "left out"


def measure_sureness(prediction: Prediction) -> float:
    """The probability of the likeliest class; where an image may be in several, of what is least
    sure to be so or not so; 1 less without an answer, and -1 for an image that could not be used.
    """
    if prediction.error is not None or not prediction.probabilities:
        return -1.0
    shares = list(prediction.probabilities.values())
    several = prediction.labels is not None
    sure = min(max(share, 1 - share) for share in shares) if several else shares[0]
    return sure - 1 if prediction.silence else sure


@dataclass
class Summary:
    """Of images as they are predicted; memory stays flat however many there are."""

    images: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    _least: list[tuple[float, int, Prediction]] = field(default_factory=list)

    def add(self, prediction: Prediction) -> None:
        """One more image."""
        self.images += 1
        if prediction.error is not None:
            self.counts[FAILED] += 1
            return
        said = [prediction.silence] if prediction.silence else prediction.labels
        self.counts.update([prediction.label or ""] if said is None else said or ["no class"])
        self._note((-measure_sureness(prediction), -self.images, prediction))

    def merge(self, other: "Summary") -> None:
        """The images of another one too, which come behind these."""
        for least, number, prediction in other._least:
            self._note((least, number - self.images, prediction))
        self.counts.update(other.counts)
        self.images += other.images

    def _note(self, row: tuple[float, int, Prediction]) -> None:
        if any(row[2].name == known.name for *_, known in self._least):  # a line of a table again
            return
        (heapq.heappush if len(self._least) < MOST else heapq.heappushpop)(self._least, row)

    @property
    def least_sure(self) -> list[Prediction]:
        """The least sure of those that could be used, the very least first."""
        return [prediction for *_, prediction in sorted(self._least, reverse=True)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as `parse` reads them."""
        least = [[sure, number, _to_dict(one)] for sure, number, one in self._least]
        return {"images": self.images, "counts": dict(self.counts), "least": least}

    @classmethod
    def parse(cls, told: dict[str, Any]) -> "Summary":
        """Raises KeyError, TypeError, ValueError for what `to_dict` did not give."""
        least = [(float(sure), int(number), _parse(one)) for sure, number, one in told["least"]]
        return cls(int(told["images"]), Counter(told["counts"]), least)

    def __str__(self) -> str:
        """As `245 images: 120 bees, 118 ants, 7 left out`."""
        ranked = self.counts.most_common()
        named = [f"{count:,} {name}" for name, count in ranked[:NAMED]]
        if len(ranked) > NAMED:
            rest = sum(count for _, count in ranked[NAMED:])
            named.append(f"{rest:,} of {len(ranked) - NAMED:,} other classes")
        return f"{self.images:,} image{'s' * (self.images != 1)}: {', '.join(named)}"


def _to_dict(prediction: Prediction) -> dict[str, Any]:
    """With the probabilities that are told of it."""
    told = {*(prediction.labels or ()), *dict(prediction.top(1))}
    shares = {name: share for name, share in prediction.probabilities.items() if name in told}
    return {"name": prediction.name, "label": prediction.label, "probabilities": shares,
            "labels": prediction.labels, "silence": prediction.silence}  # fmt: skip


def _parse(told: dict[str, Any]) -> Prediction:
    labels = None if told["labels"] is None else tuple(told["labels"])
    return Prediction(
        told["name"], told["label"], told["probabilities"], labels=labels, silence=told["silence"]
    )
