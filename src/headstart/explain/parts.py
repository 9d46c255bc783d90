"""Where in the image features come from: the maps behind a classifier's features, found in its
graph, and each pooling told by place.

Letters: h x w places of a feature map, K channels, d numbers that its pooling makes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import ClassifierError

CHANNELS_LAST = [0, 2, 3, 1]


@dataclass(frozen=True)
class Part:
    """Some of the features: what one pooling makes of one feature map.

    pooling: avg, max, grid, flatten; none for numbers that have no place in the image. where: these
    features among all. output: which of the model's outputs is the map. field, stride: of a grid.
    """

    pooling: str
    where: slice
    output: int
    channels_first: bool = False
    field: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)

    def arrange(self, output: np.ndarray) -> np.ndarray:
        """The (h, w, K) map from the model's output."""
        return output.transpose(1, 2, 0) if self.channels_first else output

    def pool(self, places: np.ndarray) -> np.ndarray:
        """The (d,) features of an (h, w, K) map."""
        if self.pooling == "avg":
            return places.mean(axis=(0, 1))
        if self.pooling == "max":
            return places.max(axis=(0, 1))
        if self.pooling == "flatten":
            return places.ravel()
        return np.concatenate([places[field].mean(axis=(0, 1)) for field in self._fields(places)])

    def attribute(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(h, w) shares of the places of an (h, w, K) map in pool(map) @ weights, of which they are
        the sum: the class activation map (Zhou et al. 2016, https://arxiv.org/abs/1512.04150).

        weights: (d,). A maximum is owed to the place that it is found at, the first of equals.
        """
        height, width, channels = places.shape
        if self.pooling == "avg":
            return (places @ weights) / (height * width)
        if self.pooling == "flatten":
            return (places * weights.reshape(places.shape)).sum(axis=2)
        shares = np.zeros((height, width))
        if self.pooling == "max":
            rows = places.reshape(-1, channels)
            place = rows.argmax(axis=0)
            np.add.at(shares.reshape(-1), place, rows[place, np.arange(channels)] * weights)
            return shares
        fields = self._fields(places)
        for field, part in zip(fields, weights.reshape(len(fields), channels), strict=True):
            shares[field] += (places[field] @ part) / (self.field[0] * self.field[1])
        return shares

    def _fields(self, places: np.ndarray) -> list[tuple[slice, slice]]:
        rows, columns = (
            [slice(start, start + field) for start in range(0, side - field + 1, stride)]
            for side, field, stride in zip(places.shape, self.field, self.stride, strict=False)
        )
        return [(row, column) for row in rows for column in columns]


def watch(model: Any, poolings: Sequence[str]) -> list[Part]:
    """The parts of a classifier's features, in order; their maps become outputs of the `model`,
    after the probabilities and the features.

    model: OpenVINO's, as `classifier.assemble` made it, with features pooled inside the graph.
    poolings: of each of its cuts. Raises ClassifierError for a graph of another make.
    """
    kinds = [kind for pooling in poolings for kind in pooling.split("+")]
    try:
        features = next(
            node for node in model.get_ordered_ops() if "features" in node.output(0).get_names()
        )
        nodes = [features]
        if len(kinds) > 1:
            nodes = [port.get_source_output().get_node() for port in features.inputs()]
        behind = [_look_behind(node, kind) for node, kind in zip(nodes, kinds, strict=True)]
    except (StopIteration, ValueError, RuntimeError, KeyError) as error:
        raise ClassifierError(
            f"expected a classifier with {' and '.join(kinds)} pooling inside its graph, found "
            "another make, which cannot be explained. Train again: headstart train PHOTOS"
        ) from error
    ports, parts, start = [features.output(0)], [], 0
    for node, (port, how) in zip(nodes, behind, strict=True):
        if port not in ports:
            ports.append(port)
        width = node.output(0).get_shape()[1]
        parts.append(Part(where=slice(start, start + width), output=1 + ports.index(port), **how))
        start += width
    model.add_outputs(ports)
    return parts


def _look_behind(node: Any, pooling: str) -> tuple[Any, dict[str, Any]]:
    """The map that a node pools, and how."""
    source = node.input_value(0)
    if len(source.get_shape()) != 4:
        return source, {"pooling": "none"}
    if pooling in ("avg", "max"):
        expect(node, "ReduceMean" if pooling == "avg" else "ReduceMax")
        axes = node.input_value(1).get_node().data.tolist()
        return source, {"pooling": pooling, "channels_first": axes == [2, 3]}
    expect(node, "Reshape")
    above = source.get_node()
    if above.get_type_name() != "Transpose":
        return source, {"pooling": pooling}
    if above.input_value(1).get_node().data.tolist() != CHANNELS_LAST:
        return source, {"pooling": pooling}
    source, how = above.input_value(0), {"pooling": pooling, "channels_first": True}
    if pooling == "grid":
        fields = expect(source.get_node(), "AvgPool").get_attributes()
        how |= {"field": tuple(fields["kernel"]), "stride": tuple(fields["strides"])}
        source = source.get_node().input_value(0)
    return source, how


def expect(node: Any, kind: str) -> Any:
    """The node, if it is of this kind. Raises ValueError if not."""
    if node.get_type_name() != kind:
        raise ValueError(f"expected {kind}, found {node.get_type_name()}")
    return node
