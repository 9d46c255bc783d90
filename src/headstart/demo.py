"""The main job on real images that an installed package ships: no download."""

from pathlib import Path

from headstart.report.words import summary
from headstart.runs.evaluate import evaluate
from headstart.runs.training import train
from headstart.system.atomic import folder_atomically
from headstart.system.progress import Progress

LEARN, NEW = 1500, 5  # digits to learn from, and to predict as new; those between are held out
PIXELS = 96  # the originals have 8


def write_digits(folder: Path) -> None:
    """scikit-learn's handwritten digits (UCI, 1,797 images of 8x8) as PNG files in `folder`.

    photos/0 .. photos/9 to learn from, held_out/0 .. held_out/9 to evaluate on, new/ to predict.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    count = len(digits.images)
    with folder_atomically(folder) as temporary:
        for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            if index >= count - NEW:
                target = temporary / "new" / f"digit-{index}-is-{label}.png"
            else:
                part = "photos" if index < LEARN else "held_out"
                target = temporary / part / str(label) / f"digit-{index}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            grey = Image.fromarray(np.uint8(255 - pixels * 15.9375))
            grey.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC).save(target)


def run_demo(folder: Path, progress: Progress) -> None:
    """Write the images, train, evaluate, predict new ones, and say what was done."""
    images = folder / "digits"
    if not images.is_dir():
        write_digits(images)
    progress.say(f"Real images: scikit-learn's handwritten digits, written to {images}")
    run = train(images / "photos", out=_free(folder), progress=progress)
    print(run.summary())
    print("\nThe saved classifier on images that it never saw:")
    print(summary(evaluate(run, images / "held_out")))
    print("\nNew images:")
    for prediction in run.classifier.predict(images / "new"):
        print(f"  {Path(prediction.name).name}: {prediction.label} ({prediction.probability:.1%})")
    print(
        f"\nDone: {images / 'photos'} became a classifier in {run.record['seconds']['total']} s.\n"
        f"The result lies in {run.folder}\n"
        f"Try: headstart predict {run.folder} {images / 'new'}"
    )


def _free(folder: Path) -> Path:
    number = 1
    while (folder / f"run-{number}").exists():
        number += 1
    return folder / f"run-{number}"
