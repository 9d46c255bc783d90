"""Addresses of what lies elsewhere, as text: taken apart, put together, and shown without the keys
that may stand in them.

Keys that were typed in an address are put away where it comes in and added where a store is opened,
so no run, message or file has them.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from headstart.errors import DatasetError

ADDRESS = re.compile(r"([a-z][a-z0-9+]+):/+(.+)", re.IGNORECASE)  # Path makes one slash of two
WEB = ("http", "https")
AZURE = ("az", "abfs", "abfss")
STORES = ("s3", "gs", "gcs", *AZURE, "hf", "file")
HIDDEN = "\0"  # stands for a question mark in a name, which would begin the options
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
HARMLESS = ("region", "scheme", "endpoint_override")  # options that say only where a store is

_keys: dict[str, str] = {}  # as it was typed, by the store, or the address of a web server
_Place: Any = type(Path())


class Address(_Place):
    """An address in the place of a path, which would write one slash where two are."""

    def __str__(self) -> str:
        return read_address(super().__str__()) or super().__str__()


def read_address(source: object) -> str | None:
    """The address that a source is; None for a place on this computer."""
    if not isinstance(source, str | os.PathLike):
        return None
    text = _Place.__str__(source) if isinstance(source, Path) else os.fspath(source)
    found = ADDRESS.fullmatch(text) if isinstance(text, str) else None
    return None if found is None else f"{found[1].lower()}://{found[2]}"


def to_place(text: str | os.PathLike[str]) -> Path:
    """A path; of an address one without its keys, which are put away."""
    address = read_address(text)
    return Path(text) if address is None else Address(put_keys_away(address))


def put_keys_away(address: str) -> str:
    """The address without keys, by which `with_keys` finds them in this process."""
    noted = note(address)
    if is_web(address) and address in _keys:  # they have been
        return address
    if is_web(address):
        number = 2
        while _keys.setdefault(noted, address) != address:  # told apart by what is hidden
            noted, number = f"{note(address)}#{number}", number + 1
    elif noted != address:
        _keys[_store(noted)] = address
    return noted


def with_keys(address: str) -> str:
    """The address with the keys that were typed for it, or for the store that it is in."""
    if is_web(address):
        return _keys.get(address, address)
    typed = _keys.get(_store(address))
    if typed is None or note(address) != address:
        return address
    head, sign, query = typed.partition("?")
    path = address.partition("?")[0].split("/", 3)[3:]
    return "/".join([*head.split("/", 3)[:3], *path]) + sign + query


def list_keys() -> dict[str, str]:
    """All keys put away here, for another process of the same job."""
    return dict(_keys)


def take_keys(keys: dict[str, str]) -> None:
    """What `list_keys` gave in another process."""
    _keys.update(keys)


def _store(address: str) -> str:
    """The store that an address is in, by which its keys are known."""
    head, _, query = address.partition("?")
    return f"{'/'.join(head.split('/', 3)[:3])}?{query}"


def check_address(address: str) -> None:
    """Raises DatasetError for the address of no store and no web server."""
    if address.partition(":")[0] not in (*STORES, *WEB):
        raise DatasetError(
            f"expected an address that begins with {', '.join((*STORES[:-1], *WEB))}, found "
            f"{hide(address)}. Bring it here with a program of its own, and give its place"
        )


def hide(address: str) -> str:
    """The address as it may be shown: without what stands after a question mark or before an @,
    where keys are written. What stands there and is no key is kept: Azure's containers, and the
    word anonymous, for which nobody is asked for a key.
    """
    head = unescape(address.partition("?")[0])
    if head.partition(":")[0] in AZURE:
        return re.sub(r"(//[^/@:]*):[^@]*@", r"\1@", head)
    # A key may have a slash in it; what follows a port has none.
    return re.sub(r"//(?!anonymous@)([^/@]*|[^/@:]*:(?!\d+/)[^@]*)@", "//", head)


def note(address: str) -> str:
    """The address as a run notes it: as it is shown, with the options that say where it is."""
    if is_web(address):
        return hide(address)
    kept = [part for part in address.partition("?")[2].split("&")
            if part.partition("=")[0] in HARMLESS and not re.search("@|%40", part)]  # fmt: skip
    return hide(address) + ("?" + "&".join(kept) if kept else "")


def clean(error: object) -> str:
    """The first line of what another library says, without the keys of an address in it."""
    inner = getattr(error, "reason", None)  # as urllib wraps another one
    error = inner if isinstance(inner, OSError) else error
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    text = (said.strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"\b[a-zA-Z0-9+]+://[^\s'\"]+", lambda found: hide(found[0]), text)


def drop_keys(text: str) -> str:
    """A text without what stands before an @ in an address, where a key is written."""
    return re.sub(r"(://)[^/\s:@]*:(?!\d+/)[^\s@]*@", r"\1", text)


def is_web(address: str) -> bool:
    """Whether a web server has it, which does not list what it has."""
    return address.partition(":")[0] in WEB


def join(address: str, name: str) -> str:
    """The address of what lies below another one, whose options it keeps."""
    head, sign, query = address.partition("?")
    return f"{head.rstrip('/')}/{name.replace('?', HIDDEN)}{sign}{query}"


def unescape(path: str) -> str:
    """The path in a store of what `join` wrote."""
    return path.replace(HIDDEN, "?")


def parent(address: str) -> str:
    """The address of the folder that a file is in."""
    head, sign, query = address.partition("?")
    return f"{head.rstrip('/').rpartition('/')[0]}{sign}{query}"


def file_name(address: str) -> str:
    """What the file or folder at an address is called."""
    return PurePosixPath(address.partition("?")[0]).name


def expand(pattern: str) -> list[str]:
    """The names that one with braces stands for, as a shell has it: `photos-{000..099}.tar`."""
    found = RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last, words = found.groups()
    if words is None:
        step = 1 if int(first) <= int(last) else -1
        width = len(first) if len(first) == len(last) or first.startswith("0") else 1
        parts = [f"{n:0{width}}" for n in range(int(first), int(last) + step, step)]
    else:
        parts = words.split(",")
    start, end = pattern[: found.start()], pattern[found.end() :]
    return [start + part + rest for part in parts for rest in expand(end)]


def expand_address(address: str) -> list[str]:
    """The same of an address; itself where there are no braces."""
    head, sign, query = address.partition("?")
    return [f"{name}{sign}{query}" for name in expand(head)]
