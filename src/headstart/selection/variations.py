"""Other ways to feed the chosen cuts: resizing, a larger size, flips; each kept where it gains."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart.backbones.catalogue import backbone
from headstart.errors import HeadstartError
from headstart.features.extract import Features
from headstart.heads.examples import Labels
from headstart.recipe import Recipe
from headstart.selection.board import Board, Variation
from headstart.selection.score import CutScore, are_enough

VARIED = 400  # images for what needs another pass of the backbone
LEAST = 100  # images below which measuring tells nothing
PROMISING = 0.5  # standard errors that something dear must gain on half of the images to go on
LARGER = 9 / 7  # of the size that the backbone was trained on
PROBES = 8  # images by which it is seen whether resizing in another way changes anything

# Features of the first so many images under changes of the recipe, as many as the time allows.
Measure = Callable[[dict[str, Any], int], Features]
Score = Callable[[np.ndarray, CutScore, dict[str, Any]], CutScore]


@dataclass(frozen=True)
class Variations:
    """What the variations of one search share.

    given: the recipe as the user gave it. thorough: nothing is passed over, nor judged on fewer
    images. total: images that will be trained on, of which these are a sample. measure, score: the
    search's own. references: by number of images, the best so far and its score there.
    """

    items: Sequence[Any]
    labels: Labels
    given: Recipe
    thorough: bool
    total: int
    measure: Measure
    score: Score
    references: dict[int, tuple[CutScore, CutScore]] = field(default_factory=dict)

    def search(self, board: Board, values: np.ndarray) -> None:
        """Try them in turn; `values` (N, V, D) are the features of the board's best."""
        lost_by_cropping = False
        for changes in self._candidates():
            if changes.get("resize") == "pad" and not (self.thorough or lost_by_cropping):
                continue  # worth a try where cropping plainly loses what is at the border
            name = ", ".join(f"{key} {value}" for key, value in changes.items())
            if board.skips(name):
                continue
            assert board.best is not None
            outcome = self._compare(board.best, values, {**board.best.changes, **changes})
            if outcome is None:
                board.untried.append(name)
                continue
            if outcome.score is not None:
                board.varied.append(outcome.score)
            if outcome.decided is not None:
                board.variations.append(outcome.decided)
            if changes.get("resize") == "crop":
                lost_by_cropping = outcome.gain < -1
            if outcome.values is not None:
                board.best, values = outcome.score, outcome.values

    @property
    def are_few(self) -> bool:
        """Then all are looked at, and a larger size is taken without proof: it was better on nearly
        every set, which so few images cannot show.
        """
        return self.total <= VARIED

    def _compare(
        self, best: CutScore, values: np.ndarray, changes: dict[str, Any]
    ) -> "_Outcome | None":
        """None if there was no time for it. Half of the images tell of most changes that they are
        not worth the other half.
        """
        count = len(values) if self.thorough else min(VARIED, len(values))
        half = count // 2
        told = are_enough(self.labels.take(np.arange(half)), LEAST)  # not with hundreds of classes
        if self.thorough or self.are_few or not told:
            half = count
        # Resizing in another way costs nothing, more views do, and of many images a larger size.
        new = changes.keys() - best.changes.keys()
        dearer = "views" in new or ("size" in new and not self.are_few)
        for number in (half, count):
            reference = self._reference(values[:number], best)
            features = self.measure({"cut": best.cuts, **changes}, number)
            if len(features.items) < number:
                # Another geometry refuses an image: not the same images, nothing to compare.
                return _Outcome() if features.bad else None
            score = self.score(features.values, best, changes)
            gain = reference.loses_to(score)
            if number == count:
                decided = Variation(reference, score, 1 if dearer else 0)
                taken = gain > decided.least
                return _Outcome(score, gain, features.values if taken else None, decided)
            if gain <= (PROMISING if dearer else 0):
                return _Outcome(score, gain)
        raise AssertionError("the last number is the count")

    def _reference(self, values: np.ndarray, best: CutScore) -> CutScore:
        """The best so far on these images: most variations are compared with the same."""
        known = self.references.get(len(values))
        if known is None or known[0] is not best:
            known = best, self.score(values, best, best.changes)
            self.references[len(values)] = known
        return known[1]

    def _candidates(self) -> Iterator[dict[str, Any]]:
        """Only of what the recipe leaves at its default; what costs prediction nothing first."""
        if self.given.resize == "squash" and self._resizing_matters():
            yield {"resize": "crop"}
            yield {"resize": "pad"}
        if self.given.size is None:
            yield {"size": round(backbone(self.given.backbone).size * LARGER / 32) * 32}
        # The more images, the less there is to gain from views, and the more they cost.
        if (self.thorough or self.are_few) and not self.given.augmentation.horizontal_flip:
            yield {"views": 2, "augmentation": "flip"}

    def _resizing_matters(self) -> bool:
        """Whether resizing in another way makes other pixels."""
        squash = self.given.geometry(64)
        pad = self.given.changed(resize="pad").geometry(64)
        for item in self.items[:: max(1, len(self.items) // PROBES)]:
            try:
                if not np.array_equal(item.prepare(squash), item.prepare(pad)):
                    return True
            except (HeadstartError, OSError):  # unusable: named where the features are computed
                continue
        return False


@dataclass(frozen=True)
class _Outcome:
    """Of one variation: its score, standard errors gained, its features where it is taken, and how
    that was decided, if on all images that it may take.
    """

    score: CutScore | None = None
    gain: float = 0.0
    values: np.ndarray | None = None
    decided: Variation | None = None
