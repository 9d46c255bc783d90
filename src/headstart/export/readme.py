"""An export's README: what it is, and how to use it in ten lines without headstart."""

from pathlib import Path
from typing import Any

from headstart.export.formats import Format

# (H, W, 3) uint8 `pixels` to `probabilities`, by format.
TEN_LINES = {
    "onnx": """session = onnxruntime.InferenceSession("model.onnx")
(probabilities,) = session.run(["probabilities"], {"image": pixels[None]})""",
    "openvino": """model = openvino.Core().compile_model("model.xml", "CPU")
probabilities = model(pixels[None])["probabilities"]""",
    "keras": """model = keras.models.load_model("model.keras")
probabilities = model.predict(pixels[None])""",
    "savedmodel": """model = tensorflow.saved_model.load("model").signatures["serve"]
probabilities = model(image=tensorflow.constant(pixels[None]))["probabilities"].numpy()""",
    "litert": """model = Interpreter("model.tflite").get_signature_runner()
probabilities = model(image=pixels[None])["probabilities"]""",
}
IMPORT = {
    "onnx": "import onnxruntime", "openvino": "import openvino", "keras": "import keras",
    "savedmodel": "import tensorflow",
    "litert": "from ai_edge_litert.interpreter import Interpreter",
}  # fmt: skip
RESIZE = {
    "squash": "squashed to the shape, whatever its proportions",
    "crop": "the largest part of the shape's proportions, cut from the middle",
    "pad": "all of it, its proportions kept, in the middle of a black input",
}


def write_readme(folder: Path, record: dict[str, Any], form: Format) -> None:
    """README.md of an export whose record is known but for the digests."""
    geometry, parity = record["geometry"], record["parity"]
    height, width, how = geometry["height"], geometry["width"], geometry["interpolation"]
    classes = "\n".join(f"{number}. `{name}`" for number, name in enumerate(record["classes"]))
    several = ""
    if record["thresholds"] is not None:
        several = (
            "\nAn image may be in several classes: it is in each whose probability is at least its "
            "threshold (`thresholds` in export.json, in this order).\n"
        )
    sure = ""
    if record["not_sure"]:
        sure = (
            "\nWhere only safe answers are wanted: `not_sure` in export.json has, for an accuracy "
            "asked for, the least probability of each class from which on it is kept (2: never).\n"
        )
    unlike, typical, reject = "", "", ""
    if record["none_of_these"] is not None:
        told = record["none_of_these"]
        low, high = told["rates"]
        unlike = (
            "\nFor an image of none of the classes the second output `typicality` (float32, shape "
            "(1,)) is small: it is\nthe share of training images that are as far from all others. "
            'Say "none of these" where it is at most\na rate of your choice, the share of false '
            f"alarms, from {low:.2g} to {high:g} (`none_of_these` in export.json).\n"
        )
        typical = (
            f"Largest difference of a typicality {told['difference']:.1e} (allowed "
            f"{told['tolerance']:.2g}). "
        )
        reject = '\npython run.py --reject 0.05 *.jpg   # "none of these", at 5% false alarms'
    accuracy = (
        '\npython run.py --accuracy 0.99 *.jpg # "not sure" unless 99% of the answers are right'
        if record["not_sure"]
        else ""
    )
    own = parity["own"]
    itself = (
        f"The classifier itself computes in {record['provenance']['precision']} where it was "
        f"trained, and differs from that by up to {own['difference']:.1e}.\n"
        if own
        else ""
    )
    allowed = f" (allowed {record['tolerance']:g})" if record["precision"] != "int8" else ""
    text = f"""# An image classifier in {form.title}

From {width} x {height} RGB pixels (uint8, shape (1, {height}, {width}, 3)) to the probabilities of
{len(record["classes"])} classes; normalisation and calibration are inside. Without headstart:

```console
pip install {" ".join(f"'{name}'" for name in record["runtime"])}
python run.py photo.jpg             # class and probability
python run.py --json *.jpg          # all probabilities{accuracy}{reject}
python run.py --golden              # does it predict here what it predicted there?
```

```python
import json
{IMPORT[form.kind]}
import run                          # run.py, beside this file

record = json.load(open("export.json", encoding="utf-8"))
pixels = run.read("photo.jpg", {height}, {width}, "{how}")
pixels = run.resize(pixels, {height}, {width}, "{geometry["resize"]}", "{how}")
{TEN_LINES[form.kind]}
print(dict(zip(record["classes"], probabilities[0].tolist())))
```

An image is decoded upright (EXIF), transparency over white, reduced by 2, 4 or 8 where it is many
times too large, then {RESIZE[geometry["resize"]]}, by area
averaging where it shrinks ({how}). Whoever resizes otherwise gets other
probabilities: `run.py` does it as it was done in training.

## Classes

{classes}
{several}{sure}{unlike}
## What was measured

{parity["images"]} files, odd ones among them, by `run.py` in the format's own runtime against the
classifier in f32: largest difference of a probability {parity["difference"]:.1e}{allowed},
the same class in {parity["labels"]:.1%}.
{typical}{itself}
## Licence and origin

{record["licence"]}. Backbone {record["backbone"]}, cut at {", ".join(record["cuts"])}. Versions and
digests: export.json.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
