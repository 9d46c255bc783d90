"""Requests a second on loopback against the bare engine, and beside a handler as most people write.

    python bench/serve.py RUN PHOTOS [--seconds 8] [--rounds 3]
    python bench/serve.py RUN PHOTOS --soak 60

Prints one JSON line. In each round, one after the other: the engine on images already at input
size, `Classifier.stream` from JPEG bytes to answers, the server with 1, 8 and 32 clients, and the
same model (OpenVINO, the same precision) behind FastAPI, Pillow and an `UploadFile`, with the same
clients. Images are JPEGs of at most 200 pixels a side. Clients are one process with keep-alive
connections on the same machine, so they take their share of it. Ratios are medians of rounds.
--soak: 32 clients for so many seconds; megabytes of the server after a tenth and at the end.
"""

import argparse
import asyncio
import io
import json
import os
import re
import statistics
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLIENTS = (1, 8, 32)
SIDE = 200
PLAIN = """
import io, sys
import numpy as np, uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
import headstart
classifier = headstart.load(sys.argv[1])
import openvino
model = openvino.Core().compile_model(
    classifier.graph(), "CPU", {"INFERENCE_PRECISION_HINT": classifier.precision})
size = classifier.geometry.width, classifier.geometry.height
app = FastAPI()
@app.post("/predict")
async def predict(file: UploadFile):
    image = Image.open(io.BytesIO(await file.read())).convert("RGB").resize(size)
    probabilities = model(np.asarray(image)[None])[0][0]
    return dict(zip(classifier.classes, map(float, probabilities)))
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


def shrink(path: Path) -> bytes:
    """A JPEG of at most SIDE pixels a side."""
    image = Image.open(path).convert("RGB")
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def as_form(image: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    return head + b"Content-Type: image/jpeg\r\n\r\n" + image + b"\r\n--x--\r\n"


class Client(asyncio.Protocol):
    """One connection: a request, its whole answer, the next request."""

    def __init__(self, requests: Any, until: float, times: list[float], bad: list[bytes]) -> None:
        self.requests, self.until, self.times, self.bad = requests, until, times, bad
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.begun, self.got, self.need = time.perf_counter(), b"", 0
        if self.begun >= self.until:
            self.transport.close()
            return
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.got += data
        if not self.need:
            end = self.got.find(b"\r\n\r\n")
            if end < 0:
                return
            length = re.search(rb"(?i)content-length: (\d+)", self.got[:end])
            self.need = end + 4 + int(length[1])
        if len(self.got) >= self.need:
            if self.got[9:12] == b"200":
                self.times.append(time.perf_counter() - self.begun)
            else:
                self.bad.append(self.got[9:12])
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, requests: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    times: list[float] = []
    bad: list[bytes] = []
    begun, every = time.perf_counter(), cycle(requests)
    made = [
        (await asyncio.get_running_loop().create_connection(
            lambda: Client(every, begun + seconds, times, bad), "127.0.0.1", port))[1]
        for _ in range(clients)
    ]  # fmt: skip
    await asyncio.gather(*(client.done for client in made))
    took = time.perf_counter() - begun
    ranked = sorted(times) or [0.0]
    return {
        "per_second": round(len(times) / took, 1),
        "p50_ms": round(1000 * ranked[len(ranked) // 2], 1),
        "p99_ms": round(1000 * ranked[len(ranked) * 99 // 100], 1),
        "refused": len(bad),
    }


def measure(port: int, path: str, bodies: str, images: Path, clients: int, seconds: float) -> Any:
    """By clients in a process of their own, as they would be."""
    command = [sys.executable, __file__, "--client", str(port), path, bodies, str(images),
               str(clients), str(seconds)]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit("the clients did not come to their end")
    return json.loads(done.stdout)


def run_client(port: str, path: str, bodies: str, images: str, clients: str, seconds: str) -> None:
    import uvloop

    kind = "multipart/form-data; boundary=x" if bodies == "form" else "image/jpeg"
    requests = []
    for file in sorted(Path(images).iterdir()):
        body = as_form(file.read_bytes()) if bodies == "form" else file.read_bytes()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    print(json.dumps(uvloop.run(load(int(port), requests, int(clients), float(seconds)))))


def start(*words: str) -> tuple[subprocess.Popen[str], int]:
    """`headstart serve` on a free port, ready."""
    command = [sys.executable, "-m", "headstart", "serve", *words, "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    line = child.stderr.readline()
    return child, int(re.search(r":(\d+) \(", line)[1])


def start_plain(run: str, port: int) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", PLAIN, run, str(port)])
    import socket

    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return child
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the plain handler did not start")


def memory(pid: int) -> float:
    """Megabytes that are resident."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def bare(run: str, images: list[bytes], seconds: float) -> tuple[float, float]:
    """Images a second of the engine alone, and of the whole way from bytes to answers."""
    import headstart

    classifier = headstart.load(run)
    prepared = [classifier.prepare((0, image))[1] for image in images]
    engine = classifier.engine()
    rates = []
    for answers, sources in ((engine.run, prepared), (classifier.stream, images)):
        list(answers(sources[:20]))
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            count += sum(1 for _ in answers(islice(cycle(sources), 400)))
        rates.append(count / (time.perf_counter() - begun))
    return rates[0], rates[1]


def main() -> None:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=float, default=0)
    options = parser.parse_args()
    import tempfile

    paths = sorted(options.photos.rglob("*.jpg"))
    chosen = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))[:200]]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        images = [shrink(path) for path in chosen]
        for number, image in enumerate(images):
            (folder / f"{number}.jpg").write_bytes(image)
        line = soak(options, folder) if options.soak else compare(options, folder, images)
    print(json.dumps({"bench": "serve", "cores": len(os.sched_getaffinity(0)), **line}))


def soak(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    child, port = start(options.run)
    measure(port, "/v1/predict", "raw", folder, 32, options.soak / 10)
    before = memory(child.pid)
    found = measure(port, "/v1/predict", "raw", folder, 32, options.soak)
    after = memory(child.pid)
    child.terminate()
    child.wait(30)
    return {"soak_seconds": options.soak, **found, "mb_before": round(before),
            "mb_after": round(after)}  # fmt: skip


def compare(options: argparse.Namespace, folder: Path, images: list[bytes]) -> dict[str, Any]:
    child, port = start(options.run)
    plain = start_plain(options.run, port + 1)
    rounds: list[dict[str, Any]] = []
    try:
        for _ in range(options.rounds):
            engine, stream = bare(options.run, images, options.seconds)
            row: dict[str, Any] = {"engine": round(engine), "stream": round(stream)}
            for clients in CLIENTS:
                asked = folder, clients, options.seconds
                row[f"serve_{clients}"] = measure(port, "/v1/predict", "raw", *asked)
                row[f"plain_{clients}"] = measure(port + 1, "/predict", "form", *asked)
            rounds.append(row)
    finally:
        child.terminate()
        plain.terminate()
        child.wait(30)
        plain.wait(30)

    def ratio(top: str, bottom: str) -> float:
        values = []
        for row in rounds:
            a, b = (row[k] if isinstance(row[k], int) else row[k]["per_second"]
                    for k in (top, bottom))  # fmt: skip
            values.append(a / b)
        return round(statistics.median(values), 3)

    return {
        "serve_32_of_engine": ratio("serve_32", "engine"),
        "serve_32_of_stream": ratio("serve_32", "stream"),
        "serve_of_plain": {n: ratio(f"serve_{n}", f"plain_{n}") for n in CLIENTS},
        "rounds": rounds,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        run_client(*sys.argv[2:])
    else:
        main()
