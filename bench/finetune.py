"""Fine-tuning from cached boundary activations against the same training of the whole network.

python bench/finetune.py PHOTOS: seconds an epoch of each, in turns, with the losses of the first
ten steps in f32. Activations are computed beforehand, once, and that is told too. One JSON line.
"""

import argparse
import json
import time

import numpy as np

from headstart.backbones.cut import Cut
from headstart.data.dataset import load
from headstart.features.extractor import open_extractor
from headstart.heads.neural import prepare_keras
from headstart.recipe import load_recipe
from headstart.tuning.keras_model import normalised
from headstart.tuning.upper import build_network, build_upper, compile_upper

CUT, BATCH = "top_relu", 32


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos")
    parser.add_argument("--boundary", default="block6a_project_bn")
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    prepare_keras()
    import keras

    recipe = load_recipe("thorough", cut=CUT, precision="f32")
    items = load(asked.photos).split("train")
    items = items[:: max(1, len(items) // asked.images)][: asked.images]
    names = sorted({item.label for item in items})
    labels = np.eye(len(names), dtype=np.float32)[[names.index(i.label) for i in items]]
    extractor = open_extractor(recipe.changed(cut=f"{asked.boundary}:flatten"))
    images = np.stack([item.prepare(extractor.geometry) for item in items])
    begun = time.perf_counter()
    activations = np.stack(list(extractor.run(images)))
    once = time.perf_counter() - begun

    def build(cached: bool):
        rng = np.random.default_rng(0)
        weight = rng.normal(0, 0.01, (1280, len(names))).astype(np.float32)
        network = build_network(recipe, weight, np.zeros(len(names), np.float32))
        base = network.base
        if cached:
            model = build_upper(network, asked.boundary, (Cut(CUT),), recipe)
        else:
            for layer in base.layers:
                layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
            for layer in base.layers[: base.layers.index(base.get_layer(asked.boundary)) + 1]:
                layer.trainable = False
            x = keras.layers.GlobalAveragePooling2D()(base.get_layer(CUT).output)
            model = keras.Model(base.input, network.head(x))
        compile_upper(model, base, recipe)
        return model

    losses: dict[bool, list[float]] = {True: [], False: []}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    models = {cached: build(cached) for cached in (True, False)}
    for epoch in range(asked.rounds + 1):
        order = np.random.default_rng(epoch).permutation(len(items))
        for cached, model in models.items():
            begun = time.perf_counter()
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                values = activations[rows] if cached else normalised(images[rows], recipe)
                model.reset_metrics()
                losses[cached].append(float(model.train_on_batch(values, labels[rows])[0]))
            seconds[cached].append(time.perf_counter() - begun)
    cached, whole = min(seconds[True][1:]), min(seconds[False][1:])  # the first one compiles
    first = [abs(a - b) for a, b in zip(losses[True][:10], losses[False][:10], strict=True)]
    print(json.dumps({
        "bench": "finetune", "boundary": asked.boundary, "images": len(items),
        "cached_seconds_per_epoch": round(cached, 2), "whole_seconds_per_epoch": round(whole, 2),
        "ratio": round(whole / cached, 2), "activations_once_seconds": round(once, 2),
        "largest_difference_of_first_ten_losses": float(f"{max(first):.2g}"),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
