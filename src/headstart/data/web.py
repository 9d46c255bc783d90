"""Files of web servers, by Python's own means."""

import errno
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.parse import quote

from headstart.data.address import with_keys

T = TypeVar("T")
TRIES, PATIENCE = 3, 60  # seconds without an answer
SAFE = "%/:?=&#~+!$,;'@()*[]"  # what an address has unquoted; spaces and other alphabets are quoted


def open_web(address: str) -> Any:
    """The file, open for reading. Raises as `try_again` does."""
    url = quote(with_keys(address), safe=SAFE)
    return try_again(lambda: urllib.request.urlopen(url, timeout=PATIENCE))


def fetch_web(address: str, take: Callable[[Any], T]) -> T:
    """What is taken of the file, from its beginning again if it breaks off. Raises as `try_again`
    does.
    """
    url = quote(with_keys(address), safe=SAFE)

    def fetch() -> T:
        with urllib.request.urlopen(url, timeout=PATIENCE) as source:
            taken = take(source)
            check_whole(source)
        return taken

    return try_again(fetch)


def check_whole(source: Any) -> None:
    """Raises ConnectionError for an answer that broke off, which reading by parts passes over."""
    if getattr(source, "length", None):
        raise ConnectionAbortedError(f"{source.length:,} bytes less than the server had announced")


def ask_web(address: str) -> Any:
    """What a server says of a file, its headers, without sending it. Raises as `try_again` does."""

    def ask() -> Any:
        request = urllib.request.Request(quote(with_keys(address), safe=SAFE), method="HEAD")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.headers

    return try_again(ask)


def try_again(ask: Callable[[], T]) -> T:
    """What a web server gives, asked again where it is busy or does not answer.

    Raises FileNotFoundError where there is nothing, other OSErrors as they come.
    """
    for left in reversed(range(TRIES)):
        try:
            return ask()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise FileNotFoundError(error.code, "no such file") from error
            if not left or error.code < 500:
                raise
        except (TimeoutError, ConnectionError, urllib.error.URLError):
            if not left:
                raise
        except HTTPException as error:  # no OSError: an answer that breaks off, or is none
            if not left:
                raise OSError(f"{type(error).__name__} {error}".strip()) from error
        except ValueError as error:
            raise FileNotFoundError(errno.EINVAL, f"no address ({error})") from error
    raise AssertionError("never reached")
