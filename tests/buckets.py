"""A store as S3 is, on this computer alone: see the fixture `s3`."""

import http.client
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True)
class Store:
    """A store as S3 is, on this computer alone. host: "127.0.0.1:PORT"."""

    host: str

    def address(self, path: str) -> str:
        """Of "bucket/key", as it is typed."""
        return f"s3://{path}?scheme=http&endpoint_override={self.host}&region=us-east-1"

    @property
    def files(self) -> Any:
        """pyarrow's file system, whose paths are "bucket/key"."""
        import pyarrow.fs as fs

        return fs.S3FileSystem(endpoint_override=self.host, scheme="http", region="us-east-1",
                               allow_bucket_creation=True, allow_bucket_deletion=True)  # fmt: skip

    def put(self, source: Path | bytes, path: str) -> None:
        """A file, all files of a folder, or bytes, as "bucket/key" and what is below; the bucket
        is made.
        """
        if isinstance(source, bytes):
            places = {path: source}
        elif source.is_dir():
            places = {f"{path}/{p.relative_to(source).as_posix()}": p.read_bytes()
                      for p in sorted(source.rglob("*")) if p.is_file()}  # fmt: skip
        else:
            places = {path: source.read_bytes()}
        connection = http.client.HTTPConnection(self.host)  # one request each: pyarrow takes three
        for place, data in {path.partition("/")[0]: b"", **places}.items():
            connection.request("PUT", f"/{quote(place)}", data)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 403:  # one that is there already
                with self.files.open_output_stream(place) as target:
                    target.write(data)
        connection.close()


def wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Until the server at that port answers."""
    patience = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert server.poll() is None, "the local S3 did not start"
            assert time.monotonic() < patience, "the local S3 does not answer"
            time.sleep(0.1)
