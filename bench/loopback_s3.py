"""A folder served as a bucket that can be read, as S3 speaks, on loopback.

python bench/loopback_s3.py FOLDER PORT

For measurements: it takes little of the processors that it shares with what is measured, where
moto, which knows all of S3, takes 4 ms for an image. It checks no signature. Requests known:
listing (version 2, with delimiter and pages), HEAD and GET, of ranges too.
"""

import asyncio
import os
import sys
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000  # keys of an answer


class Bucket(asyncio.Protocol):
    """One connection, which stays for as many requests as its other end likes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while b"\r\n\r\n" in self.waiting:
            head, _, self.waiting = self.waiting.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in
                       (line.partition(":") for line in lines)}  # fmt: skip
            self.answer(method, target, headers)

    def answer(self, method: str, target: str, headers: dict[str, str]) -> None:
        url = urlsplit(target)
        _, _, key = unquote(url.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if method == "GET" and not key:
            self.send(200, self.list(query), {"Content-Type": "application/xml"})
            return
        path = self.root / key
        if not path.is_file():
            self.send(404, b"", {})
            return
        about = path.stat()
        told = {"Last-Modified": formatdate(about.st_mtime, usegmt=True),
                "ETag": f'"{about.st_size}"', "Accept-Ranges": "bytes"}  # fmt: skip
        if method == "HEAD":
            self.send(200, b"", told, about.st_size)
            return
        content = path.read_bytes()
        if "range" in headers:
            start, _, end = headers["range"].removeprefix("bytes=").partition("-")
            last = min(int(end or about.st_size), about.st_size - 1)
            told["Content-Range"] = f"bytes {start}-{last}/{about.st_size}"
            self.send(206, content[int(start) : last + 1], told)
            return
        self.send(200, content, told)

    def list(self, query: dict[str, str]) -> bytes:
        """Keys below a prefix, those behind a delimiter as one."""
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        folder = self.root / prefix.rpartition("/")[0]
        if query.get("delimiter"):
            below = os.scandir(folder) if folder.is_dir() else ()
            keys = [f"{prefix.rpartition('/')[0]}/{entry.name}".lstrip("/") + "/" * entry.is_dir()
                    for entry in below]  # fmt: skip
        else:
            keys = [path.relative_to(self.root).as_posix() for path in folder.rglob("*")
                    if path.is_file()]  # fmt: skip
        keys = sorted(key for key in keys if key.startswith(prefix) and key > after)
        page, more = keys[:PAGE], len(keys) > PAGE
        parts = [f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(page)}</KeyCount>"]
        if more:
            parts.append(f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>")
        for key in page:
            if key.endswith("/"):
                parts.append(f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>")
                continue
            about = (self.root / key).stat()
            parts.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{about.st_size}</Size>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            )
        inner = "".join(parts)
        return f'<?xml version="1.0"?><ListBucketResult>{inner}</ListBucketResult>'.encode()

    def send(
        self, status: int, body: bytes, headers: dict[str, str], size: int | None = None
    ) -> None:
        length = len(body) if size is None else size
        lines = [f"HTTP/1.1 {status} -", f"Content-Length: {length}",
                 *(f"{name}: {value}" for name, value in headers.items())]  # fmt: skip
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def serve(root: Path, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Bucket(root), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
