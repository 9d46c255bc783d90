"""What spoke for a class and against it, place by place, in log odds: log(p / (1 - p)).

Where the head is linear, the log odds are a sum over places and a constant: the map is exact. Where
it is not, places are hidden one by one and the head is asked again.
Letters: h x w places of a feature map, K channels, D features, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.explain.parts import Part
from headstart.heads.head import Affine, Head

FIELDS = 14  # a side, at most: each of the fields hidden is another run of the head


@dataclass(frozen=True)
class Evidence:
    """What spoke for one class in one image.

    logit: the log odds of its probability. values: (height, width) float32 of the network's input,
    positive where a pixel spoke for the class, negative where against it; in sum the logit.
    constant: that part of the sum which no place can claim, spread evenly. exact: whether the
    places add up by themselves (a linear head), or were hidden one by one.
    """

    label: str
    probability: float
    logit: float
    values: np.ndarray
    constant: float
    exact: bool

    @property
    def total(self) -> float:
        """The sum of the map."""
        return float(self.values.sum(dtype=np.float64))

    @property
    def difference(self) -> float | None:
        """By which an exact map misses the logit; None where it is made to meet it."""
        return self.total - self.logit if self.exact else None


def logits(head: Head, features: np.ndarray) -> np.ndarray:
    """(N, C) logits of (N, D) features; of two classes with one number the first has 0."""
    bare = Head((*head.layers[:-1], replace(head.layers[-1], activation="linear")))
    z = bare.probabilities(features).astype(np.float64)
    return np.concatenate([np.zeros_like(z), z], axis=1) if head.binary else z


def log_odds(head: Head, z: np.ndarray, chosen: int) -> np.ndarray:
    """(N,) log(p / (1 - p)) of a class, of (N, C) logits."""
    if is_independent(head):
        return z[:, chosen]
    others = np.delete(z, chosen, axis=1)
    most = others.max(axis=1)
    return z[:, chosen] - most - np.log(np.exp(others - most[:, None]).sum(axis=1))


def is_independent(head: Head) -> bool:
    """Whether an image may be in several classes: each has its own sigmoid."""
    return head.layers[-1].activation == "sigmoid" and not head.binary


def linear_form(head: Head) -> tuple[np.ndarray, np.ndarray] | None:
    """(D, C) weights and (C,) bias of the logits, scaling carried out; None where they are not
    linear in the features.
    """
    if any(layer.activation != "linear" for layer in head.layers[:-1]):
        return None
    weight, bias = np.eye(head.layers[-1].units), np.zeros(head.layers[-1].units)
    for layer in reversed(head.layers):
        if isinstance(layer, Affine):
            weight, bias = layer.scale[:, None] * weight, layer.shift @ weight + bias
        else:
            weight, bias = layer.weight @ weight, layer.bias @ weight + bias
    if head.binary:
        weight, bias = np.concatenate([0 * weight, weight], 1), np.concatenate([0 * bias, bias])
    return weight, bias


def contrast(head: Head, z: np.ndarray, chosen: int) -> tuple[np.ndarray, float]:
    """(C,) weights u and the rest r with u @ z + r = the log odds of a class, z its (C,) logits.

    The others count by their probability among themselves, q: log sum exp(z) = q @ z + H(q), where
    H is the entropy. So a map shows what told the class from those that came near.
    """
    weights = np.zeros(len(z))
    weights[chosen] = 1
    if is_independent(head):
        return weights, 0.0
    others = np.delete(np.arange(len(z)), chosen)
    q = np.exp(z[others] - z[others].max())
    q /= q.sum()
    weights[others] = -q
    return weights, float((q * np.log(np.maximum(q, 1e-300))).sum())


def activation_map(
    head: Head,
    linear: tuple[np.ndarray, np.ndarray],
    parts: Sequence[Part],
    maps: Sequence[np.ndarray],
    features: np.ndarray,
    chosen: int,
    shape: tuple[int, int],
) -> tuple[np.ndarray, float]:
    """(height, width) shares in the log odds of a class and their constant, for a linear head.

    linear: its `linear_form`. maps: (h, w, K) of each part. features: (D,). shape: of the result.
    """
    weight, bias = linear
    u, constant = contrast(head, logits(head, features[None])[0], chosen)
    weight = weight @ u
    constant += float(bias @ u)
    values = np.zeros(shape)
    for part, places in zip(parts, maps, strict=True):
        if part.pooling == "none":
            constant += float(features[part.where] @ weight[part.where])
        else:
            places = places.astype(np.float64)
            values += enlarge(part.attribute(places, weight[part.where]), shape)
    return values + constant / values.size, constant


def masking_map(
    head: Head,
    parts: Sequence[Part],
    maps: Sequence[np.ndarray],
    features: np.ndarray,
    chosen: int,
    shape: tuple[int, int],
) -> tuple[np.ndarray, float]:
    """The same for any head, by hiding: a field's share is what the log odds lose with the feature
    maps set to 0 there (after Recipro-CAM, Byun & Lee 2022, https://arxiv.org/abs/2209.14074; what
    is hidden there is all but a field, which pooled features of a trained head never look like).

    With a linear head on averages it is the activation map. Arguments as in `activation_map`.
    """
    placed = [places for part, places in zip(parts, maps, strict=True) if part.pooling != "none"]
    rows, columns = (min(FIELDS, *(places.shape[axis] for places in placed)) for axis in (0, 1))
    hidden = np.repeat(features[None], 1 + rows * columns, axis=0)  # the first as it is
    for part, places in zip(parts, maps, strict=True):
        if part.pooling == "none":
            continue
        row_of, column_of = (
            np.arange(side) * count // side
            for side, count in zip(places.shape, (rows, columns), strict=False)
        )
        for field in range(rows * columns):
            kept = (row_of != field // columns)[:, None] | (column_of != field % columns)
            hidden[1 + field, part.where] = part.pool(places * kept[:, :, None])
    odds = log_odds(head, logits(head, hidden), chosen)
    shares = (odds[0] - odds[1:]).reshape(rows, columns)
    constant = float(odds[0] - shares.sum())
    values = enlarge(shares, shape)
    return values + constant / values.size, constant


def enlarge(shares: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) shares spread smoothly over (height, width) pixels; their sum stays."""
    down, across = (_spread(count, size) for count, size in zip(shares.shape, shape, strict=True))
    # Not by the linear algebra library: its threads wait for each other longer than they compute.
    enlarged: np.ndarray = np.einsum("hi,wi->hw", np.einsum("hj,ji->hi", down, shares), across)
    return enlarged


def _spread(count: int, size: int) -> np.ndarray:
    """(size, count): linear interpolation between the centres, each column scaled to sum 1."""
    centres = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(count)))
    if count > size:  # more places than pixels: each goes to the nearest
        weights = np.zeros((size, count))
        weights[np.arange(count) * size // count, np.arange(count)] = 1
    scaled: np.ndarray = weights / weights.sum(axis=0)
    return scaled
