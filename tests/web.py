"""A web server for tests: the files of a folder, and some answers that servers give."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing: what is called busy it never gives, what is called moved is
    elsewhere, what is called shy it gives only whole, of what is called short
    not all; asked is what was asked for.
    """

    asked: list[str]

    def __init__(self, *arguments: Any, asked: list[str], **options: Any) -> None:
        self.asked = asked
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "busy" in self.path:
            self.send_error(503)
        elif "moved/" in self.path:
            self.send_response(302)
            self.send_header("Location", self.path.replace("moved/", ""))
            self.end_headers()
        elif "short" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"path,label\n")
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        if "short" in self.path:
            self.do_GET()
        elif "shy" in self.path or "busy" in self.path:
            self.send_error(405 if "shy" in self.path else 503)
        else:
            super().do_HEAD()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of the folder, and what is asked for there."""
    asked: list[str] = []
    handler = partial(Quiet, directory=str(folder), asked=asked)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
