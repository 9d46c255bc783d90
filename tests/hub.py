"""What Hugging Face's server says of a data set, as far as its file system asks for it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NAME = "me/photos"


class Hub(BaseHTTPRequestHandler):
    """One data set, the files of a folder; whoever has not the token is not let in."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, folder: Path, token: str, **options: Any) -> None:
        self.folder, self.token = folder, token
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            self._send(401, b"{}")
        elif path.startswith(f"/datasets/{NAME}/resolve/main/"):
            self._send_file(self.folder / path.split("/", 6)[6])
        elif path in (f"/api/datasets/{NAME}", f"/api/datasets/{NAME}/revision/main"):
            self._send(200, json.dumps({"id": NAME, "sha": "0" * 40}).encode())
        elif path.startswith(f"/api/datasets/{NAME}/tree/main"):
            below = self.folder / path[len(f"/api/datasets/{NAME}/tree/main") :].lstrip("/")
            wanted = parse_qs(urlsplit(self.path).query).get("recursive", ["False"])[0]
            found = below.rglob("*") if wanted.lower() == "true" else below.iterdir()
            self._send(200, json.dumps([self._describe(one) for one in sorted(found)]).encode())
        elif path == f"/api/datasets/{NAME}/paths-info/main":
            asked = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
            there = [self.folder / one for one in asked if (self.folder / one).exists()]
            self._send(200, json.dumps([self._describe(one) for one in there]).encode())
        else:
            self._send(404, b"{}")

    def _describe(self, path: Path) -> dict[str, Any]:
        about = {"path": path.relative_to(self.folder).as_posix()}
        if path.is_dir():
            return {**about, "type": "directory", "oid": "0" * 40}
        oid = hashlib.sha1(path.read_bytes()).hexdigest()
        return {**about, "type": "file", "oid": oid, "size": path.stat().st_size}

    def _send_file(self, path: Path) -> None:
        if not path.is_file():
            self._send(404, b"")
            return
        data, asked = path.read_bytes(), self.headers.get("Range")
        if asked is None:
            self._send(200, data)
            return
        first, last = asked.removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1 if last else None]
        self._send(206, part, f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")

    def _send(self, code: int, data: bytes, part: str | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", hashlib.sha1(data).hexdigest())
        if part is not None:
            self.send_header("Content-Range", part)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serve_hub(folder: Path, token: str) -> Iterator[str]:
    """The address of such a server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder=folder, token=token))
    server.daemon_threads = True  # connections are kept open
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
