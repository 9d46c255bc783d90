"""OpenVINO: the graph that headstart itself predicts with, and what OpenVINO's Model API reads of a
model (https://github.com/open-edge-platform/model_api), so that a classifier opens there.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart.export.formats import Subject
from headstart.export.int8 import quantise_classifier
from headstart.export.novelty_graph import add_typicality
from headstart.export.onnx_graph import can_be_halved
from headstart.saved.folder import name_nodes

RESIZE = {"squash": "standard", "crop": "crop", "pad": "fit_to_window_letterbox"}


def write(subject: Subject, path: Path, precision: str, metadata: Mapping[str, str]) -> None:
    """model.xml and model.bin. In f16 large arrays are stored in half."""
    import openvino

    classifier = subject.classifier
    if precision == "int8":
        assert subject.examples is not None
        graph = quantise_classifier(classifier, subject.examples.training)
    else:
        graph = classifier.graph()
        add_typicality(graph, classifier)
    graph.inputs[0].tensor.set_names({"image"})
    for key, value in metadata.items():
        graph.set_rt_info(value, ["headstart", key])
    about = {
        "model_type": "Classification",
        "labels": " ".join(re.sub(r"\s+", "_", name) for name in classifier.classes),
        "multilabel": str(classifier.task.multilabel),
        "resize_type": RESIZE[classifier.geometry.resize],
        "reverse_input_channels": "False",
        "output_raw_scores": "True",
        "topk": "1",
    }
    for key, value in about.items():
        graph.set_rt_info(value, ["model_info", key])
    name_nodes(graph)
    if precision == "f16":
        _halve(graph)
    openvino.save_model(graph, path, compress_to_fp16=False)


def _halve(graph: Any) -> None:
    """Store large arrays in half. OpenVINO's own way takes small ones too, the head's among them,
    which was off by 0.015 of a probability for one of the smallest classifiers.
    """
    from openvino import opset13 as op

    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Constant" and can_be_halved(node.data):
            half = op.convert(op.constant(node.data.astype(np.float16)), "f32")
            node.output(0).replace(half.output(0))
