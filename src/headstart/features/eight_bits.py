"""Networks in eight bits: quantised by NNCF, ranges of activations from images to be learned from.

Weights have one range a channel. What is computed is the same on every processor that has integer
arithmetic, and a little else without.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import io
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.item import Item
from headstart.errors import BadImage, EngineError, MissingExtra
from headstart.features.engine import OpenVinoEngine, save_model
from headstart.features.extractor import FORMAT, Extractor, digest_description
from headstart.features.graph import RECORD, read, write_record
from headstart.system.lock import read_and_hold
from headstart.system.places import cache_folder

CALIBRATE = 128  # images that tell the ranges of an extractor


def import_nncf(module: str = "nncf") -> Any:
    """Raises MissingExtra without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra("8 bits", "int8") from error


def is_there() -> bool:
    """Whether NNCF is installed."""
    return importlib.util.find_spec("nncf") is not None


def quantise(
    graph: Any, pixels: Sequence[np.ndarray], *, by_channel: bool = True, thorough: bool = True
) -> Any:
    """The graph of one uint8 image in 8 bits, calibrated on the (H, W, 3) `pixels`.

    by_channel: activations of depthwise convolutions have a range a channel, which onnxruntime has
    no fast way for. thorough: biases are corrected layer by layer, behind those already corrected:
    logits of digits (training images that were not calibrated on) are off by 0.39 in place of
    0.63, in three times the time. Raises MissingExtra without NNCF.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it draws bars
        nncf = import_nncf()
        nncf.set_log_level(logging.ERROR)
        graph.inputs[0].tensor.set_names({"image"})
        fold(graph)  # a kernel behind a transposition would stay in f32
        ranges = import_nncf("nncf.quantization.advanced_parameters")
        whole = ranges.QuantizationParameters(per_channel=False)
        more = None if by_channel else ranges.AdvancedQuantizationParameters(
            activations_quantization_params=whole
        )  # fmt: skip
        return nncf.quantize(
            graph,
            nncf.Dataset([image[None] for image in pixels]),
            subset_size=len(pixels),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=not thorough,
            advanced_parameters=more,
        )


def fold(graph: Any) -> None:
    """Carry out in place what does not depend on the image."""
    from openvino.passes import ConstantFolding, Manager

    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(graph)


def open_eight_bits(extractor: Extractor, items: Sequence[Item]) -> Extractor:
    """The extractor in 8 bits, calibrated on a few of the training `items`, which ones depends on
    their contents alone; kept in the cache folder under the network and these.

    Raises MissingExtra without NNCF, EngineError where none of them can be used.
    """
    chosen = sorted(items, key=lambda item: item.content_hash)[:CALIBRATE]
    digest = hashlib.sha256(b"".join(item.content_hash for item in chosen)).hexdigest()[:24]
    description = {
        **extractor.description, "precision": "int8", "calibration": digest,
        "nncf": import_nncf().__version__, "eight_bits": FORMAT,
    }  # fmt: skip
    folder = cache_folder() / "extractors" / digest_description(description)

    def make(temporary: Path) -> None:
        pixels = list(_prepare(chosen, extractor))
        if not pixels:
            raise EngineError(
                "expected training images to calibrate 8 bits on, found none that can be used. "
                "Type: --precision auto"
            )
        save_model(quantise(extractor.graph(), pixels, thorough=False), temporary / "model.xml")
        write_record(temporary, {str(cut): [part.start, part.stop]
                                 for cut, part in extractor.slices.items()})  # fmt: skip

    held = read_and_hold(folder, RECORD, make, read)
    _, graph = held.content
    return replace(
        extractor, engine=OpenVinoEngine(graph, "int8"), model=folder / "model.xml",
        fingerprint=digest_description(description), description=description, network=graph,
        hold=held.hold,
        warnings=(f"built again, for it was damaged: the extractor {folder}",) * held.again,
    )  # fmt: skip


def _prepare(items: Sequence[Item], extractor: Extractor) -> Any:
    for item in items:
        with contextlib.suppress(BadImage, OSError):  # told when the features are computed
            yield item.prepare(extractor.geometry)
