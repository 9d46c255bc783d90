"""The server as a process: uvicorn around the application, begun and ended in order."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headstart.errors import HeadstartError
from headstart.serve.limits import Limits

OWN_FILES = 128  # that are no connections


class Server(uvicorn.Server):
    """Ends after the first SIGTERM or Ctrl-C once all that was accepted is answered; the process
    goes on, with what follows.
    """

    told: Callable[[], object] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As ever, and tell that it is ready."""
        await super().startup(sockets)
        if not self.should_exit:
            self.told()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's own, which would then kill this process by the same signal."""
        before = {}
        with contextlib.suppress(ValueError):  # not the main thread: nobody sends us signals
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def patient(limits: Limits) -> type[asyncio.Protocol]:
    """uvicorn's protocol with an end to its patience: connections are so many at most, and one on
    which no whole request comes in time is closed, be it in its headers.
    """

    class Patient(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
            self._wait()

        def _wait(self) -> None:
            """For the next request's headers."""
            self._stop_waiting()
            self._timer = self.loop.call_later(limits.upload, self._give_up)

        def _give_up(self) -> None:
            answering = self.cycle is not None and not self.cycle.response_complete
            if not answering and not self.transport.is_closing():
                self.transport.abort()

        def _stop_waiting(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def on_headers_complete(self) -> None:
            self._stop_waiting()  # the body has its own end, in the guard
            super().on_headers_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.transport.is_closing():
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

    return Patient


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises HeadstartError if it cannot."""
    bound = None
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, UnicodeError) as error:  # a name too long, or with odd letters
        if bound is not None:
            bound.close()
        found = error.strerror if isinstance(error, OSError) else "no address"
        other = port + 1 if port < 65535 else 8000
        raise HeadstartError(
            f"expected to listen on {host[:80]}, port {port}, found: {found}. Type: --port {other}"
        ) from error
    return bound


def allow_files(count: int) -> int:
    """Let this process have so many files open, or as many as it may; gives how many."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def run(app: Any, bound: socket.socket, limits: Limits, told: Callable[[], object]) -> None:
    """Serve until a signal comes, and finish what was accepted. told: called once it listens."""
    files = allow_files(limits.connections + OWN_FILES)
    limits = replace(limits, connections=max(1, files - OWN_FILES))
    config = uvicorn.Config(
        app, http=patient(limits), ws="none", log_level="error", access_log=False,
        server_header=False, timeout_keep_alive=min(5, int(limits.upload) or 1),
        timeout_graceful_shutdown=int(limits.closing), backlog=2048, proxy_headers=False,
    )  # fmt: skip
    server = Server(config)
    server.told = told
    server.run([bound])
