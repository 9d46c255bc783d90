"""Whether an image is like nothing that was trained on, told by an export's own graph: what
`abstention.novelty` computes, as OpenVINO operations behind the features.

Letters: D features, k axes, n training images kept.
"""

from typing import Any

import numpy as np

from headstart.classifier import Classifier, find_features

OUTPUT = "typicality"
# Of a typicality; beside it one training image, whose distance may lie on the other side by the
# last digit.
TOLERANCE = {"f32": 0.005, "f16": 0.03}


def add_typicality(graph: Any, classifier: Classifier) -> None:
    """Give the classifier's graph a further output (1,): the share of training images that are as
    far from all others as the image is; nothing where the classifier knows none.

    It is `novelty.typicality(novelty.distances(features))` for finite features. Raises
    ClassifierError for a graph that does not name its features.
    """
    import openvino.opset13 as ops

    novelty = classifier.abstention.novelty
    if novelty is None:
        return
    start, stop = (np.array([int(end)]) for end in novelty.columns)
    asked = ops.slice(find_features(graph), start, stop, np.array([1]), np.array([1]))
    scaled = ops.divide(asked, novelty.spread[None].astype(np.float32))
    length = ops.sqrt(_sum_of_squares(scaled))
    direction = ops.divide(scaled, ops.maximum(length, np.finfo(np.float32).tiny))
    centred = ops.subtract(direction, novelty.mean[None].astype(np.float32))
    place = ops.matmul(centred, novelty.axes.astype(np.float32), False, False)  # (1, k)
    within = _sum_of_squares(place)
    zero = np.float32(0)
    outside = ops.maximum(ops.subtract(_sum_of_squares(centred), within), zero)
    others = novelty.places.astype(np.float32)
    products = ops.matmul(place, np.ascontiguousarray(others.T), False, False)  # (1, n)
    squares = ops.subtract(
        ops.add(within, (others**2).sum(axis=1)[None]), ops.multiply(products, np.float32(2))
    )
    nearest = ops.maximum(ops.reduce_min(squares, np.array([1]), True), zero)
    farther = ops.convert(
        ops.greater_equal(novelty.scores[None].astype(np.float32), ops.add(outside, nearest)), "f32"
    )
    count = ops.add(ops.reduce_sum(farther, np.array([1]), False), np.float32(1))
    result = ops.divide(count, np.float32(len(novelty.scores) + 1)).output(0)
    result.get_tensor().set_names({OUTPUT})
    graph.add_outputs([result])


def describe_typicality(classifier: Classifier, precision: str) -> dict[str, Any] | None:
    """What export.json says of the output; None where the classifier cannot tell."""
    novelty = classifier.abstention.novelty
    if novelty is None:
        return None
    least = 1 / (len(novelty.scores) + 1)
    return {
        "output": {"name": OUTPUT, "type": "float32", "shape": [1]},
        "meaning": "none of these where typicality <= rate: the share of images like those trained "
                   "on that is then refused as well",
        "rates": [least, 0.5],
        "tolerance": TOLERANCE[precision] + 1.5 * least,
    }  # fmt: skip


def _sum_of_squares(rows: Any) -> Any:
    """(1, 1) of (1, anything)."""
    import openvino.opset13 as ops

    return ops.reduce_sum(ops.multiply(rows, rows), np.array([1]), True)
