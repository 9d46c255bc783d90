"""Makes such runs as lie here with the version of headstart that is imported.

python make.py OUT, with that version's src on PYTHONPATH. Paths of the machine are rewritten to
/photos; what no reader asks for (pictures, the Keras model) is left out.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

import headstart

SMALL = {"cut": "block1a_project_bn", "size": 64, "precision": "f32"}
NEURAL = {**SMALL, "head": "neural", "layers": ["batchnorm", "dense 8 relu"], "epochs": 4,
          "learning_rate": 0.02, "batch_size": 8}  # fmt: skip


def draw(folder: Path) -> None:
    """64 pictures of 20 x 20 pixels: a disc or none, on a dark or a bright ground, with noise.

    Some labels are wrong, so that no head is sure and every digit of a probability counts.
    """
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:20, :20]
    rows = []
    for index in range(64):
        disc, dark = bool(index % 2), bool(index // 2 % 2)
        pixels = rng.integers(0, 3, (20, 20, 3)) * 24 + (20 if dark else 120)
        if disc:
            x, y = rng.integers(6, 14, 2)
            pixels[(across - x) ** 2 + (down - y) ** 2 < rng.integers(9, 25)] += (60, 20, 10)
        disc, dark = disc ^ (rng.random() < 0.12), dark ^ (rng.random() < 0.12)
        path = folder / ("disc" if disc else "plain") / f"{index:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path, optimize=True)
        names = [name for name, true in (("disc", disc), ("dark", dark)) if true]
        rows.append((path.relative_to(folder).as_posix(), ";".join(names)))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "label"), *rows])


def pack(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            packed.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes())


def stop_in_the_middle(photos: Path, out: Path) -> None:
    """A neural training killed after its second epoch."""
    here = Path(headstart.__file__).parent / "heads" / "epochs.py"
    program = f"""
import time, headstart
import headstart.heads.{"epochs" if here.exists() else "neural"} as epochs
epochs.SHARE = 1e9  # a checkpoint after every epoch
import keras
class Slow(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            time.sleep(60)
headstart.train({str(photos)!r}, out={str(out)!r}, callbacks=[Slow()], **{NEURAL!r})
"""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", program], env=environment)
    while child.poll() is None:
        history = out / "history.csv"
        if history.is_file() and len(history.read_text().splitlines()) >= 3:
            time.sleep(1)  # the checkpoint follows the history
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()


def main(out: Path) -> None:
    out.mkdir(parents=True)
    os.environ["HEADSTART_CACHE"] = str(out.parent / "cache-of-old-runs")
    photos = Path(tempfile.mkdtemp()) / "photos"
    photos.mkdir()
    draw(photos)
    table = photos / "labels.csv"
    folders = photos.parent / "folders"
    shutil.copytree(photos, folders, ignore=shutil.ignore_patterns("*.csv"))
    headstart.train(folders, out=out / "linear", **SMALL)
    headstart.train(table, out=out / "several_classes", **SMALL)
    headstart.train(folders, out=out / "neural", **NEURAL)
    stop_in_the_middle(folders, out / "stopped")
    names = sorted(path.relative_to(photos).as_posix() for path in photos.glob("*/*.png"))
    probabilities = {
        run: {
            name: dict(sorted(prediction.probabilities.items()))
            for name, prediction in zip(
                names, headstart.load(out / run).predict([photos / n for n in names]), strict=True
            )
        }
        for run in ("linear", "several_classes", "neural")
    }
    (out / "probabilities.json").write_text(json.dumps(probabilities, indent=1) + "\n")
    for path in [*out.rglob("*.png"), *out.rglob("model.keras")]:
        path.unlink()
    for path in out.glob("*/*.json"):
        text = path.read_text()
        for real in (table, folders.resolve(), folders, photos):
            text = text.replace(str(real), "/photos/labels.csv" if real == table else "/photos")
        path.write_text(text)
    pack(photos, out / "photos.zip")


main(Path(sys.argv[1]))
