"""What the audit finds of faults that are made on purpose, in links to real images.

python bench/audit.py DATA [--only CASE ...] [--sets SET ...] [--seeds N]: DATA holds
cats_and_dogs_filtered, clothing, hymenoptera and sign_language_digits. Prints one JSON line a case:

labels      5% of the labels flipped: the share of them in the first tenth of the ranking, in the
            list, the list's true and stated share; average precision beside, where cleanlab is
            installed, its rankings of the same probabilities
copies      40 images re-encoded, resized, cropped to 85%, mirrored and darkened or brightened, put
            on the other side of the split: found, and reported beside them
aliens      20 images of another set: found as outliers, those of the set that are, and found at 5%
            false alarms
shortcuts   a border, a file format, a brightness that gives a class away: named or not
clean       the sets as they are: what is found
seconds     a second audit of cats_and_dogs_filtered, the whole process
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from headstart.audit.audit import Audit, audit
from headstart.data.dataset import load
from headstart.data.item import Item
from headstart.features.extract import extract_features
from headstart.features.extractor import open_extractor
from headstart.heads import linear
from headstart.heads.examples import Examples
from headstart.recipe import load_recipe

SETS = ("hymenoptera", "clothing", "sign_language_digits", "cats_and_dogs_filtered")
WRONG, COPIES, ALIENS = 0.05, 40, 20
Row = dict[str, Any]


def link_all(items: list[Item], folder: Path) -> list[Path]:
    """The images as links in folder/split/class."""
    places = []
    for item in items:
        place = folder / (item.split or "train") / item.label / item.path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(item.path.resolve())
        places.append(place)
    return places


def opened(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def average_precision(scores: np.ndarray, wrong: np.ndarray) -> float:
    hits = wrong[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def labels(items: list[Item], data: Path, folder: Path, rng: np.random.Generator) -> Row:
    classes = sorted({item.label for item in items})
    wrong = set(rng.choice(len(items), round(WRONG * len(items)), replace=False).tolist())
    rows, given = [], []
    for number, item in enumerate(items):
        others = [name for name in classes if name != item.label]
        given.append(str(rng.choice(others)) if number in wrong else item.label)
        rows.append(f'"{item.path}",{given[-1]},{item.split}')
    table = folder / "photos.csv"
    table.write_text("path,label,split\n" + "\n".join(rows))
    found = audit(table)
    assert found.labels is not None
    order = found.labels.order
    judged = [item.path for item in found.paths]
    is_wrong = np.array([str(path) in {str(items[i].path) for i in wrong} for path in judged])
    listed = order[: found.labels.listed]
    row = {
        "in_first_tenth": is_wrong[order[: len(order) // 10]].sum() / len(wrong),
        "in_list": is_wrong[listed].sum() / len(wrong), "listed": len(listed),
        "right": is_wrong[listed].mean() if len(listed) else None, "stated": found.labels.share,
    }  # fmt: skip
    return {**row, **beside(table, found, is_wrong)}


def beside(table: Path, found: Audit, wrong: np.ndarray) -> Row:
    """Average precision of this and other rankings, all of the same probabilities."""
    from headstart.audit.labels import rank_labels
    from headstart.audit.neighbours import normalise

    recipe, dataset = load_recipe(cut="last"), load(table)
    features = extract_features(dataset.items, open_extractor(recipe), recipe)
    targets = dataset.task.targets([item.labels for item in features.items])
    examples = Examples(values=features.values, targets=targets, task=dataset.task)
    logits = linear.cross_validate(examples).logits
    probabilities = dataset.task.loss.probabilities(logits.astype(np.float64))
    ours = rank_labels(normalise(features.values[:, 0]), targets, probabilities, dataset.task)
    row = {"average_precision": average_precision(ours.scores, wrong)}
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return row
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        quality = get_label_quality_scores(targets, probabilities, method=method)
        row[f"cleanlab_{method}"] = average_precision(-quality, wrong)
    return row


CHANGES: dict[str, Callable[[Image.Image, np.random.Generator], tuple[Image.Image, int]]] = {
    "reencoded": lambda image, rng: (image, int(rng.integers(30, 70))),
    "resized": lambda image, rng: (ImageOps.scale(image, rng.uniform(0.4, 0.8)), 85),
    "cropped": lambda image, rng: (crop(image, rng), 90),
    "mirrored": lambda image, rng: (ImageOps.mirror(image), 90),
    "brightness": lambda image, rng: (
        ImageEnhance.Brightness(image).enhance(float(rng.choice([0.65, 1.4]))), 90),
}  # fmt: skip


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    width, height = (round(0.85 * side) for side in image.size)
    x, y = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((x, y, x + width, y + height))


def copies(items: list[Item], data: Path, folder: Path, rng: np.random.Generator) -> Row:
    places = link_all(items, folder)
    made = {}
    training = [i for i, item in enumerate(items) if item.split == "train"]
    for number, i in enumerate(rng.choice(training, COPIES, replace=False).tolist()):
        kind = list(CHANGES)[number % len(CHANGES)]
        changed, quality = CHANGES[kind](opened(items[i].path), rng)
        copy = folder / "validation" / items[i].label / f"{kind}-{number}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        changed.save(copy, quality=quality)
        made[str(copy.relative_to(folder))] = str(places[i].relative_to(folder))
    found = audit(folder)
    before = audit_of_clean(items)
    pairs = [{found.paths[i] for i in f.items} for f in found.of("near_duplicate")]
    hit = [copy for copy, original in made.items() if any({copy, original} <= p for p in pairs)]
    false = [pair for pair in pairs if not pair & set(made)]
    leaks = sum(bool({found.paths[i] for i in f.items} & set(made)) for f in found.of("leak"))
    return {
        "found": len(hit) / COPIES, "reported": len(pairs), "without_a_copy": len(false),
        "known_before": before, "as_leaks": leaks / COPIES,
        "missed": Counter(name.split("/")[-1].split("-")[0] for name in set(made) - set(hit)),
    }  # fmt: skip


def audit_of_clean(items: list[Item]) -> int:
    """Near-duplicates that the set has of its own."""
    source = items[0].path.parents[2]
    return len(audit(source).of("near_duplicate"))


def aliens(items: list[Item], data: Path, folder: Path, rng: np.random.Generator) -> Row:
    link_all(items, folder)
    own = items[0].path.parents[2].name
    other = {"cats_and_dogs_filtered": "clothing"}.get(own, "cats_and_dogs_filtered")
    strangers = list(load(data / other).items)
    classes = sorted({item.label for item in items})
    for number, i in enumerate(rng.choice(len(strangers), ALIENS, replace=False).tolist()):
        place = folder / "train" / classes[number % len(classes)] / f"alien-{number}.jpg"
        place.symlink_to(strangers[i].path.resolve())
    found = audit(folder)
    names = [found.paths[finding.items[0]] for finding in found.of("outlier")]
    hit = [name for name in names if "alien-" in name]
    return {
        "of": other, "found": len(hit) / ALIENS,
        "false_alarms": (len(names) - len(hit)) / len(items),
        "at_5_percent": at_false_alarms(folder, 0.05),
    }  # fmt: skip


def at_false_alarms(folder: Path, share: float) -> float:
    from headstart.audit.neighbours import find_neighbours, normalise

    recipe, dataset = load_recipe(cut="last"), load(folder)
    features = extract_features(dataset.items, open_extractor(recipe), recipe)
    remote = find_neighbours(normalise(features.values[:, 0])).remote
    strange = np.array(["alien-" in item.name for item in features.items])
    return float((remote[strange] > np.quantile(remote[~strange], 1 - share)).mean())


SHORTCUTS: dict[str, Callable[[Image.Image, Path], None]] = {
    "border": lambda image, place: ImageOps.expand(
        ImageOps.crop(image, 4), 4, (255, 255, 255)).save(place, quality=90),
    "format": lambda image, place: image.save(place.with_suffix(".png")),
    "brightness": lambda image, place: ImageEnhance.Brightness(image).enhance(0.5).save(
        place, quality=90),
}  # fmt: skip


def shortcuts(
    items: list[Item], data: Path, folder: Path, rng: np.random.Generator
) -> Iterator[Row]:
    marked = sorted({item.label for item in items})[0]
    for name, change in SHORTCUTS.items():
        where = folder / name
        for place, item in zip(link_all(items, where), items, strict=True):
            if item.label == marked:
                place.unlink()
                change(opened(item.path), place.with_suffix(".jpg"))
        found = audit(where).of("shortcut")
        named = [finding.details["property"] for finding in found]
        yield {"seeded": name, "named": named, "right": name in named[:1], "among": name in named}
        shutil.rmtree(where)


def clean(items: list[Item], data: Path, folder: Path, rng: np.random.Generator) -> Row:
    found = audit(items[0].path.parents[2])
    return {"found": Counter(finding.kind for finding in found.findings)}


CASES = {
    "labels": labels, "copies": copies, "aliens": aliens, "shortcuts": shortcuts, "clean": clean,
}  # fmt: skip


def measure_seconds(data: Path) -> Row:
    command = [sys.executable, "-m", "headstart", "audit", str(data / SETS[-1]), "--json"]
    subprocess.run(command, check=True, capture_output=True)
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return {"case": "seconds", "set": SETS[-1], "seconds": time.perf_counter() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=[*CASES, "seconds"])
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    for name in arguments.sets:
        items = list(load(arguments.data / name).items)
        for case in [case for case in CASES if case in arguments.only]:
            for seed in range(arguments.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    rng = np.random.default_rng(seed)
                    rows = CASES[case](items, arguments.data, Path(folder), rng)
                    for row in [rows] if isinstance(rows, dict) else rows:
                        tell({"case": case, "set": name, "seed": seed, **row})
    if "seconds" in arguments.only:
        tell(measure_seconds(arguments.data))


def tell(row: Row) -> None:
    def plain(value: Any) -> Any:
        return round(float(value), 4) if isinstance(value, float | np.floating) else value

    print(json.dumps({key: plain(value) for key, value in row.items()}), flush=True)


if __name__ == "__main__":
    main()
