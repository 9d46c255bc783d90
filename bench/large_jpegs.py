"""How far a large JPEG's numbers are apart as a file and as the pixels decoded from it.

python bench/large_jpegs.py RUN PHOTOS: photos enlarged until files are decoded at reduced scale,
with a sensor's noise, saved as JPEG; each predicted from its bytes and from its pixels. Prints one
JSON line: differences of probabilities, by the shorter side in inputs of the network.
"""

import argparse
import io
import json

import numpy as np
from PIL import Image

from headstart import load
from headstart.data.places import images_in

SIDES = (4, 6, 12)  # from 4 on the file is reduced
NOISE = 6  # standard deviation, of 255


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("photos")
    parser.add_argument("--images", type=int, default=60)
    asked = parser.parse_args()
    classifier, rng = load(asked.run), np.random.default_rng(0)
    items = images_in([asked.photos])
    chosen = [items[i] for i in sorted(rng.permutation(len(items))[: asked.images])]
    answer: dict[str, object] = {"bench": "large_jpegs", "images": len(chosen)}
    for side in SIDES:
        apart = []
        for item in chosen:
            data = enlarge(item.read(), side * classifier.geometry.height, rng)
            rows = classifier.predict_proba([data, Image.open(io.BytesIO(data))])
            apart.append(float(np.abs(rows[0] - rows[1]).max()))
        answer[f"{side} inputs"] = {
            "mean": round(float(np.mean(apart)), 4),
            "95%": round(float(np.quantile(apart, 0.95)), 4),
            "max": round(max(apart), 4),
        }
    print(json.dumps(answer))


def enlarge(data: bytes, side: int, rng: np.random.Generator) -> bytes:
    """The photo with a shorter side of so many pixels, as a JPEG."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = side / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    noisy = np.asarray(image) + rng.normal(0, NOISE, (image.height, image.width, 1))
    target = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(target, "JPEG", quality=90)
    return target.getvalue()


if __name__ == "__main__":
    main()
