"""The classic recipe against the same recipe in plain Keras, whole processes, in the same minutes.

Prints one JSON line. The baseline is a plain-Keras script that trains InceptionV3 cut at mixed7
with Flatten, Dense 1024, Dropout 0.2, one sigmoid, fed by ImageDataGenerator; it and its images
lie beside the project (or in $HEADSTART_SHARED).

    python bench/classic.py [--epochs 20] [--rounds 1] [--skip-baseline]

The baseline runs for `--baseline-epochs` epochs and its time is scaled to `--epochs`; start-up is
not scaled. With `--baseline-epochs` equal to `--epochs` nothing is scaled.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARED = Path(os.environ.get("HEADSTART_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return time.perf_counter() - started, done.stdout


def ours(photos: Path, epochs: int, *more: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HEADSTART_CACHE": f"{folder}/cache"}
        weights = SHARED / "weights" / "inception_v3_notop.h5"
        seconds, output = timed(
            [
                sys.executable, "-m", "headstart", "train", str(photos), "--json",
                "--out", f"{folder}/run", "--set", f"epochs={epochs}", *more,
                *(("--weights", str(weights)) if "--recipe" in more else ()),
            ],
            environment,
        )  # fmt: skip
        validation = json.loads(output)["metrics"]["validation"]
    return {
        "seconds": round(seconds, 1),
        "accuracy": validation["accuracy"],
        "accuracy_interval": validation["accuracy_interval"],
    }


def baseline(photos: Path, epochs: int, measured: int) -> dict[str, object]:
    script = SHARED / "reference" / "keras_recipe.py"
    weights = SHARED / "weights" / "inception_v3_notop.h5"
    seconds, output = timed(
        [sys.executable, str(script), str(photos), "--weights", str(weights),
         "--epochs", str(measured)],
        {**os.environ, "KERAS_BACKEND": "tensorflow"},
    )  # fmt: skip
    result = json.loads(output.strip().splitlines()[-1])
    per_epoch = result["seconds_per_epoch"]
    later = sum(per_epoch[1:]) / max(1, len(per_epoch) - 1) if measured > 1 else per_epoch[0]
    return {
        "seconds": round(seconds + (epochs - measured) * later, 1),
        "epochs_measured": measured,
        "accuracy": result["history"]["val_accuracy"][-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--baseline-epochs", type=int, default=3)
    options = parser.parse_args()
    photos = SHARED / "data" / "cats_and_dogs_filtered"
    if not photos.is_dir():
        sys.exit(f"needs the images and the baseline in {SHARED} (set HEADSTART_SHARED)")
    found = {
        "quick": ours(photos, options.epochs),
        "classic": ours(photos, options.epochs, "--recipe", "classic"),
        "classic_views_5": ours(photos, options.epochs, "--recipe", "classic", "--set", "views=5"),
        "baseline": baseline(photos, options.epochs, options.baseline_epochs),
    }
    base = float(str(found["baseline"]["seconds"]))
    ratios = {
        name: round(base / float(str(row["seconds"])), 2)
        for name, row in found.items()
        if name != "baseline"
    }
    print(
        json.dumps({"bench": "classic", "epochs": options.epochs, **found, "times_faster": ratios})
    )


if __name__ == "__main__":
    main()
