"""What a cut costs: multiplications counted in the graph, images a second timed."""

import time
from itertools import repeat
from typing import Any

import numpy as np

from headstart.backbones.cut import Cut
from headstart.features import engine as openvino_engine
from headstart.features.extractor import Extractor


def count_costs(extractor: Extractor) -> dict[Cut, float]:
    """Of each cut, the multiplications that an image takes up to it, as a share of all of them.

    What lies behind a cut is left out. Counted, not timed: the same on every computer.
    """
    graph = extractor.graph()
    ends = _ends(graph, extractor)
    counts = {cut: _multiplications(end.get_node()) for cut, end in ends.items()}
    most = max(counts.values()) or 1
    return {cut: count / most for cut, count in counts.items()}


def _multiplications(end: Any) -> int:
    """Of the convolutions and matrix products that `end` needs."""
    seen, waiting, total = set(), [end], 0
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        inputs = [node.input_value(i) for i in range(node.get_input_size())]
        waiting += [value.get_node() for value in inputs]
        kind = node.get_type_name()
        if kind in ("Convolution", "GroupConvolution", "MatMul"):
            weights = list(inputs[1].get_shape())
            each = {"Convolution": weights[1:], "GroupConvolution": weights[2:]}.get(
                kind, list(inputs[0].get_shape())[-1:]
            )
            total += int(np.prod(node.get_output_shape(0)) * np.prod(each))
    return total


def _ends(graph: Any, extractor: Extractor) -> dict[Cut, Any]:
    """The vector in the graph that is each cut's."""
    joined = graph.get_results()[0].input_value(0)
    if len(extractor.slices) == 1:
        return dict.fromkeys(extractor.slices, joined)
    node = joined.get_node()
    by_end, start = {}, 0
    for part in (node.input_value(i) for i in range(node.get_input_size())):
        start += part.get_shape()[1]
        by_end[start] = part
    return {cut: by_end[place.stop] for cut, place in extractor.slices.items()}


def measure_speeds(extractor: Extractor, seconds: float = 0.3) -> dict[Cut, float]:
    """Images a second of the network up to each cut alone, on images that are already in memory.

    What lies behind a cut is left out, as in a classifier that is cut there. Each is run for about
    so many seconds.
    """
    import openvino

    graph = extractor.graph()
    shape = (extractor.geometry.height, extractor.geometry.width, 3)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rates: dict[Cut, float] = {}
    for cut, end in _ends(graph, extractor).items():
        model = openvino.Model([end], graph.get_parameters(), str(cut))
        engine = openvino_engine.OpenVinoEngine(model, extractor.description["precision"])
        count, spent = 8, 0.0
        while spent < seconds:
            count *= 2
            begun = time.perf_counter()
            for _ in engine.run(repeat(image, count)):
                pass
            spent = time.perf_counter() - begun
        rates[cut] = count / spent
    return rates
