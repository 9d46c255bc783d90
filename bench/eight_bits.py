"""What training in 8 bits costs and gives: the same recipe in f32, bf16 and int8. A JSON line each.

python bench/eight_bits.py PHOTOS [PHOTOS ...]: folders with a validation split. Prints validation
accuracy, the paired difference from f32 with its interval, and images a second of each network on
images in memory, measured in turns (the best of three).
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import headstart
from headstart.data import dataset
from headstart.features.eight_bits import open_eight_bits
from headstart.features.engine import resolve_precision
from headstart.features.extractor import open_extractor
from headstart.recipe import load_recipe

TIMED, ROUNDS = 200, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+")
    for photos in parser.parse_args().photos:
        kinds = ["f32", *(["bf16"] if resolve_precision("auto") == "bf16" else []), "int8"]
        with tempfile.TemporaryDirectory() as scratch:
            runs = {kind: headstart.train(photos, cut="last", precision=kind,
                                          out=Path(scratch) / kind) for kind in kinds}  # fmt: skip
            speeds = measure_speeds(photos, kinds)
            for kind, run in runs.items():
                row = {"photos": photos.name, "precision": kind,
                       "accuracy": run.metrics["validation"].accuracy,
                       "images_per_second": round(speeds[kind])}  # fmt: skip
                if kind != "f32":
                    (pair,) = headstart.compare(run, runs["f32"]).pairs
                    row |= {"minus_f32": pair.difference,
                            "interval": list(pair.difference_interval),
                            "images": pair.n}  # fmt: skip
                print(json.dumps(row), flush=True)


def measure_speeds(photos: Path, kinds: list[str]) -> dict[str, float]:
    """Images a second of the network alone."""
    items = dataset.load(photos).split("train")
    recipe = load_recipe("quick", cut="last")
    extractors: dict[str, Any] = {
        kind: open_extractor(recipe.changed(precision=kind)) for kind in kinds if kind != "int8"
    }
    extractors["int8"] = open_eight_bits(extractors["f32"], items)
    images = [item.prepare(extractors["f32"].geometry) for item in items[:TIMED]]
    best = dict.fromkeys(kinds, 0.0)
    for _ in range(ROUNDS):
        for kind in kinds:
            began = time.perf_counter()
            for _ in extractors[kind].run(images):
                pass
            best[kind] = max(best[kind], len(images) / (time.perf_counter() - began))
    return best


if __name__ == "__main__":
    main()
