"""headstart serve as a process: begun, asked, stopped; headstart feedback."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import headstart

Call = Callable[..., Any]
JPEG = {"Content-Type": "image/jpeg"}
HEAVY = ("keras", "sklearn", "matplotlib", "scipy", "tensorflow", "pandas", "h5py", "jinja2")
SCRIPT = f"""
import sys
from headstart.cli.app import load_commands
import typer
typer.main.get_command(load_commands()).main(sys.argv[1:], standalone_mode=False)
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "colours"
    return headstart.train(tiny, out=out, cut="block2b_add", size=64).folder


class Process:
    """A server on a free port."""

    def __init__(self, *arguments: object) -> None:
        words = [sys.executable, "-W", "error", "-c", SCRIPT, "serve", *map(str, arguments)]
        self.process = subprocess.Popen(
            [*words, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.first = self.process.stderr.readline()
        found = re.search(r":(\d+) \(Ctrl-C ends\)", self.first)
        assert found, self.first + self.process.communicate(timeout=20)[1]
        self.port = int(found[1])

    def ask(self, method: str, path: str, body: bytes = b"", headers: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def stop(self) -> tuple[str, str]:
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=30)


@pytest.fixture
def server(run: Path, tmp_path: Path) -> Iterator[Process]:
    process = Process(f"it={run}", "--feedback", tmp_path / "kept")
    yield process
    process.process.kill()
    process.process.communicate()


def test_it_answers_and_finishes_what_it_accepted(
    server: Process, tiny: Path, tmp_path: Path, call: Call
) -> None:
    image = (tiny / "red" / "0.jpg").read_bytes()
    status, content = server.ask("POST", "/v1/predict", image, JPEG)
    assert (status, json.loads(content)["predictions"][0]["label"]) == (200, "red")
    assert server.ask("POST", "/v1/feedback?label=green", image, JPEG)[0] == 200
    # A request whose body is still coming when the server is told to stop.
    slow = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    head += f"Content-Length: {len(image)}\r\n\r\n"
    slow.sendall(head.encode() + image[:100])
    idle = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    time.sleep(0.2)
    done: list[tuple[str, str]] = []
    stopping = threading.Thread(target=lambda: done.append(server.stop()))
    stopping.start()
    time.sleep(0.3)
    slow.sendall(image[100:])
    answer = b""
    while part := slow.recv(65536):
        answer += part
    slow.close()
    idle.close()
    assert answer.startswith(b"HTTP/1.1 200 OK"), answer
    stopping.join()
    out, err = done[0]
    assert server.process.returncode == 0
    assert err.splitlines()[-2:] == ["Stopped: all that was accepted is answered.", "[]"]
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["status"] for row in rows] == [200, 200, 200]
    said = call("feedback", tmp_path / "kept", "--out", tmp_path / "more.csv")
    assert (
        said.out == f"1 image in {tmp_path}/more.csv. Type: headstart train {tmp_path}/more.csv\n"
    )
    assert "green" in call("feedback", tmp_path / "kept").out


def test_what_cannot_be_served_is_told(run: Path, tmp_path: Path, call: Call) -> None:
    done = call("serve", tmp_path / "none")
    assert (done.code, done.err[:32]) == (2, "error: expected a run, found not")
    done = call("serve", run, "--api-key-file", tmp_path / "keys")
    assert done.code == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("serve", run, "--port", port)
    assert done.code == 2
    assert f"Type: --port {port + 1}" in done.err


def test_export_to_a_server(run: Path, tmp_path: Path, call: Call) -> None:
    done = call("export", run, "--to", "server")
    assert done.code == 0, done.err
    assert "Next: cd colours-server && docker compose up --build" in done.out
    assert (tmp_path / "colours-server" / "compose.yaml").is_file()
    assert "new folder" in call("export", run, "--to", "server").err
