"""What is taken of the cuts that were measured: one of them, or all in the share of their worth.

A linear head is trained for each cut and their logits averaged. Other heads have one cut, or a few
joined. Letters: N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headstart.backbones.cut import Cut
from headstart.heads.examples import Labels
from headstart.heads.fusion import average, weigh
from headstart.selection.score import (
    PARTS,
    CutScore,
    choose_cheapest,
    choose_joined,
    score_logits,
)

PLAINLY = 2  # standard errors by which a cut must lose on half of the images to be out
HEADS = (3, 8)  # that are averaged; the more images, the fewer
ROWS = 3200  # images times heads beyond which there are no more than the fewest


class Rule(Protocol):
    """default: the cut that serves where nothing is measured. scores: of cuts by themselves and
    joined, all on the same N images.
    """

    @property
    def default(self) -> Cut | None: ...

    def take(self, scores: Sequence[CutScore]) -> CutScore:
        """What serves by these scores."""

    def right_by(self, scores: Sequence[CutScore], rows: np.ndarray) -> np.ndarray:
        """(N,) whether images are right by what would be taken if `rows` had been the images, some
        of them perhaps twice.
        """

    def narrow(self, scores: Sequence[CutScore]) -> list[CutScore]:
        """Those by half of the images that are worth the other half."""


@dataclass(frozen=True)
class OneCut:
    """The last layer, unless it loses to the best by more than one standard error (of the paired
    difference in log loss, image by image): of 100 to 400 images of easy sets the others were
    chosen by luck, and were worse on new images. Then within one standard error of the best the
    earliest and cheapest, of those that cost the same the best; and a further cut beside the best
    one for each that gains more than a standard error.
    """

    default: Cut | None

    def take(self, scores: Sequence[CutScore]) -> CutScore:
        """See Rule."""
        singles = [score for score in scores if len(score.cuts) == 1]
        best, anchor = choose_cheapest(singles), min(singles, key=lambda score: score.log_loss)
        own = next((score for score in singles if score.cuts == (self.default,)), None)
        if own is not None and own.loses_to(anchor) <= 1:
            best = own
        for parts in range(2, PARTS + 1):
            joined = [score for score in scores if len(score.cuts) == parts]
            anchor = choose_joined(joined, anchor) or anchor
        return anchor if best.loses_to(anchor) > 1 and len(anchor.cuts) > 1 else best

    def right_by(self, scores: Sequence[CutScore], rows: np.ndarray) -> np.ndarray:
        """See Rule."""
        taken = self.take([score.take(rows) for score in scores]).cuts
        return next(score.right for score in scores if score.cuts == taken)

    def narrow(self, scores: Sequence[CutScore]) -> list[CutScore]:
        """See Rule. The default stays, for what is chosen is told beside it."""
        best = min(scores, key=lambda score: score.log_loss)
        return [
            score for score in scores
            if score.loses_to(best) <= PLAINLY or score.cuts == (self.default,)
        ]  # fmt: skip


@dataclass(frozen=True)
class MeanOfCuts:
    """The mean of the logits of heads on single cuts, weighed by their losses (see heads.fusion):
    better than the best of them, and hardly a choice, so it flatters itself hardly.

    labels: of the images that the cuts are scored on, or of more. images: that will be trained on;
    of thousands three heads are as good as eight, and eight would take longer than the features.
    """

    default: Cut | None
    labels: Labels
    images: int

    @property
    def most(self) -> int:
        """Heads that are averaged."""
        fewest, most = HEADS
        return min(most, max(fewest, ROWS // self.images))

    def take(self, scores: Sequence[CutScore]) -> CutScore:
        """See Rule. The cuts are told in the order of their shares."""
        shares = weigh([score.log_loss for score in scores], self.most)
        order = [int(k) for k in np.argsort(-shares, kind="stable") if shares[k]]
        members = [scores[k] for k in order]
        if len(members) == 1:
            return members[0]
        return score_logits(
            average([score.logits for score in members], shares[order]),
            self.labels.take(np.arange(members[0].images)),
            tuple(score.cuts[0] for score in members), {},
            max(score.cost for score in members), sum(score.dimensions for score in members),
            tuple(score.strengths[0] for score in members),
        )  # fmt: skip

    def right_by(self, scores: Sequence[CutScore], rows: np.ndarray) -> np.ndarray:
        """See Rule."""
        shares = weigh([float(score.losses[rows].mean()) for score in scores], self.most)
        logits = average([score.logits for score in scores], shares)
        task, known = self.labels.task, ~np.isnan(logits[:, 0])
        right = np.full(len(logits), np.nan)
        targets = self.labels.targets[: len(logits)][known]
        right[known] = task.are_right(task.loss.probabilities(logits[known]), targets)
        return right

    def narrow(self, scores: Sequence[CutScore]) -> list[CutScore]:
        """See Rule."""
        best = sorted(scores, key=lambda score: score.log_loss)[: self.most]
        default = [score for score in scores if score.cuts == (self.default,)]
        return [score for score in scores if score in best or score in default]
