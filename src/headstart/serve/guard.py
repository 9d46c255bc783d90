"""What stands before every route: who may ask, how much may be sent and how slowly, what every
answer carries, and one line of log.

A body is counted as it comes and handed on whole: no parser sees more than the limit.
"""

import asyncio
import hmac
import json
import re
import secrets
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from headstart.serve.bodies import Refused
from headstart.serve.keys import Keys
from headstart.serve.limits import RETRY_AFTER, Limits
from headstart.system.text import escape

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OPEN = {"/", "/healthz", "/readyz", "/page.js", "/page.css"}  # without a key: nothing is told there
CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_HOST = re.compile(r"([\w.-]+|\[[\da-f:]+\])(?::\d+)?", re.ASCII)  # and a port


class Guard:
    """An ASGI application around another. log: takes the line of each request; None for none.

    hosts: names by which requests may call the server, without a port; None for any. A page of
    another site whose name is made to lead to this computer (DNS rebinding) calls it by its own.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        keys: Keys,
        log: Callable[[str], object] | None = None,
        observe: Callable[[str, int, float], None] = lambda route, status, seconds: None,
        hosts: Collection[str] | None = None,
    ) -> None:
        self.app, self.limits, self.keys, self.hosts = app, limits, keys, hosts
        self.log, self.observe = log, observe
        self.held = 0  # bytes of bodies, of all requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, from its first byte to its line in the log."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
        asked = headers.get(b"x-request-id", "")
        notes: dict[str, Any] = {}
        identity = asked if _ID.fullmatch(asked) else secrets.token_hex(8)
        scope.setdefault("state", {}).update(notes=notes, id=identity)
        answer = Answering(send, scope["path"], identity)
        taken = 0
        try:
            self._admit(scope, headers)
            body, taken = await self._read(scope, headers, receive)
            scope["state"]["body"] = body
            if scope["method"] == "HEAD":  # what GET would say; the server leaves the body out
                scope = {**scope, "method": "GET"}
            await self.app(scope, _replay(body, receive), answer)
        except Refused as error:
            await answer.refuse(error.status, str(error))
        except Gone:
            answer.status = 499  # as others call a client that left
        except Exception:
            print(f"request {identity}:", traceback.format_exc(), sep="\n", file=sys.stderr)
            await answer.refuse(500, went_wrong(identity))
        finally:
            self.held -= taken
            seconds = time.perf_counter() - began
            # Only routes that there are: made-up paths would be series without end.
            route = getattr(scope.get("route"), "path", "") or "none"
            self.observe(route, answer.status, seconds)
            if self.log is not None:
                self._write(scope, identity, answer, taken, seconds, notes)

    def _admit(self, scope: Scope, headers: dict[bytes, str]) -> None:
        path, method = scope["path"], scope["method"]
        called = _HOST.fullmatch(headers.get(b"host", "").lower())
        name = called[1].strip("[]") if called else ""
        if self.hosts is not None and name not in self.hosts:
            raise Refused(403, "expected a request to a name of this server, found another in Host "
                          "(headstart serve --allow-host NAME)")  # fmt: skip
        if method not in ("GET", "HEAD") and not _is_own(headers):
            raise Refused(403, "expected a request of this server's own page or of no page at all, "
                          "found one of another site")  # fmt: skip
        if path in OPEN or not self.keys:
            return
        scheme, _, token = headers.get(b"authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key", "")
        if not self.keys.knows(key):
            raise Refused(401, "expected an API key (Authorization: Bearer KEY), found "
                          + ("another" if key else "none"))  # fmt: skip

    async def _read(
        self, scope: Scope, headers: dict[bytes, str], receive: Receive
    ) -> tuple[bytes, int]:
        """The body, and how many bytes are held for it."""
        limits = self.limits
        declared = headers.get(b"content-length", "0")
        length = int(declared) if declared.isascii() and declared.isdigit() else 0
        if length > limits.body:
            raise self._too_large(length)
        encoding = headers.get(b"content-encoding", "identity").lower()
        if encoding not in ("", "identity"):
            raise Refused(415, "expected a body as it is, found a Content-Encoding")
        self._hold(length)
        held, size, parts = length, 0, []
        try:
            async with asyncio.timeout(limits.upload):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    part = message.get("body", b"")
                    size += len(part)
                    if size > limits.body:
                        raise self._too_large(size)
                    if size > held:
                        self._hold(size - held)
                        held = size
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts), held
        except TimeoutError:
            self.held -= held
            raise Refused(408, f"expected the whole request within {limits.upload:g} seconds, "
                          f"found {size:,} bytes of it") from None  # fmt: skip
        except BaseException:
            self.held -= held
            raise

    def _hold(self, count: int) -> None:
        if self.held + count > self.limits.bodies:
            raise Refused(503, "expected room for so much at once, found none. Try again")
        self.held += count

    def _too_large(self, size: int) -> Refused:
        return Refused(413, f"expected at most {self.limits.body:,} bytes, found {size:,} or more")

    def _write(
        self, scope: Scope, identity: str, answer: "Answering", taken: int, seconds: float,
        notes: dict[str, Any],
    ) -> None:  # fmt: skip
        assert self.log is not None
        row = {
            "time": round(time.time(), 3),
            "id": identity,
            "client": (scope.get("client") or ("",))[0],
            "method": scope["method"],
            "path": escape(scope["path"])[:200],
            "status": answer.status,
            "in": taken,
            "out": answer.size,
            "ms": round(1000 * seconds, 1),
            **notes,
        }
        try:
            self.log(json.dumps(row) + "\n")
        except OSError:  # who read it is gone: no reason to stop answering
            self.log = None


class Gone(Exception):
    """The client left before it had sent all."""


class Answering:
    """Sends, adding what every answer carries, and knows what was sent."""

    def __init__(self, send: Send, path: str, identity: str) -> None:
        self._send, self._path, self._id = send, path, identity
        self.status, self.size, self.begun = 0, 0, False

    async def __call__(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            own = {key for key, _ in message["headers"]}
            csp = PAGE_CSP if self._path in ("/", "/status") else CSP
            more = [*HEADERS, (b"content-security-policy", csp.encode()),
                    (b"x-request-id", self._id.encode())]  # fmt: skip
            headers = [*message["headers"], *(pair for pair in more if pair[0] not in own)]
            message = {**message, "headers": headers}
        else:
            self.size += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, status: int, text: str) -> None:
        """Answer with an error, unless another answer has begun."""
        if self.begun:
            return
        body = to_json({"error": text})
        headers = [(b"content-type", b"application/json"),
                   (b"content-length", str(len(body)).encode())]  # fmt: skip
        if status == 503:
            headers.append((b"retry-after", str(RETRY_AFTER).encode()))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status in (408, 413, 503, 401, 403):  # what is still to come is not waited for
            headers.append((b"connection", b"close"))
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def went_wrong(identity: str) -> str:
    """What a client hears of a mistake of ours."""
    return f"something went wrong here; it is in the log as {identity}"


def to_json(content: Any) -> bytes:
    """As bytes; JSON has no nan, and half letters are escaped."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def _is_own(headers: dict[bytes, str]) -> bool:
    """Whether a browser, if it is one, asks for a page of this server: CORS is off, but a form of
    another site would be sent without asking.
    """
    if headers.get(b"sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get(b"origin")
    return origin is None or hmac.compare_digest(
        origin.partition("://")[2].encode(), headers.get(b"host", "").encode()
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then whatever else comes (that the client leaves)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
