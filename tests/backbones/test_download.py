"""Fetching weights from servers that misbehave; none of them leaves this computer."""

import hashlib
import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headstart.backbones.download import address, fetch, file_name, known_files
from headstart.errors import WeightsError

CONTENT = bytes(range(256)) * 4000
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT at any path, in the way that `manner` says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.manner = "honest"
        self.content = CONTENT
        self.etag = '"one"'
        self.requests: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.h5"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        if server.manner == "missing":
            self.send_error(404)
            return
        if server.manner == "busy" and len(server.requests) < 3:
            self.send_error(503)
            return
        content, start = server.content, 0
        if server.manner == "page":
            content = b"<html>sign in</html>"
        if wanted and server.manner != "no ranges" and self.headers["If-Range"] == server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        length = len(content) - start
        self.send_header("Content-Length", str(length + 1000 * (server.manner == "lies")))
        self.send_header("ETag", server.etag)
        self.end_headers()
        body = content[start:]
        breaks = server.manner in ("breaks", "no ranges") and len(server.requests) < 3
        self.wfile.write(body[: len(body) // 2] if breaks else body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def test_a_file_arrives_with_progress(server: Server, tmp_path: Path) -> None:
    reported: list[tuple[int, int | None]] = []
    target = fetch(
        server.url, tmp_path / "w.h5", checksum=SHA256, progress=lambda *n: reported.append(n)
    )
    assert target.read_bytes() == CONTENT
    assert reported[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["w.h5"]
    fetch(server.url, target, checksum=SHA256)
    assert len(server.requests) == 1  # it was there already


@pytest.mark.parametrize("manner", ["breaks", "no ranges", "busy"])
def test_it_goes_on_after_a_break(server: Server, tmp_path: Path, manner: str) -> None:
    server.manner = manner
    target = fetch(server.url, tmp_path / "w.h5", checksum=SHA256, pause=0)
    assert target.read_bytes() == CONTENT
    if manner == "breaks":
        assert server.requests[1] == f"bytes={len(CONTENT) // 2}-"


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.manner = "breaks"
    with pytest.raises(WeightsError, match="Type the same command to try again"):
        fetch(server.url, tmp_path / "w.h5", attempts=1)
    assert not (tmp_path / "w.h5").exists()
    server.manner = "honest"
    assert fetch(server.url, tmp_path / "w.h5").read_bytes() == CONTENT
    assert server.requests[-1] == f"bytes={len(CONTENT) // 2}-"


def test_a_file_that_changed_is_not_glued_together(server: Server, tmp_path: Path) -> None:
    server.manner = "breaks"
    with pytest.raises(WeightsError):
        fetch(server.url, tmp_path / "w.h5", attempts=1)
    server.manner, server.content, server.etag = "honest", b"other" * 1000, '"two"'
    assert fetch(server.url, tmp_path / "w.h5").read_bytes() == b"other" * 1000


def test_a_server_that_lies_about_the_length(server: Server, tmp_path: Path) -> None:
    server.manner = "lies"
    with pytest.raises(WeightsError, match="2 attempts failed"):
        fetch(server.url, tmp_path / "w.h5", attempts=2, pause=0)
    assert not (tmp_path / "w.h5").exists()


def test_a_wrong_file_is_removed(server: Server, tmp_path: Path) -> None:
    server.content = b"something else"
    with pytest.raises(
        WeightsError,
        match=r"expected sha256:.* found sha256:.*: the file was removed. Type the same",
    ):
        fetch(server.url, tmp_path / "w.h5", checksum=SHA256)
    assert not list(tmp_path.iterdir())
    server.manner = "page"
    with pytest.raises(WeightsError, match=r"found a web page.* or bring the file by hand and put"):
        fetch(server.url, tmp_path / "w.h5")
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    server.manner = "missing"
    with pytest.raises(WeightsError, match="the server answered 404"):
        fetch(server.url, tmp_path / "w.h5")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/w.h5", "FILE://x/w.h5", "data:,w.h5", "http:///w.h5",
            "http://[/w.h5", "://w.h5", "w.h5"],
)  # fmt: skip
def test_only_http_is_fetched(url: str, tmp_path: Path) -> None:
    for ask in (lambda: fetch(url, tmp_path / "w.h5", pause=0), lambda: file_name(url)):
        with pytest.raises(WeightsError, match=r"begins with https:// or http://, found .*Type: "):
            ask()
    assert not list(tmp_path.iterdir())


def test_without_a_network_the_error_says_what_to_bring(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"bring the file by hand and put it at .*w.h5"):
        fetch("http://127.0.0.1:9/w.h5", tmp_path / "w.h5", attempts=1)


def test_not_enough_room(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr("headstart.backbones.download.shutil.disk_usage", lambda _: usage)
    with pytest.raises(WeightsError, match=r"not enough room in .*headstart cache prune"):
        fetch(server.url, tmp_path / "w.h5")


def test_an_untrusted_certificate_is_refused(server: Server, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with Server() as secure:
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        secure.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        threading.Thread(target=secure.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(WeightsError, match="certificate is not trusted"):
            fetch(secure.url.replace("http:", "https:"), tmp_path / "w.h5", pause=0)
        secure.shutdown()


def test_keras_own_addresses() -> None:
    url, checksum = address("inception_v3")
    assert url.endswith("/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5")
    assert url.startswith("https://")
    assert checksum == "md5:bcbd6486424b2319ff4ef7d526e38f63"
    assert address("inception_v3") == (url, checksum)


def test_bundled_weights_need_no_fetching() -> None:
    with pytest.raises(WeightsError, match="come with a package"):
        address("efficientnet_lite0")


def test_an_address_that_was_damaged_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    answer = {"url": "https://example.org/models/vgg16_notop.h5", "md5": "12"}
    monkeypatch.setattr("headstart.backbones.keras_builder.in_child", lambda request: answer)
    note = tmp_path / "addresses" / "vgg16.json"
    note.parent.mkdir()
    for damaged in ("{", "[]", "{}"):
        note.write_text(damaged)
        assert known_files(tmp_path) == {}
        assert address("vgg16") == (answer["url"], "md5:12")
        assert known_files(tmp_path) == {"vgg16_notop.h5": ("vgg16", "md5:12")}
