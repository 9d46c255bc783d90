"""What is said of stated probabilities: nothing where they are right, how much where they are not.

Images are drawn whose first class has a known probability; a classifier states it with its logit
multiplied, which makes it too sure (above 1) or not sure enough (below).
"""

import numpy as np

from claims import FALSE_ALARMS, Draws, claim
from headstart.metrics.classification import Metrics, evaluate

MANY = 200_000  # images that stand for endless ones


def _drawn(n: int, sureness: float, heat: float, rng: np.random.Generator) -> Metrics:
    logits = rng.normal(0, sureness, n)
    labels = (rng.random(n) > 1 / (1 + np.exp(-logits))).astype(int)
    first = 1 / (1 + np.exp(-heat * logits))
    return evaluate(np.column_stack([first, 1 - first]), labels, ["first", "second"])


@claim("calibration told off", FALSE_ALARMS, repeats=400)
def calibration_told_off(draws: Draws) -> dict[str, np.ndarray]:
    """Probabilities that are right are not said to be off, but in 5% of cases."""
    outcomes = {}
    for n in (30, 100, 300, 1000):
        for sureness in (1.0, 3.0, 6.0):
            found = [_drawn(n, sureness, 1.0, draws.rng) for _ in range(draws.repeats)]
            told = [metrics.calibration_error_beyond_chance != 0 for metrics in found]
            outcomes[f"{n} images, logits to {sureness}"] = np.array(told)
    return outcomes


@claim("calibration error", (-0.01, 0.01), repeats=100)
def calibration_error(draws: Draws) -> dict[str, np.ndarray]:
    """By how much probabilities are said to be off is, on average over draws of images that tell
    it plainly, what they are off by on endless images, to a hundredth.
    """
    outcomes = {}
    for heat in (0.4, 2.5):
        for sureness in (1.5, 4.0):
            truth = _drawn(MANY, sureness, heat, draws.rng).expected_calibration_error or 0.0
            for n in (300, 1000, 3000):
                found = [_drawn(n, sureness, heat, draws.rng) for _ in range(draws.repeats)]
                told = [metrics.calibration_error_beyond_chance or 0.0 for metrics in found]
                outcomes[f"{n} images, logits to {sureness}, times {heat}"] = np.array(told) - truth
    return outcomes
