"""The application asked without a network: a request in, an answer out."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.serve.app import make_app
from headstart.serve.guard import Guard
from headstart.serve.models import Models, open_models

JPEG = {"content-type": "image/jpeg"}


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


async def ask_async(
    app: Any, method: str, path: str, body: bytes | Iterable[bytes] = b"",
    headers: dict[str, str] | None = None,
) -> Got:  # fmt: skip
    """Parts of a body come one after the other."""
    parts = [body] if isinstance(body, bytes) else list(body)
    place, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": place, "raw_path": place.encode(), "root_path": "",
        "query_string": query.encode(), "client": ("127.0.0.1", 1), "server": ("testing", 80),
        "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.sleep(3600)  # the client waits
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    found = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return Got(sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))


def ask(*arguments: Any, **options: Any) -> Got:
    """One request."""
    return asyncio.run(ask_async(*arguments, **options))


@pytest.fixture(scope="session")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "colours"
    return headstart.train(tiny, out=out, cut="block2b_add", size=64).folder


@pytest.fixture(scope="session")
def models(run: Path) -> Models:
    return open_models([str(run)])


@pytest.fixture(scope="session")
def app(models: Models) -> Guard:
    return make_app(models)


@pytest.fixture(scope="session")
def red(tiny: Path) -> bytes:
    return (tiny / "red" / "0.jpg").read_bytes()


@pytest.fixture(scope="session")
def blue(tiny: Path) -> bytes:
    return (tiny / "blue" / "1.png").read_bytes()
