"""ONNX: one file, the whole way from the network's uint8 input to probabilities."""

from collections.abc import Mapping
from pathlib import Path

from headstart.errors import EngineError
from headstart.export.formats import Subject
from headstart.export.int8 import quantise_classifier
from headstart.export.novelty_graph import add_typicality
from headstart.export.onnx_graph import to_onnx

MOST = 2_000_000_000  # bytes of one file of Protocol Buffers


def write(subject: Subject, path: Path, precision: str, metadata: Mapping[str, str]) -> None:
    """Raises EngineError for an operation that is not known, or a model too large for one file."""
    if precision == "int8":
        assert subject.examples is not None
        graph = quantise_classifier(subject.classifier, subject.examples.training, by_channel=False)
    else:
        graph = subject.classifier.graph()
    graph.inputs[0].tensor.set_names({"image"})
    if precision != "int8":  # whose features are others
        add_typicality(graph, subject.classifier)
    model = to_onnx(graph, half=precision == "f16")
    if model.ByteSize() > MOST:
        raise EngineError(
            f"expected a model of at most {MOST / 1e9:g} GB, all that one ONNX file holds, "
            f"found {model.ByteSize() / 1e9:.1f} GB. Type: --precision f16"
        )
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    model.doc_string = metadata["description"]
    path.write_bytes(model.SerializeToString(deterministic=True))
