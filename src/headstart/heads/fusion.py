"""Late fusion: a linear head for each of several cuts, and the weighted mean of their logits.

That mean is one linear head over the joined features, so it costs nothing at prediction. Where one
head over all of them must find its way among thousands of features with few images, heads of single
cuts err in different places, and their mean does better than the best of them.
Letters: K heads.
"""

from collections.abc import Sequence

import numpy as np

DECAY = 0.25  # of the best head's loss: who loses so much more than the best counts 1 / e of it
LEAST = 0.02  # of all weight, below which a head is not worth its features


def weigh(losses: Sequence[float] | np.ndarray, most: int | None = None) -> np.ndarray:
    """(K,) shares of heads by their log losses on images that they had not seen: exponential in
    what each loses more than the best, and none beyond the best `most`.
    """
    loss = np.asarray(losses, np.float64)
    scale = DECAY * max(float(loss.min()), 1e-9)
    shares = np.exp(-(loss - loss.min()) / scale)
    if most is not None:
        shares[np.argsort(loss, kind="stable")[most:]] = 0
    shares[shares < LEAST * shares.sum()] = 0
    result: np.ndarray = shares / shares.sum()
    return result


def average(arrays: Sequence[np.ndarray], shares: np.ndarray) -> np.ndarray:
    """The mean of K float32 arrays of one shape by (K,) shares."""
    if len(arrays) == 1:
        return arrays[0]
    result = np.zeros_like(arrays[0])
    for array, share in zip(arrays, shares, strict=True):
        if share:
            result += np.float32(share) * array
    return result
