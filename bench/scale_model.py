"""What features and training take of a thousand million images: a model fitted to measured points.

    python bench/scale_model.py measure PHOTOS [--images 500 1000 2000 5000 10000 20000]
    python bench/scale_model.py tell [--points bench/scale_points.jsonl] [--images 1e6 1e8 1e9]

`measure` runs headstart features on so many photos each (repeated under changed bytes where there
are too few) and prints a point a line; points of training are what bench/large_head.py says. `tell`
fits values = a + b x images to seconds, memory and disk (a >= 0; errors count in proportion, so
that small points weigh as large ones) and prints the tables of docs/scale.md. How far the model may
be trusted it says itself: each time the largest point is left out, and told from the others.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

POINTS = Path(__file__).with_name("scale_points.jsonl")
CORES = 2  # of the machine that the points are of
# List prices of AWS in dollars, from memory, November 2026: look them up before you rely on them.
CORE_HOUR = 0.089 / 2  # c7i.large, on demand
GB_MONTH = 0.023  # S3 standard
MILLION_READ = 0.40  # GET requests
LAWS = (
    ("features", "processor", "processor seconds"),
    ("features", "disk_mb", "MB of files, f32"),
    ("training", "processor", "processor seconds"),
    ("training", "peak_mb", "MB of memory"),
)
Points = dict[str, np.ndarray]  # columns, from few images to many


def fit(images: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """(a, b) of values = a + b x images, a >= 0: least squares of relative errors."""
    rows = np.stack([np.ones(len(images)), images], 1) / values[:, None]
    a, b = np.linalg.lstsq(rows, np.ones(len(images)), rcond=None)[0]
    if a < 0:
        share = images / values
        return 0.0, float(share.sum() / (share**2).sum())
    return float(a), float(b)


def check(images: np.ndarray, values: np.ndarray) -> float:
    """How far the others miss the largest point, as a share of it."""
    a, b = fit(images[:-1], values[:-1])
    return float(a + b * images[-1] - values[-1]) / float(values[-1])


def read_points(path: Path) -> dict[str, Points]:
    """By job, features or training."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    jobs = {}
    for job in ("features", "training"):
        some = sorted((row for row in rows if row["job"] == job), key=lambda row: row["images"])
        jobs[job] = {name: np.array([row[name] for row in some], float)
                     for name in some[0] if name != "job"}  # fmt: skip
    return jobs


def measure(photos: Path, sizes: list[int]) -> None:
    from by_hand import lay_out, run_whole

    command = [sys.executable, "-m", "headstart", "features"]
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        environment = {**os.environ, "HEADSTART_CACHE": str(scratch / "cache")}
        for images in (100, *sizes):  # the first converts the network
            folder, out = lay_out(photos, scratch / "photos", images), scratch / "features"
            took = run_whole([*command, str(folder), "--to", str(out), "--no-cache"], environment)
            took["disk_mb"] = sum(path.stat().st_size for path in out.glob("*.parquet")) / 1e6
            if images in sizes:
                rounded = {name: round(value, 2) for name, value in took.items()}
                print(json.dumps({"job": "features", "images": images, **rounded}), flush=True)
            shutil.rmtree(folder)
            shutil.rmtree(out)


def tell(path: Path, sizes: list[float]) -> list[str]:
    """Two tables in Markdown, a line each: what to expect, and what that was fitted to."""
    jobs = read_points(path)
    laws = {(job, name): fit(jobs[job]["images"], jobs[job][name]) for job, name, _ in LAWS}
    features = jobs["features"]
    # A core is paid for while it waits, too.
    waits = float(np.median(CORES * features["seconds"] / features["processor"]))

    def expect(job: str, name: str, size: float) -> float:
        a, b = laws[job, name]
        return a + b * size

    told = [
        "| images | features: core hours | on 64 cores | cores | requests | files, f16 | a month |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for size in sizes:
        hours = waits * expect("features", "processor", size) / 3600
        disk = expect("features", "disk_mb", size) / 1000 / 2
        cells = (
            f"{size:,.0f}", _round(hours), _time(hours / 64), _money(hours * CORE_HOUR),
            _money(size / 1e6 * MILLION_READ), _bytes(disk), _money(disk * GB_MONTH),
        )  # fmt: skip
        told.append(f"| {' | '.join(cells)} |")
    told += [
        f"(by the clock {waits:.2f} times the processor seconds, the median of the points)",
        "| | of no image | of a million more | points, images | largest, told from the others |",
        "| --- | --- | --- | --- | --- |",
    ]
    for job, name, unit in LAWS:
        images, values = jobs[job]["images"], jobs[job][name]
        a, b = laws[job, name]
        told.append(
            f"| {job}, {unit} | {_round(a)} | {_round(b * 1e6)} | {len(images)}, {images[0]:,.0f} "
            f"to {images[-1]:,.0f} | {check(images, values):+.0%} |"
        )
    return told


def _round(number: float) -> str:
    """Two digits that count."""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def _money(dollars: float) -> str:
    return f"${_round(dollars)}" if dollars >= 10 else f"${dollars:.2f}"


def _time(hours: float) -> str:
    if hours < 1:
        return f"{_round(hours * 60)} min"
    return f"{_round(hours)} h" if hours < 72 else f"{_round(hours / 24)} days"


def _bytes(gigabytes: float) -> str:
    return f"{_round(gigabytes)} GB" if gigabytes < 1000 else f"{_round(gigabytes / 1000)} TB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = parser.add_subparsers(dest="job", required=True)
    one = jobs.add_parser("measure")
    one.add_argument("photos", type=Path)
    sizes = [500, 1000, 2000, 5000, 10000, 20000]
    one.add_argument("--images", nargs="*", type=int, default=sizes)
    two = jobs.add_parser("tell")
    two.add_argument("--points", type=Path, default=POINTS)
    two.add_argument("--images", nargs="*", type=float, default=[1e6, 1e8, 1e9])
    asked = parser.parse_args()
    if asked.job == "measure":
        measure(asked.photos, asked.images)
    else:
        print("\n".join(tell(asked.points, asked.images)))


if __name__ == "__main__":
    main()
