"""Features on a Ray cluster: what is lost where workers and nodes die, what Ray costs and holds.

python bench/cluster.py faults PHOTOS [--images 20000] [--size 224]
python bench/cluster.py overhead PHOTOS [--images 20000] [--rounds 3] [--moto]
python bench/cluster.py memory [--images 2000 200000]

faults: photos repeated under changed bytes lie in an S3 on loopback (moto), and a cluster of two
nodes with a processor each (Ray's own utility) makes their features into it. A worker is killed by
-9, a node removed, the job itself killed by -9, a node added, the command typed again. Every image
must have one row, whose digits are those of one process without Ray.
overhead: images a second of the stage that looks at the images, without Ray and with it on this
computer, from the disk and from an S3 on loopback, one after the other in every round. That S3
works on the same processors, for so many seconds as are told: bench/loopback_s3.py, or with --moto
moto, which takes as much for a request as the network for an image.
memory: the largest resident memory of the process that starts the job, of tiny images.
Each prints one JSON line.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import psutil

from headstart.data.listing import stream_labelled
from headstart.store.file import File, read_features, read_footer
from headstart.store.folder import open_folder

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true", "RAY_USAGE_STATS_ENABLED": "0"}  # fmt: skip
WORKER = "ray::MapWorker"


@contextmanager
def serve_s3(folder: Path | None = None) -> Iterator[tuple[str, str, psutil.Process]]:
    """Host, what follows the question mark of its addresses, and its process: moto, or a folder as
    a bucket that can be read.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    moto = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    light = [str(Path(__file__).with_name("loopback_s3.py")), str(folder), str(port)]
    server = subprocess.Popen(
        [sys.executable, *(light if folder else moto)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        query = f"?scheme=http&endpoint_override=127.0.0.1:{port}&region=us-east-1"
        yield f"http://127.0.0.1:{port}", query, psutil.Process(server.pid)
    finally:
        server.kill()
        server.wait()


def repeat(photos: Path, images: int) -> Iterator[tuple[str, bytes]]:
    """So many images under new names, no two of the same bytes."""
    items = list(stream_labelled(photos, None, print))
    for number, item in enumerate(islice(cycle(items), images)):
        yield f"{item.label}/{number}{item.path.suffix}", item.read() + f"#{number}".encode()


def upload(host: str, photos: Path, images: int) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=host, region_name="us-east-1")
    client.create_bucket(Bucket="photos")
    for name, content in repeat(photos, images):
        client.put_object(Bucket="photos", Key=f"all/{name}", Body=content)


def copy(folder: Path, photos: Path, images: int) -> None:
    for name, content in repeat(photos, images):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def command(source: object, to: object, *more: str) -> list[str]:
    return [sys.executable, "-m", "headstart", "features", str(source), "--to", str(to),
            "--no-cache", "--json", *more]  # fmt: skip


def count_files(address: str) -> int:
    return sum(name.endswith(".parquet") for name in open_folder(address).names())


def read_rows(address: str) -> tuple[dict[str, bytes], int]:
    """The digits of every image, and how many rows are of an image that has one before."""
    folder, rows, twice = open_folder(address), {}, 0
    for name in folder.names():
        if not name.endswith(".parquet") or name.startswith("_"):
            continue
        header, _ = read_footer(File(folder, name))
        assert header is not None
        for names, values in read_features(File(folder, name), header.dimensions):
            for image, row in zip(names, np.asarray(values), strict=True):
                twice += image in rows
                rows[image] = row.tobytes()
    return rows, twice


# --- faults -------------------------------------------------------------------------------
def faults(photos: Path, images: int, size: str) -> dict[str, object]:
    from ray.cluster_utils import Cluster

    with serve_s3() as (host, query, _):
        upload(host, photos, images)
        source, to, alone = (f"s3://photos/{name}{query}" for name in ("all", "to", "alone"))
        choices = ["--size", size]
        began = time.perf_counter()
        subprocess.run(command(source, alone, *choices), check=True, stdout=subprocess.DEVNULL)
        without = time.perf_counter() - began
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        events: list[str] = []
        began = time.perf_counter()

        def tell(event: str) -> None:
            seconds = round(time.perf_counter() - began, 1)
            events.append(f"{seconds} s, {count_files(to)} files: {event}")
            print(events[-1], file=sys.stderr)

        def wait_for(files: int, job: subprocess.Popen) -> None:
            while count_files(to) < files:
                assert job.poll() is None, "the job ended before it was to"
                time.sleep(0.2)

        ray = command(source, to, *choices, "--on", cluster.address)
        job = subprocess.Popen(ray, stdout=subprocess.DEVNULL)
        wait_for(1, job)
        next(p for p in psutil.process_iter() if is_worker(p)).kill()
        tell("a worker was killed by -9")
        wait_for(3, job)
        cluster.remove_node(second, allow_graceful=False)
        tell("a node was removed")
        wait_for(5, job)
        job.send_signal(signal.SIGKILL)
        job.wait()
        tell("the job was killed by -9")
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        before = count_files(to)
        done = json.loads(subprocess.run(ray, check=True, stdout=subprocess.PIPE).stdout)
        tell("the command, typed again, has ended")
        cluster.shutdown()
        one, _ = read_rows(alone)
        rows, twice = read_rows(to)
    return {
        "bench": "cluster faults", "images": images, "rows": len(rows), "rows_twice": twice,
        "rows_with_other_digits": sum(rows[name] != one[name] for name in one.keys() & rows.keys()),
        "missing": len(one.keys() - rows.keys()), "files": done["files"],
        "files_before_resuming": before, "computed_by_the_second": done["computed"],
        "seconds_without_ray": round(without, 1), "events": events,
    }  # fmt: skip


def is_worker(process: psutil.Process) -> bool:
    try:
        return any(WORKER in part for part in process.cmdline())
    except psutil.Error:
        return False


# --- overhead -----------------------------------------------------------------------------
RATE = """
import json, os, sys, time
from headstart.store.job import write_features
from headstart.system.progress import Recorder
source, to, on = sys.argv[1:]
told = Recorder()
began = time.perf_counter()
images = write_features(source, to, cache=False, on=on or None, progress=told).computed
whole = time.perf_counter() - began
print(json.dumps({"rate": images / told.seconds["features"], "whole": images / whole}))
"""


def overhead(photos: Path, images: int, rounds: int, moto: bool) -> dict[str, object]:
    rates: dict[str, list[float]] = {}
    wholes: dict[str, list[float]] = {}
    used: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as place,
        serve_s3(None if moto else Path(place)) as (host, query, server),
    ):
        copy(Path(place) / "all", photos, images)
        if moto:
            upload(host, photos, images)
        sources = {"disk": str(Path(place) / "all"), "s3": f"s3://photos/all{query}"}
        kinds = {"alone": ("disk", ""), "ray": ("disk", "ray"), "s3": ("s3", ""),
                 "ray from s3": ("s3", "ray")}  # fmt: skip
        for number in range(rounds):
            for kind, (source, on) in kinds.items():
                to = str(Path(place) / f"{kind}-{number}")
                asked = sum(server.cpu_times()[:2])
                told = subprocess.run(
                    [sys.executable, "-c", RATE, sources[source], to, on],
                    check=True, stdout=subprocess.PIPE,
                )  # fmt: skip
                one = json.loads(told.stdout)
                rates.setdefault(kind, []).append(round(one["rate"], 1))
                wholes.setdefault(kind, []).append(round(one["whole"], 1))
                used.setdefault(kind, []).append(round(sum(server.cpu_times()[:2]) - asked, 1))
                print(kind, one, file=sys.stderr)
    middle = {kind: float(np.median(some)) for kind, some in rates.items()}
    return {
        "bench": "cluster overhead", "s3_is": "moto" if moto else "loopback_s3", "images": images,
        "images_a_second": rates,
        "with_start": wholes, "processor_seconds_of_the_s3": used,
        "of_alone": {kind: round(one / middle["alone"], 3) for kind, one in middle.items()},
        "ray_from_s3_of_s3": round(middle["ray from s3"] / middle["s3"], 3),
    }  # fmt: skip


# --- memory -------------------------------------------------------------------------------
def memory(counts: list[int]) -> dict[str, object]:
    peaks: dict[int, float] = {}
    seconds: dict[int, float] = {}
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        for count in counts:
            folder = Path(place) / str(count)
            for number in range(count):
                path = folder / "ab"[number % 2] / f"{number}.bmp"
                if number < 2:
                    path.parent.mkdir(parents=True)
                path.write_bytes(draw(rng))
            began = time.perf_counter()
            job = subprocess.Popen(
                command(folder, f"{folder}-to", "--on", "ray", "--size", "32"),
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            peak = 0
            while job.poll() is None:
                peak = max(peak, read_peak(job.pid))
                time.sleep(0.2)
            assert job.returncode == 0
            peaks[count] = round(peak / 1024, 1)
            seconds[count] = round(time.perf_counter() - began, 1)
    return {"bench": "cluster memory", "driver_peak_mb": peaks, "seconds": seconds}


def read_peak(pid: int) -> int:
    """KB of the largest resident memory so far, without the pages that are shared."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = dict(line.split(":", 1) for line in text.splitlines())
    return int(lines.get("VmHWM", "0 kB").split()[0])


def draw(rng: np.random.Generator) -> bytes:
    """A picture of 8 x 8 pixels, as BMP."""
    import cv2

    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.imencode(".bmp", pixels)[1].tobytes()


def main() -> None:
    os.environ.update(KEYS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["faults", "overhead", "memory"])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--images", type=int, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="224")
    parser.add_argument("--moto", action="store_true")
    given = parser.parse_args()
    if given.what == "memory":
        print(json.dumps(memory(given.images or [2000, 200_000])))
        return
    images = (given.images or [20_000])[0]
    if given.what == "faults":
        print(json.dumps(faults(given.photos, images, given.size)))
    else:
        print(json.dumps(overhead(given.photos, images, given.rounds, given.moto)))


if __name__ == "__main__":
    main()
