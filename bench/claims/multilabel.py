"""Figures of images in several classes: do their intervals hold what endless images would give?"""

from statistics import NormalDist

import numpy as np

from claims import Draws, claim
from headstart.metrics.multilabel import _figures, evaluate_multi

LIMIT = 0.55  # probability from which a class is given
MANY = 200_000  # images that stand for endless ones
FIGURES = ("mean_average_precision", "micro_f1", "macro_f1")
# Share of images that each class is in, and how far apart the scores of those with and without it
# lie, in standard deviations.
SETS = {
    "3 classes, hard": ((0.3, 0.3, 0.3), 1.5), "3 classes, easy": ((0.3, 0.3, 0.3), 2.5),
    "5 classes, some rare": ((0.1, 0.2, 0.3, 0.4, 0.15), 1.5), "10 rare": ((0.1,) * 10, 2.0),
}  # fmt: skip


def _drawn(
    shares: tuple[float, ...], apart: float, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) probabilities and (N, C) targets of n images, whose classes come together."""
    limits = np.array([NormalDist().inv_cdf(share) for share in shares])
    hidden = 0.5 * rng.normal(size=(n, 1)) + 0.75**0.5 * rng.normal(size=(n, len(shares)))
    targets = hidden < limits
    scores = apart * targets + rng.normal(size=(n, len(shares)))
    return 1 / (1 + np.exp(apart / 2 - scores)), targets


@claim("intervals of several classes", repeats=300)
def intervals_of_several_classes(draws: Draws) -> dict[str, np.ndarray]:
    """The intervals of mean average precision, micro and macro F1 hold those of endless images."""
    outcomes = {}
    for name, (shares, apart) in SETS.items():
        names = [str(number) for number in range(len(shares))]
        probabilities, targets = _drawn(shares, apart, MANY, draws.rng)
        truths = _figures(probabilities, targets, probabilities >= LIMIT)
        for n in (30, 60, 200, 600):
            found = [
                evaluate_multi(*_drawn(shares, apart, n, draws.rng), names,
                               np.full(len(names), LIMIT))
                for _ in range(draws.repeats)
            ]  # fmt: skip
            for figure, truth in zip(FIGURES, truths, strict=True):
                held = []
                for metrics in found:
                    low, high = getattr(metrics, f"{figure}_interval") or (0.0, 1.0)
                    held.append(low <= truth <= high)
                outcomes[f"{figure}, {name}, {n} images"] = np.array(held)
    return outcomes
