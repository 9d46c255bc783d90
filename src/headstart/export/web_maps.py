"""The page's network: probabilities and, where the head is linear, what each place spoke for.

Letters: h x w places of a feature map, K channels, C classes.
"""

from typing import Any

import numpy as np

from headstart.classifier import Classifier
from headstart.errors import ClassifierError
from headstart.explain.evidence import linear_form
from headstart.explain.parts import Part, watch


def add_maps(classifier: Classifier) -> tuple[Any, list[float] | None]:
    """OpenVINO's graph whose further outputs `map_0`, ... (1, C, h, w) hold each place's share in
    the logits, and the (C,) bias that they lack; the graph alone and None where the head is not
    linear or a pooling is flat.

    The shares are those of the class activation map (Zhou et al. 2016,
    https://arxiv.org/abs/1512.04150), as in `headstart explain`; a maximum is owed to all places
    that it is found at.
    """
    import openvino

    plain = classifier.graph()
    linear = linear_form(classifier.head)
    about = classifier.description
    cuts = [cut.partition(":")[2] or str(about.get("pooling")) for cut in about.get("cuts", [])]
    if linear is None or not all(cut in ("avg", "max", "avg+max", "grid") for cut in cuts):
        return plain, None
    graph = classifier.graph()
    try:
        parts = watch(graph, cuts)
    except ClassifierError:  # of another make
        return plain, None
    weight, bias = linear
    outputs = [graph.outputs[0].get_node().input_value(0)]
    outputs[0].get_tensor().set_names({"probabilities"})
    for number, part in enumerate(parts):
        source = graph.outputs[part.output].get_node().input_value(0)
        shares = _share(source, part, weight[part.where].astype(np.float32))
        shares.get_tensor().set_names({f"map_{number}"})
        outputs.append(shares)
    return openvino.Model(outputs, graph.get_parameters(), "page"), bias.tolist()


def _share(source: Any, part: Part, weight: np.ndarray) -> Any:
    """(1, C, h, w) shares of the places of a map; weight: (d, C) of its pooled numbers."""
    import openvino.opset13 as ops

    if not part.channels_first:
        source = ops.transpose(source, np.array([0, 3, 1, 2])).output(0)
    _, channels, height, width = source.get_shape()
    if part.pooling == "max":
        highest = ops.reduce_max(source, np.array([2, 3]), keep_dims=True)
        equal = ops.convert(ops.greater_equal(source, highest), "f32")
        count = ops.reduce_sum(equal, np.array([2, 3]), keep_dims=True)
        source = ops.divide(ops.multiply(source, equal), count).output(0)
        fields = [np.ones((height, width))]
    elif part.pooling == "avg":
        fields = [np.full((height, width), 1 / (height * width))]
    else:
        fields = []
        (rows, columns), (down, across) = part.field, part.stride
        for top in range(0, height - rows + 1, down):
            for left in range(0, width - columns + 1, across):
                mask = np.zeros((height, width))
                mask[top : top + rows, left : left + columns] = 1 / (rows * columns)
                fields.append(mask)
    total: Any = None
    for mask, columns_of in zip(fields, weight.reshape(len(fields), channels, -1), strict=True):
        kernel = np.ascontiguousarray(columns_of.T[:, :, None, None])
        shares = ops.convolution(source, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
        shares = ops.multiply(shares, mask[None, None].astype(np.float32))
        total = shares if total is None else ops.add(total, shares)
    return total.output(0)
