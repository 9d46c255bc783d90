"""Whether the exported page says what `predict` says: both asked of the same photos, the page in
headless Chromium, from the disk.

python bench/web_page.py RUN PHOTOS [--page PAGE/index.html] [--images 200]: PAGE as made by
`headstart export RUN --to web`; by default one is made. Prints one JSON line: equal labels,
differences of probabilities, every label that differs with both probabilities, how far the page's
pixels are from headstart's (of 255), seconds until it is ready, milliseconds a photo, what it
requested and what stood on its console. Needs Playwright and Chromium.
"""

import argparse
import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import load
from headstart.data.places import images_in
from headstart.errors import BadImage
from headstart.export.browser import open_page
from headstart.export.formats import Subject
from headstart.export.parity import reference
from headstart.export.to_web import export_web
from headstart.images.geometry import prepare

ASK = """async (text) => {
  const blob = new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
  const began = performance.now();
  try {
    const answer = await headstart.classify(blob);
    const spent = performance.now() - began;
    const input = headstartPixels.prepare(await headstart.decode(blob), headstartCard.geometry);
    let pixels = "";
    for (let at = 0; at < input.data.length; at += 8192) {
      pixels += String.fromCharCode(...input.data.subarray(at, at + 8192));
    }
    const { probabilities, label } = answer;
    return { probabilities, label, spent, pixels: btoa(pixels) };
  } catch (error) { return { error: error.message }; }
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--images", type=int, default=200)
    given = parser.parse_args()
    classifier = load(given.run)
    items = images_in([given.photos])
    places = np.unique(np.linspace(0, len(items) - 1, given.images).astype(int))
    paths = [items[place].path for place in places]
    with tempfile.TemporaryDirectory() as name:
        page = given.page
        if page is None:
            export_web(Subject(classifier), Path(name) / "page", precision="f32")
            page = Path(name) / "page" / "index.html"
        answers, ready, requests, console = ask_page(page, [path.read_bytes() for path in paths])
    said = classifier.predict(paths)
    differences, exact, pixels, other, errors = [], [], [], [], []
    full = reference(classifier, paths)  # predict itself may compute in bf16
    for path, mine, its, precise in zip(paths, said, answers, full, strict=True):
        if mine.error or its.get("error"):
            errors.append([path.name, mine.error, its.get("error")])
            continue
        own = np.array([mine.probabilities[name] for name in classifier.classes])
        found = np.array(its["probabilities"])
        differences.append(float(np.abs(own - found).max()))
        exact.append(float(np.abs(precise - found).max()))
        pixels.append(compare_pixels(path.read_bytes(), its["pixels"], classifier.geometry))
        if mine.label != its["label"]:
            other.append([path.name, mine.label, mine.probability, its["label"], found.max()])
    known = len(differences)
    print(json.dumps({
        "run": given.run.name, "photos": given.photos.name, "images": len(paths),
        "equal labels": 1 - len(other) / known, "other labels": other, "unusable": errors,
        "difference at most": max(differences), "in the mean": float(np.mean(differences)),
        "from predict in f32 at most": max(exact), "predict's precision": classifier.precision,
        "pixels differ at most": max(p[0] for p in pixels),
        "pixels differ in the mean": float(np.mean([p[1] for p in pixels])),
        "ready after s": ready,
        "ms a photo": float(np.median([a["spent"] for a in answers if "spent" in a])),
        "requests": requests, "console": console,
    }))  # fmt: skip


def compare_pixels(data: bytes, text: str, geometry: Any) -> tuple[int, float]:
    """Of the network's input: the largest difference and the mean one, of 255."""
    try:
        own = prepare(data, geometry).astype(int)
    except BadImage:
        return 0, 0.0
    found = np.frombuffer(base64.b64decode(text), np.uint8).reshape(own.shape)
    return int(np.abs(own - found).max()), float(np.abs(own - found).mean())


def ask_page(page: Path, images: list[bytes]) -> tuple[list[Any], float, list[str], list[str]]:
    """Answers, seconds until the page is ready, its requests, and its console."""
    with open_page(page) as opened:
        answers = [opened.page.evaluate(ASK, base64.b64encode(data).decode()) for data in images]
    return answers, opened.ready, opened.requests, opened.console


if __name__ == "__main__":
    main()
