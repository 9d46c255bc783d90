"""Whether a tuned network beats the linear head, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.heads.epochs import validation_scores
from headstart.metrics.comparison import compare
from headstart.metrics.intervals import Z
from headstart.metrics.losses import CrossEntropy

GAIN = 0.02  # share of the judged loss that a deeper stage must take off


@dataclass(frozen=True)
class Stage:
    """One boundary: log loss and accuracy on the judging images, and whether it was kept."""

    boundary: str
    blocks: int
    epochs: int
    log_loss: float
    accuracy: float
    seconds: float
    kept: bool


def not_kept(done: Sequence[Stage], before: np.ndarray, labels: np.ndarray) -> str:
    """Why no stage was kept, in words. before: (M, C) of the judging images by the linear head."""
    if not done:
        return "No stage of the fine-tuning was finished: the linear head is kept."
    best = min(done, key=lambda stage: (np.isnan(stage.log_loss), stage.log_loss))
    told = validation_scores(before, labels)
    return (
        f"Fine-tuning does not pay here: of {len(done)} stages none took {GAIN:.0%} off the log "
        f"loss of {len(labels):,} training images that it had not seen ({told['val_loss']:.3f}, at "
        f"best {best.log_loss:.3f}; accuracy {told['val_accuracy']:.1%}, then {best.accuracy:.1%})."
        " The linear head is kept."
    )


def judge(after: np.ndarray, before: np.ndarray, labels: np.ndarray) -> tuple[str, bool]:
    """Whether the tuned network beats the linear head beyond the interval, in words."""
    paired = compare(after, before, labels)
    low, high = paired.difference_interval
    losses = [CrossEntropy().of_probabilities(rows, labels) for rows in (before, after)]
    difference = losses[0] - losses[1]
    error = float(difference.std(ddof=1)) / len(labels) ** 0.5
    surer = float(difference.mean()) > Z * error > 0 and paired.difference >= 0
    kept = surer or paired.verdict == "the first is better"
    told = (
        f"accuracy {paired.difference:+.1%} ({low:+.1%} to {high:+.1%}), log loss "
        f"{-difference.mean():+.3f} on {len(labels):,} training images unseen by both"
    )
    if kept:
        return f"Fine-tuning pays: {told}.", True
    return f"Fine-tuning does not pay here: {told}. The linear head is kept.", False
