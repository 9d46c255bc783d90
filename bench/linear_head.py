"""Many classes: choosing and training the linear head on cached features of 200 x 250 images.

python bench/linear_head.py: synthetic features, positive and correlated as a network's are. Prints
one JSON line with seconds, peak memory and held-out accuracy.
"""

import argparse
import json
import resource
import time

import numpy as np

from headstart.heads import linear
from headstart.heads.examples import Examples
from headstart.metrics.task import SingleLabel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--dimensions", type=int, default=1280)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    count = asked.classes * asked.images
    mixing = rng.normal(size=(64, asked.dimensions)).astype("f4")
    centres = rng.normal(size=(asked.classes, 64)).astype("f4")

    def drawn(many: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(many) % asked.classes
        values = np.empty((many, asked.dimensions), np.float32)
        for start in range(0, many, 5000):
            part = labels[start : start + 5000]
            hidden = centres[part] + 1.6 * rng.normal(size=(len(part), 64)).astype("f4")
            noise = rng.normal(0, 2, (len(part), asked.dimensions)).astype("f4")
            values[start : start + 5000] = np.maximum(hidden @ mixing + noise, 0)
        return values, labels

    values, labels = drawn(count)
    names = tuple(map(str, range(asked.classes)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    head = linear.fit(Examples(values=values[:, None], targets=labels, task=SingleLabel(names)))
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unseen, truth = drawn(5000)
    accuracy = float((head.head().probabilities(unseen).argmax(axis=1) == truth).mean())
    print(json.dumps({
        "bench": "linear head", "classes": asked.classes, "images": count,
        "dimensions": asked.dimensions, "seconds": round(seconds, 1),
        "peak_megabytes": round(peak / 1024), "megabytes_before": round(before / 1024),
        "strength": head.cross_validation.strength,
        "strengths_tried": len(head.cross_validation.trials),
        "held_out_accuracy": round(accuracy, 4),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
