"""Harder data, made of real images: strong imbalance, few images, many classes, many images,
bursts, images in several classes.

python bench/hard_sets.py DATA [--only NAME ...]: DATA holds cats_and_dogs_filtered, clothing,
hymenoptera and sign_language_digits. Each set is written to a temporary folder and trained on cold,
in a process of its own. Prints one JSON line a training: figures with intervals, seconds and peak
memory of the whole process.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from headstart.runs.folder import Run


def files(folder: Path) -> list[Path]:
    """The images of a class folder, in order, without the one that is no photo."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".png")]
    return [path for path in found if not path.name.startswith(".")]


def linked(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def opened(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def imbalance(data: Path, out: Path) -> list[str]:
    """1,000 cats and 20 dogs in training; 500 of each to validate on."""
    pets = data / "cats_and_dogs_filtered"
    for name, most in (("cats", 1000), ("dogs", 20)):
        for path in files(pets / "train" / name)[:most]:
            linked(path, out / "train" / name / path.name)
        for path in files(pets / "validation" / name):
            linked(path, out / "validation" / name / path.name)
    return [str(out)]


def few(data: Path, out: Path) -> list[str]:
    """Five training images of each of ten kinds of clothes."""
    for folder in sorted((data / "clothing" / "train").iterdir()):
        for path in files(folder)[:5]:
            linked(path, out / "train" / folder.name / path.name)
        for split in ("validation", "test"):
            for path in files(data / "clothing" / split / folder.name):
                linked(path, out / split / folder.name / path.name)
    return [str(out)]


def variants() -> Iterator[tuple[str, Callable[[Image.Image], Image.Image]]]:
    """Nine ways to change an image so that the way can be seen."""
    for turn in (0, 90, 180):
        for colour in ("plain", "grey", "negative"):

            def change(image: Image.Image, turn: int = turn, colour: str = colour) -> Image.Image:
                image = image.resize((160, 160)).rotate(turn)
                if colour == "grey":
                    image = ImageOps.grayscale(image).convert("RGB")
                return ImageOps.invert(image) if colour == "negative" else image

            yield f"{colour}-{turn}", change


def many_classes(data: Path, out: Path) -> list[str]:
    """24 classes seen in nine ways each: 216 classes of 24 images."""
    for name in ("cats_and_dogs_filtered", "clothing", "hymenoptera", "sign_language_digits"):
        for folder in sorted((data / name / "train").iterdir()):
            paths = files(folder)
            for index, path in enumerate(paths[:: max(1, len(paths) // 24)][:24]):
                image = opened(path)
                for way, change in variants():
                    target = out / f"{name}-{folder.name}-{way}" / f"{index}.jpg"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    change(image).save(target, quality=90)
    return [str(out)]


def many_images(data: Path, out: Path) -> list[str]:
    """25 different parts of each of 2,000 images: 50,000, kept together as groups."""
    return bursts(data, out, 25, 1000)


def bursts(
    data: Path, out: Path, parts: int = 8, most: int = 60, grouped: bool = True
) -> list[str]:
    """Several parts of each image: alike, so none may be in training and another in validation."""
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        for path in files(data / "cats_and_dogs_filtered" / "train" / name)[:most]:
            image = opened(path)
            for part in range(parts):
                side = int(rng.integers(130, 190))
                left, top = rng.integers(0, 200 - side, 2)
                target = out / name / f"{path.stem}-{part}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                box = (int(left), int(top), int(left) + side, int(top) + side)
                image.crop(box).save(target, quality=90)
    return [str(out), *(["--groups", r"(\w+\.\d+)-\d+\.jpg"] if grouped else [])]


def ungrouped(data: Path, out: Path) -> list[str]:
    """The same as bursts, without telling what belongs together."""
    return bursts(data, out, grouped=False)


def several_classes(data: Path, out: Path) -> list[str]:
    """Two pictures side by side, of one kind or of two: which kinds are in it?"""
    rng = np.random.default_rng(0)
    kinds = {
        "cat": ("cats_and_dogs_filtered", "cats"), "dog": ("cats_and_dogs_filtered", "dogs"),
        "ant": ("hymenoptera", "ants"), "bee": ("hymenoptera", "bees"),
        "shoes": ("clothing", "shoes"), "shirt": ("clothing", "shirt"),
    }  # fmt: skip
    rows = []
    for split, count, where in (("train", 600, "train"), ("validation", 300, None)):
        for index in range(count):
            chosen = [list(kinds)[k] for k in rng.integers(0, len(kinds), 2)]
            picture = Image.new("RGB", (320, 160))
            for place, kind in enumerate(chosen):
                name, label = kinds[kind]
                held = where or ("val" if name == "hymenoptera" else "validation")
                paths = files(data / name / held / label)
                image = opened(paths[int(rng.integers(len(paths)))]).resize((160, 160))
                picture.paste(image, (160 * place, 0))
            target = out / split / f"{index}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.save(target, quality=90)
            rows.append([str(target), ";".join(sorted(set(chosen))), split])
    table = out / "table.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split"], *rows])
    return [str(table)]


SETS: dict[str, tuple[Callable[[Path, Path], list[str]], list[list[str]]]] = {
    "imbalance": (imbalance, [[], ["--balanced"]]),
    "few": (few, [[]]),
    "many_classes": (many_classes, [[]]),
    "bursts": (bursts, [[]]),
    "ungrouped": (ungrouped, [[]]),
    "several_classes": (several_classes, [[], ["--cut", "last"]]),
    "many_images": (many_images, [[]]),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=list(SETS), choices=list(SETS))
    asked = parser.parse_args()
    for name in asked.only:
        make, variations = SETS[name]
        with tempfile.TemporaryDirectory() as scratch:
            arguments = make(asked.data, Path(scratch) / "set")
            for number, options in enumerate(variations):
                tell(name, arguments, options, Path(scratch) / str(number))


def tell(name: str, arguments: list[str], options: list[str], scratch: Path) -> None:
    command = [sys.executable, "-m", "headstart", "train", *arguments, *options, "--quiet",
               "--out", f"{scratch}/run"]  # fmt: skip
    environment = {**os.environ, "HEADSTART_CACHE": f"{scratch}/cache"}
    begun = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    run = Run(scratch / "run")
    row = {"bench": "hard sets", "set": name, "options": options, **run.record["images"],
           "classes": len(run.record["classes"]), "cut": "+".join(run.recipe.cut),
           "seconds": round(seconds, 1),
           "peak_megabytes": round(usage.ru_maxrss / 1024)}  # fmt: skip
    for split in ("cross_validation", "validation", "test"):
        if split in run.metrics:
            found = run.metrics[split].to_dict()
            for figure in ("accuracy", "balanced_accuracy", "mean_average_precision", "macro_f1"):
                if found.get(figure) is not None:
                    ends = found.get(f"{figure}_interval")
                    row[f"{split}_{figure}"] = [
                        round(float(value), 4) for value in (found[figure], *(ends or ()))
                    ]
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
