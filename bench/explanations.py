"""Whether the maps of `headstart explain` mean something: what they mark is hidden, and the
probability of the class must fall by more than with as much hidden at random.

python bench/explanations.py DATA [--sets NAME ...] [--images 300] [--share 0.2] [--set KEY=VALUE]:
DATA holds the sets. On each a classifier is trained with the recipe `quick`, and asked of images
that it has not learned from. Of the network's input the share that speaks most for the class is
blurred, or takes the mean colour; and as much of it, in the same shape, elsewhere at random (the
mark moved around the edges), and where the map of another image has its mark, since photographers
put things in the middle anyway. Prints one JSON line a set and filling: mean falls of the
probability, and the paired differences with their 95% intervals.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import headstart
from headstart.data.dataset import load
from headstart.data.item import Item
from headstart.explain.maps import Explainer
from headstart.recipe import load_recipe, parse_setting

SETS = ("hymenoptera", "cats_and_dogs_filtered", "clothing", "sign_language_digits")


def blur(pixels: np.ndarray) -> np.ndarray:
    """So much that nothing of a fifth of the side is left."""
    return cv2.GaussianBlur(pixels, (0, 0), pixels.shape[0] / 10)


def paint(pixels: np.ndarray) -> np.ndarray:
    """All of it in its mean colour."""
    return np.broadcast_to(pixels.mean(axis=(0, 1)).astype(np.uint8), pixels.shape)


FILLINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"blur": blur, "mean colour": paint}


@dataclass(frozen=True)
class Falls:
    """(N,) by how much the probability of the class fell, by what was hidden of each image."""

    marked: np.ndarray
    moved: np.ndarray
    of_another: np.ndarray


def measure_falls(
    classifier: headstart.Classifier,
    items: Sequence[Item],
    filling: str = "blur",
    share: float = 0.2,
    seed: int = 0,
) -> Falls:
    """What hiding does to the most probable class of each image."""
    rng = np.random.default_rng(seed)
    pixels = [item.prepare(classifier.geometry) for item in items]
    explained = [one.evidence for one in Explainer(classifier).explain(pixels)]
    marks = [mark(evidence.values, share) for evidence in explained if evidence is not None]
    before = np.array([evidence.probability for evidence in explained if evidence is not None])
    places = [classifier.classes.index(e.label) for e in explained if e is not None]
    another = (np.arange(len(marks)) + rng.integers(1, len(marks), len(marks))) % len(marks)

    def fall(masks: Sequence[np.ndarray]) -> np.ndarray:
        hidden = [
            np.where(mask[:, :, None], FILLINGS[filling](image), image)
            for image, mask in zip(pixels, masks, strict=True)
        ]
        return before - classifier.predict_proba(hidden)[np.arange(len(places)), places]

    moved = [np.roll(one, rng.integers(0, one.shape), axis=(0, 1)) for one in marks]
    return Falls(fall(marks), fall(moved), fall([marks[number] for number in another]))


def mark(values: np.ndarray, share: float) -> np.ndarray:
    """Where a map is largest: so much of it, exactly."""
    chosen = np.argsort(-values.ravel(), kind="stable")[: round(share * values.size)]
    mask = np.zeros(values.size, bool)
    mask[chosen] = True
    return mask.reshape(values.shape)


def compare(one: np.ndarray, other: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Mean of the (N,) paired differences and its 95% interval."""
    differences = one - other
    mean = float(differences.mean())
    error = 1.96 * float(differences.std(ddof=1)) / len(differences) ** 0.5
    return mean, (mean - error, mean + error)


def held_out(folder: Path, most: int) -> list[Item]:
    """Test images where there are some, else validation images; from all over them."""
    dataset = load(folder, validation_fraction=load_recipe("quick").validation_fraction, seed=0)
    items = dataset.split("test") or dataset.split("validation")
    step = max(1, len(items) // most)
    return list(items[::step][:most])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    choices = dict(parse_setting(text) for text in asked.set)
    for name in asked.sets:
        with tempfile.TemporaryDirectory() as scratch:
            run = headstart.train(asked.data / name, out=Path(scratch) / "run", **choices)
            items = held_out(asked.data / name, asked.images)
            for filling in FILLINGS:
                falls = measure_falls(run.classifier, items, filling, asked.share)
                difference, interval = compare(falls.marked, falls.moved)
                beside, beside_interval = compare(falls.marked, falls.of_another)
                print(json.dumps({
                    "bench": "explanations", "set": name, "filling": filling, "set_to": asked.set,
                    "images": len(items), "share": asked.share,
                    "exact": Explainer(run.classifier).exact,
                    "fall_marked": round(float(falls.marked.mean()), 3),
                    "fall_moved": round(float(falls.moved.mean()), 3),
                    "fall_of_another": round(float(falls.of_another.mean()), 3),
                    "difference": round(difference, 3),
                    "interval": [round(end, 3) for end in interval],
                    "difference_to_another": round(beside, 3),
                    "interval_to_another": [round(end, 3) for end in beside_interval],
                }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
