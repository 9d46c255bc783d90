"""What measuring all cuts costs: extraction of every candidate cut against the last one alone.

python bench/cuts.py PHOTOS [--backbone NAME]: from files to vectors, without the cache, in turns.
Prints one JSON line.
"""

import argparse
import json
import time

from headstart.data.dataset import load
from headstart.features.extract import extract
from headstart.features.extractor import open_extractor
from headstart.recipe import load_recipe
from headstart.selection.cuts import list_candidates


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    recipe = load_recipe("quick", backbone=asked.backbone, weights=asked.weights)
    every = [name for name, _, _ in list_candidates(recipe)]
    items = load(asked.photos).split("train")[: asked.images]
    extractors = {
        "all": open_extractor(recipe.changed(cut=every)),
        "one": open_extractor(recipe.changed(cut="last")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in extractors}
    for _ in range(asked.rounds):
        for name, extractor in extractors.items():
            begun = time.perf_counter()
            extract(items, extractor)
            seconds[name].append(time.perf_counter() - begun)
    all_cuts, one = min(seconds["all"]), min(seconds["one"])
    print(json.dumps({
        "bench": "cuts", "backbone": asked.backbone, "images": len(items),
        "candidates": len(every), "all_seconds": round(all_cuts, 2),
        "one_seconds": round(one, 2), "ratio": round(all_cuts / one, 2),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
