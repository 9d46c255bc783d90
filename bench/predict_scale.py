"""A table of very many lines predicted, killed with -9 on the way, and gone on with.

python bench/predict_scale.py RUN PHOTOS [--rows 1000000] [--format csv] [--kills 2] [--distinct]:
PHOTOS is a folder of some hundred images, which the lines repeat. Files of equal content are
computed once while they are remembered (512 of them); --distinct goes through all images there are,
so that with more than 600 each line is computed. Prints one JSON line: whether every line has its
row once and in order, rows a second, and the process's memory (MB) early on and at its most.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from headstart.data.source import stream_items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--format", choices=["csv", "jsonl", "parquet"], default="csv")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--distinct", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        table, out = Path(name) / "rows.csv", Path(name) / f"labels.{given.format}"
        images = write_table(table, given.photos, given.rows, given.distinct)
        command = [sys.executable, "-m", "headstart", "predict", str(given.run), str(table),
                   "--out", str(out), "--resume"]  # fmt: skip
        began, seconds, memory = time.perf_counter(), [], []
        for kill in range(given.kills + 1):
            stop_at = (kill + 1) / (given.kills + 1) if kill < given.kills else None
            spent, used = follow(command, out, given.rows, stop_at)
            seconds.append(spent)
            memory.append(used)
        names = [str(item.path) for item in stream_items([table])]
        whole = list(read_names(out)) == names
    print(json.dumps({
        "rows": given.rows, "images": images, "format": given.format, "kills": given.kills,
        "every line once": whole, "seconds": [round(s, 1) for s in seconds],
        "rows a second": round(given.rows / (time.perf_counter() - began)),
        "MB after a tenth of a part": [m[0] for m in memory], "MB at most": [m[1] for m in memory],
    }))  # fmt: skip


def write_table(table: Path, photos: Path, rows: int, distinct: bool) -> int:
    """How many images the lines repeat."""
    images = [str(item.path.resolve()) for item in stream_items([photos])]
    images = images if distinct else images[:200]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path"])
        writer.writerows([images[number % len(images)]] for number in range(rows))
    return len(images)


def follow(command: list[str], out: Path, rows: int, stop_at: float | None) -> tuple[float, list]:
    """Seconds, and memory (MB) early and at most, of a call killed at a share of the rows."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    seen: list[float] = []
    while process.poll() is None:
        time.sleep(0.25)
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        seen += [int(line.split()[1]) / 1024 for line in status.splitlines() if "VmRSS" in line]
        if stop_at is not None and count_rows(out) >= stop_at * rows:
            os.kill(process.pid, signal.SIGKILL)
    process.wait()
    early = seen[: max(1, len(seen) // 10)] or [0.0]
    return time.perf_counter() - began, [round(max(early)), round(max(seen, default=0.0))]


def count_rows(out: Path) -> float:
    """About how many rows are there, without reading them all."""
    if out.suffix == ".parquet":
        return 8192 * len(list(out.with_name(out.name + ".parts").glob("[0-9]*.parquet")))
    if not out.exists() or not out.stat().st_size:
        return 0
    with out.open("rb") as file:
        sample = file.read(2**16)
    return out.stat().st_size * sample.count(b"\n") / len(sample)


def read_names(out: Path) -> Iterator[str]:
    """The images of all rows."""
    if out.suffix == ".parquet":
        from pyarrow import parquet

        for batch in parquet.ParquetFile(out).iter_batches(columns=["image"]):
            yield from batch.column(0).to_pylist()
        return
    with out.open(encoding="utf-8", newline="") as file:
        if out.suffix == ".csv":
            for row in csv.DictReader(file):
                yield row["image"]
        else:
            for line in file:
                yield json.loads(line)["image"]


if __name__ == "__main__":
    main()
