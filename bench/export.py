"""Do exports predict what the classifier predicts? One JSON line each.

    python bench/export.py formats RUN [RUN...]     every format, on 200 photos of the run
    python bench/export.py backbones [NAME...]      every network of the catalogue, to ONNX

The networks have random weights (none but EfficientNet-Lite0's come with headstart), so what is
compared is the feature vector, on the largest of its numbers; sizes are the networks' own.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.backbones.catalogue import CATALOGUE
from headstart.classifier import load
from headstart.cli import export as command
from headstart.errors import HeadstartError
from headstart.export.folder import export
from headstart.export.formats import FORMATS, Subject
from headstart.export.onnx_graph import to_onnx
from headstart.export.to_onnx import MOST
from headstart.features.engine import OpenVinoEngine
from headstart.features.extractor import open_extractor
from headstart.recipe import Recipe

IMAGES = 200


def measure_formats(runs: list[Path]) -> None:
    command.CHECKED = IMAGES
    for run in runs:
        classifier = load(run)
        photos = command.find_photos(run, classifier, None)
        for kind, form in FORMATS.items():
            for precision in form.precisions:
                with tempfile.TemporaryDirectory() as scratch:
                    row = {"run": run.name, "format": kind, "precision": precision}
                    examples = command.find_examples(run) if precision == "int8" else None
                    subject = Subject(classifier, command.keras_maker(run), examples)
                    start = time.perf_counter()
                    try:
                        out = Path(scratch) / "out"
                        done = export(subject, kind, out, precision=precision, images=photos)
                        row |= replace(done.parity, beyond=()).to_dict()
                        if done.cost is not None:
                            row["int8"] = str(done.cost)
                        files = [p for p in out.glob("model*/**/*") if p.is_file()]
                        files += [p for p in out.glob("model*") if p.is_file()]
                        row["megabytes"] = round(sum(p.stat().st_size for p in files) / 1e6, 1)
                    except HeadstartError as error:
                        row["refused"] = str(error)
                    row["seconds"] = round(time.perf_counter() - start, 1)
                    print(json.dumps(row), flush=True)


def measure_backbones(names: list[str]) -> None:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    for name in names or CATALOGUE:
        row: dict[str, object] = {"backbone": name}
        start = time.perf_counter()
        try:
            extractor = open_extractor(
                Recipe(backbone=name, weights="none", cut="last", precision="f32")
            )
            graph = extractor.graph()
            graph.inputs[0].tensor.set_names({"image"})
            shape = tuple(graph.inputs[0].shape)
            image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            (expected,) = OpenVinoEngine(extractor.graph(), "f32").run([image[0]])
            model = to_onnx(graph)
            row["megabytes"] = round(model.ByteSize() / 1e6, 1)
            if model.ByteSize() > MOST:
                row["refused"] = "too large for one ONNX file in f32; f16 is not"
            else:
                session = onnxruntime.InferenceSession(
                    model.SerializeToString(), providers=["CPUExecutionProvider"]
                )
                (found,) = session.run(["features"], {"image": image})
                largest = float(np.abs(expected).max()) or 1.0
                row["difference"] = float(np.abs(found[0] - expected).max()) / largest
                # What one pixel, brighter by one level, changes: some networks with random weights
                # are so unstable that there is nothing to compare.
                image[0, 0, 0, 0] ^= 1
                (other,) = OpenVinoEngine(extractor.graph(), "f32").run([image[0]])
                row["one pixel"] = float(np.abs(other - expected).max()) / largest
        except HeadstartError as error:
            row["refused"] = str(error)
        row["seconds"] = round(time.perf_counter() - start, 1)
        print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["formats", "backbones"])
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.what == "formats":
        measure_formats([Path(name) for name in options.names])
    else:
        measure_backbones(options.names)


if __name__ == "__main__":
    sys.exit(main())
