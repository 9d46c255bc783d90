"""What only a real connection shows: patience that ends, versions that change under load."""

import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serve.conftest import JPEG, ask

import headstart
from headstart.errors import HeadstartError
from headstart.serve.app import make_app
from headstart.serve.guard import Guard
from headstart.serve.limits import Limits
from headstart.serve.models import Models, open_models
from headstart.serve.server import bind, run

OLD = Path(__file__).parents[1] / "data_of_old_runs" / "0.1.0"


@contextmanager
def serving(app: Guard, limits: Limits) -> Iterator[int]:
    """A server in a thread; its port. It ends with the last idle connection."""
    import headstart.serve.server as module

    made: list[module.Server] = []

    class Known(module.Server):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            made.append(self)

    ready = threading.Event()
    with bind("127.0.0.1", 0) as bound, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Server", Known)
        thread = threading.Thread(target=run, args=(app, bound, limits, ready.set))
        thread.start()
        assert ready.wait(20)
        try:
            yield bound.getsockname()[1]
        finally:
            made[0].should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def test_patience_ends(models: Models, red: bytes) -> None:
    limits = Limits(upload=0.4, connections=20)
    with serving(make_app(models, limits), limits) as port:

        def send(content: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(content)
                try:
                    return connection.recv(1000)
                except ConnectionResetError:
                    return b""

        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        begun = time.monotonic()
        assert send(b"") == b""  # it says nothing
        assert send(head) == b""  # it never ends its headers
        assert send(head + b"Content-Length: 9\r\n\r\nabc").startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begun < 6
        assert send(b"\x16\x03\x01 not HTTP\r\n\r\n").startswith(b"HTTP/1.1 400")
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
        time.sleep(0.8)  # all of them are idle, and closed
        whole = head + b"Content-Length: %d\r\n\r\n" % len(red) + red
        assert send(whole).startswith(b"HTTP/1.1 200")
        for connection in crowd:
            connection.close()


def test_no_request_is_lost_while_versions_change(
    run: Path, tmp_path: Path, red: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.serve.service.LOOK", 0.05)
    shutil.copytree(run / "classifier", tmp_path / "it")
    classifier = headstart.load(run)
    statuses: list[int] = []
    versions: set[str] = set()
    over = threading.Event()

    def ask_on(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while not over.is_set():
            connection.request("POST", "/v1/predict", red, JPEG)
            answer = connection.getresponse()
            statuses.append(answer.status)
            versions.add(json.loads(answer.read())["version"])
        connection.close()

    limits = Limits()
    with serving(make_app(open_models([str(tmp_path / "it")]), limits), limits) as port:
        clients = [threading.Thread(target=ask_on, args=(port,)) for _ in range(3)]
        for client in clients:
            client.start()
        for number in range(3):
            time.sleep(0.4)
            classifier.description = {**classifier.description, "note": str(number)}
            classifier.save(tmp_path / "it")
        time.sleep(0.8)
        over.set()
        for client in clients:
            client.join()
    assert set(statuses) == {200}
    assert len(versions) >= 3


@pytest.mark.parametrize("name", ["linear", "neural", "several_classes"])
def test_runs_of_earlier_versions_are_served(name: str, red: bytes) -> None:
    app = make_app(open_models([f"old={OLD / name}"]))
    got = ask(app, "POST", "/v1/predict?explain=true", red, JPEG)
    assert got.status == 200, got.body
    (row,) = got.json["predictions"]
    said = headstart.load(OLD / name).predict(red)
    assert (row["label"], row["probabilities"]) == (said.label, said.probabilities)
    assert ("labels" in row) == (name == "several_classes")
    assert ask(app, "GET", "/v1/status").json["models"][0]["drift"] is None
    assert ask(app, "POST", "/v1/predict?reject=0.05", red, JPEG).status == 422
    assert ask(app, "GET", "/status").status == 200


def test_a_port_that_is_none_is_told() -> None:
    with pytest.raises(HeadstartError, match="expected to listen on nowhere"):
        bind("nowhere.invalid", 8000)
