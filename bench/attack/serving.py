"""A server under bodies that are damaged, uploads that stop or never end, and more clients than it
has room for: every answer is one that it declares, good requests are answered meanwhile.

python bench/attack/serving.py [--tried 2000] [--seed 0] [--photos DIR]: prints one JSON line.
"""

import base64
import contextlib
import http.client
import json
import re
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import images
import numpy as np
from _common import arguments, end, finish, headstart, photos, report, start, workplace

DECLARED = {200, 400, 404, 408, 413, 415, 422, 503}
SECONDS = 20.0  # for any answer
MEMORY = 1500  # MB that the server may take more than at the beginning
STALLED = 60  # uploads that come to a halt
CROWD = 2560  # clients at once: ten times what the queue holds


class Server:
    """`headstart serve` on a port of its own."""

    def __init__(self, run: Path) -> None:
        self.child = start("serve", run, "--port", 0, "--no-access-log")
        assert self.child.stderr is not None
        line = self.child.stderr.readline()
        found = re.search(r":(\d+) \(", line)
        if found is None:
            sys.exit(f"no server: {line}")
        self.port = int(found[1])

    def ask(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Raises OSError or HTTPException where there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def memory(self) -> int:
        """Megabytes, at most so far."""
        text = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) // 1024  # type: ignore[index]


def make_bodies(count: int, seed: int, name: str) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Path, body, headers: damaged images in each form, and damaged forms around whole images."""
    originals = images.make_originals()
    keys = sorted(originals)
    rng = np.random.default_rng(seed)
    infer = f"/v2/models/{name}/infer"
    for number in range(count):
        _, bad = images.make(number, seed, originals)
        good = originals[keys[number % len(keys)]]
        image = bad if number % 2 else good
        form = (
            b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'
            + image + b"\r\n--x--\r\n"
        )  # fmt: skip
        entry = json.dumps({"images": [{"data": base64.b64encode(image).decode()}]}).encode()
        tail = struct.pack("<I", len(image)) + image
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1],
                  "parameters": {"binary_data_size": len(tail)}}  # fmt: skip
        head = json.dumps({"inputs": [tensor]}).encode()
        cases = [
            ("/v1/predict", image, {"content-type": "image/jpeg"}),
            ("/v1/predict", form, {"content-type": "multipart/form-data; boundary=x"}),
            ("/v1/predict", entry, {"content-type": "application/json"}),
            (infer, head + tail, {"inference-header-content-length": str(len(head))}),
        ]
        path, body, headers = cases[number // 2 % 4]
        if number % 2 == 0:  # the envelope is damaged
            bent = bytearray(body)
            for _ in range(int(rng.integers(1, 9))):
                bent[rng.integers(min(len(bent), 200))] = rng.integers(256)
            body = bytes(bent[: rng.integers(1, len(bent) + 1)] if rng.random() < 0.3 else bent)
        yield path, body, headers


def attack_bodies(server: Server, bodies: Iterator[tuple[str, bytes, dict[str, str]]],
                  fallen: list[str], seen: Counter[int]) -> None:  # fmt: skip
    """Eight clients at a time."""
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number, (path, body, headers) = next(numbered, (0, ("", b"", {})))
            if not path:
                return
            try:
                status, answer = server.ask(path, body, headers)
            except (OSError, http.client.HTTPException) as error:
                fallen.append(f"body {number}: no answer, {type(error).__name__}: {error}")
                continue
            seen[status] += 1
            if status not in DECLARED:
                fallen.append(f"body {number}: {status} {answer[:100]!r}")
            elif b"Traceback" in answer or b"/src/" in answer:
                fallen.append(f"body {number}: tells {answer[:100]!r}")

    numbered = enumerate(bodies)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def stall(server: Server, good: bytes, fallen: list[str]) -> None:
    """Uploads of which some stop, some are cut off, some never have a whole header."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    held = []
    for number in range(STALLED):
        connection = socket.create_connection(("127.0.0.1", server.port))
        whole = head + b"Content-Length: %d\r\n\r\n" % len(good) + good
        connection.sendall(whole[: (40, len(head), len(whole) - 9)[number % 3]])
        held.append(connection)
    check(server, good, fallen, "while uploads stand still")
    for connection in held:
        connection.close()
    check(server, good, fallen, "after uploads were cut off")


def crowd(server: Server, good: bytes, fallen: list[str], seen: Counter[int]) -> None:
    """More clients at once than there is room for: each is answered, or told to come again."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    whole = head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(good) + good
    opened = []
    for _ in range(CROWD):
        try:
            connection = socket.socket()
            connection.settimeout(SECONDS)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(whole)
        except OSError:
            seen[0] += 1  # no room for another connection
            continue
        opened.append(connection)
    for connection in opened:
        try:
            answer = b""
            while part := connection.recv(65536):
                answer += part
            status = int(answer[9:12] or 0)
        except TimeoutError:
            fallen.append("crowd: no answer in time")
            status = 0
        except OSError:
            status = 0
        seen[status] += 1
        if status and status not in (200, 503):
            fallen.append(f"crowd: {answer[:100]!r}")
        if status == 503 and b"retry-after" not in answer:
            fallen.append("crowd: 503 without Retry-After")
        connection.close()
    if not seen[200]:
        fallen.append("crowd: nobody was answered")


def check(server: Server, good: bytes, fallen: list[str], when: str) -> None:
    """A good request is answered, and soon."""
    begun = time.perf_counter()
    try:
        status, _ = server.ask("/v1/predict", good, {"content-type": "image/jpeg"})
    except (OSError, http.client.HTTPException) as error:
        status = f"{type(error).__name__}"  # type: ignore[assignment]
    if status != 200 or time.perf_counter() - begun > SECONDS / 2:
        fallen.append(f"{when}: a good image got {status}")


def main() -> None:
    """Attack one server in every way, and print what became of it."""
    options, begun = arguments(__doc__, 2000), time.perf_counter()
    fallen: list[str] = []
    seen: Counter[int] = Counter()
    with workplace("serving") as folder:
        taught = options.photos or photos(folder / "photos")
        done = headstart("train", taught, "--out", folder / "run", "--quiet", "--cut", "last",
                         env={"HEADSTART_CACHE": str(folder / "cache")})  # fmt: skip
        if done.returncode:
            sys.exit(done.stderr)
        good = next(path for path in sorted(Path(taught).rglob("*.jpg"))).read_bytes()
        server = Server(folder / "run")
        before = server.memory()
        attack_bodies(server, make_bodies(options.tried, options.seed, "run"), fallen, seen)
        check(server, good, fallen, "after damaged bodies")
        stall(server, good, fallen)
        waiting: Counter[int] = Counter()
        crowd(server, good, fallen, waiting)
        check(server, good, fallen, "after the crowd")
        grown = server.memory() - before
        if grown > MEMORY:
            fallen.append(f"took {grown} MB more")
        server.child.send_signal(signal.SIGTERM)
        ended = finish(server.child, 90)
        end(server.child)
        if ended.returncode or "Traceback" in ended.stderr:
            fallen.append(f"ended with {ended.returncode}: {ended.stderr[-300:]}")
    print({"bodies": dict(seen), "crowd": dict(waiting), "grown_mb": grown}, file=sys.stderr)
    report("serving", options.tried + STALLED + CROWD, fallen, begun)


if __name__ == "__main__":
    main()
