"""model.keras, where Keras has trained: the whole as one Keras model, compiled as it was trained,
and beside it what it wants to see.
"""

from pathlib import Path
from typing import Any

from headstart.backbones.catalogue import Normalisation
from headstart.heads.head import Head
from headstart.images.geometry import Geometry
from headstart.recipe import Recipe
from headstart.runs.steps import Inputs
from headstart.system.atomic import file_atomically, write_atomically

MODEL, README = "model.keras", "model.keras.md"
# Pillow's way to the same shape: exactly headstart's for nearest, all but the last digits else.
RESIZING = {
    "squash": "image = image.resize(({width}, {height}), how)",
    "crop": "image = ImageOps.fit(image, ({width}, {height}), how)",
    "pad": "image = ImageOps.pad(image, ({width}, {height}), how)",
}
FILTERS = {
    "antialias": "BOX if min(image.size) >= {width} else Image.Resampling.BILINEAR",
    "nearest": "NEAREST",
    "bilinear": "BILINEAR",
    "bicubic": "BICUBIC",
}
SHAPES = {
    "squash": "squashed to that shape, whatever their proportions",
    "crop": "the largest part of that shape's proportions, from the middle",
    "pad": "whole, their proportions kept, in the middle of black",
}


def write(folder: Path, inputs: Inputs, head: Head) -> None:
    """model.keras and its README. Raises WeightsError where the backbone's weights are gone."""
    from headstart.tuning.keras_model import keras_model, normalisation_of

    recipe = inputs.recipe
    model = keras_model(recipe, head, inputs.extractor.cuts)
    _compile(model, recipe)
    with file_atomically(folder / MODEL) as temporary:
        model.save(temporary, zipped=True)
    text = describe(
        recipe, inputs.task.classes, inputs.extractor.geometry, normalisation_of(recipe),
        optimizer=type(model.optimizer).__name__, binary=model.output_shape[-1] == 1,
    )  # fmt: skip
    write_atomically(folder / README, text.encode())


def _compile(model: Any, recipe: Recipe) -> None:
    """With the recipe's optimizer, loss and accuracy. Its slots are made, or Keras warns of them
    whenever the file is opened.
    """
    import keras

    from headstart.heads.neural import compile_model, make_optimizer

    if recipe.head == "neural":
        optimizer = make_optimizer(recipe)
    else:  # as fine-tuning had it, but for the rates of single blocks
        optimizer = keras.optimizers.AdamW(
            recipe.tune_learning_rate, weight_decay=recipe.weight_decay
        )
    compile_model(model, recipe, optimizer, jit_compile=False)
    model.optimizer.build(model.trainable_variables)


def describe(
    recipe: Recipe,
    classes: tuple[str, ...],
    geometry: Geometry,
    rule: Normalisation,
    *,
    optimizer: str,
    binary: bool,
) -> str:
    """What the model wants and says, with lines to run that need Keras, Pillow and NumPy alone."""
    width, height = geometry.width, geometry.height
    resizing = (
        f"how = Image.Resampling.{FILTERS[geometry.interpolation]}\n" + RESIZING[geometry.resize]
    )
    mean, std = (_plain(values) for values in (rule.mean, rule.std))
    lines = ["x = np.asarray(image, np.float32)"]
    lines += ["x = x[..., ::-1]"] if rule.bgr else []
    range_ = "each channel 0 to 255"
    if any(rule.mean):
        lines += [f"x = x - np.array({mean}, np.float32)"]
        range_ += f", minus {mean}"
    if any(value != 1 for value in rule.std):
        lines += [f"x = x / np.array({std}, np.float32)"]
        range_ += f", divided by {std}"
    order = "BGR" if rule.bgr else "RGB"
    smoothing = f", label smoothing {recipe.label_smoothing:g}" if recipe.label_smoothing else ""
    if binary:
        says = f"the probability of `{classes[1]}`; that of `{classes[0]}` is what is left to 1"
        labels, loss = "0 and 1 in this order", "binary cross-entropy"
    else:
        says = f"the probabilities of {', '.join(f'`{name}`' for name in classes)}"
        labels, loss = "one-hot in this order", "categorical cross-entropy"
    return f"""# model.keras

The classifier as one Keras model, which opens without headstart. **It wants pixels as the backbone
was fed them, not as a file has them:**

* shape (N, {height}, {width}, 3), float32, {order}, channels last
* images upright, {SHAPES[geometry.resize]} ({geometry.interpolation})
* {range_}

It says {says}.

```python
import keras
import numpy as np
from PIL import Image, ImageOps

model = keras.models.load_model("model.keras")
image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
{resizing.format(width=width, height=height)}
{chr(10).join(lines)}
print(model.predict(x[None]))
```

It is compiled as it was trained: {optimizer}, {loss}{smoothing}, accuracy;
labels are {labels}. `model.fit` goes on training what is on top; the backbone's layers
are locked, until `layer.trainable = True` and `model.compile` again.

Pillow resizes almost as headstart does. For the very same numbers, or a model that takes the pixels
of a file as they are: `headstart export RUN --to keras`.
"""


def _plain(values: tuple[float, float, float]) -> str:
    """One number where all channels have the same."""
    return f"{values[0]:g}" if len(set(values)) == 1 else str(list(values))
