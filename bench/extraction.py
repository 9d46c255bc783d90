"""Feature extraction as a whole against the bare engine and against Keras' own predict.

Prints one JSON line. All three work on the same images with the same backbone and weights, in
turn, several times, within the same minutes; the ratios are medians. Images and resizing differ
in nothing but what each way does to read them.

    python bench/extraction.py [PHOTOS] [--rounds 3] [--precision bf16]

`whole`: read, decode, resize, infer, keep in a new cache. `engine`: the same images, already in
memory at input size. `keras`: a Keras model with the same weights on TensorFlow (needs the extra
[tensorflow]), fed by image_dataset_from_directory.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def whole(items, extractor, seed) -> float:
    from headstart.features.cache import open_space
    from headstart.features.extract import extract
    from headstart.system.progress import Silent

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        space = open_space(
            extractor.fingerprint, extractor.description, extractor.canary(), Silent().warn,
            Path(folder),
        )  # fmt: skip
        features = extract(items, extractor, space)
        assert features.misses == len(items)
        return len(items) / (time.perf_counter() - started)


def engine(images, extractor) -> float:
    started = time.perf_counter()
    count = sum(1 for _ in extractor.run(images))
    return count / (time.perf_counter() - started)


def keras_predict(photos: Path, count: int, model, size: int) -> float:
    import keras

    started = time.perf_counter()
    data = keras.utils.image_dataset_from_directory(
        photos, labels=None, image_size=(size, size), batch_size=32, shuffle=False, verbose=False
    )
    model.predict(data, verbose=0)
    return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).resolve().parents[2] / "shared/data/cats_and_dogs_filtered"
    parser.add_argument("photos", nargs="?", default=shared, type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()

    from headstart.backbones.catalogue import backbone
    from headstart.backbones.weights import resolve
    from headstart.data.dataset import load
    from headstart.features.extractor import open_extractor
    from headstart.recipe import load_recipe

    recipe = load_recipe(precision=options.precision)
    extractor = open_extractor(recipe)
    items = load(options.photos).items
    size = extractor.geometry.height
    images = [item.prepare(extractor.geometry) for item in items]

    model = None
    try:
        import keras
        import tensorflow  # noqa: F401

        from headstart.backbones.keras_builder import keras_backbone

        path = str(resolve(backbone(recipe.backbone)).path)
        inner = keras_backbone(recipe.backbone, size, path, "package")
        image = keras.Input((size, size, 3))
        x = keras.layers.Rescaling(1 / 128, -127 / 128)(image)
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(inner(x)))
    except ImportError:
        print("TensorFlow is not installed: Keras' own predict is left out")

    engine(images[:100], extractor)
    rows = []
    for number in range(options.rounds):
        row = {"engine": engine(images, extractor), "whole": whole(items, extractor, number)}
        if model is not None:
            row["keras"] = keras_predict(options.photos, len(items), model, size)
        rows.append(row)

    def median(name: str) -> float:
        return statistics.median(row[name] for row in rows)

    def ratio(a: str, b: str) -> float:
        return round(statistics.median(row[a] / row[b] for row in rows), 3)

    result = {
        "bench": "extraction",
        "images": len(items),
        "precision": extractor.description["precision"],
        "images_per_second": {name: round(median(name), 1) for name in rows[0]},
        "whole_over_engine": ratio("whole", "engine"),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if model is not None:
        result["whole_over_keras"] = ratio("whole", "keras")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
