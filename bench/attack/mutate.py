"""Edits of saved files such as hands, scripts and accidents make: all of them, in one order.

`edits_of_json` and `edits_of_table` give (what was done, the file's new bytes). They draw nothing:
whoever wants fewer takes a seeded sample.
"""

import copy
import csv
import io
import json
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
DELETE = object()
VALUES: dict[str, Any] = {
    "deleted": DELETE, "null": None, "true": True, "zero": 0, "negative": -1, "huge": 10**9,
    "beyond float": 10**400, "beyond int": float("1e308"), "fraction": 0.5, "nan": float("nan"),
    "infinite": float("inf"), "empty text": "", "text": "no such thing", "escape": "\x1b[2J",
    "half a letter": "\udce9", "empty list": [], "list": [1, "a", None], "empty object": {},
    "object": {"a": 1}, "folder": "/",
}  # fmt: skip
WHOLE: dict[str, bytes] = {
    "empty": b"", "a list": b"[]", "null": b"null", "a number": b"1", "not UTF-8": b'{"a": "\xff"}',
    "zeros": bytes(100), "nested deep": b'{"format": ' + b"[" * 100_000,
    "nested deep and closed": b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "many digits": b'{"format": ' + b"9" * 5_000 + b"}", "a text": b'"run"',
}  # fmt: skip


def edits_of_json(content: bytes, *, first_of_lists: int = 2) -> Iterator[tuple[str, bytes]]:
    """Every field deleted, given a value of every kind, repeated; and the file as a whole.

    first_of_lists: how many elements of each list are edited.
    """
    yield from WHOLE.items()
    for share in (0.3, 0.9):
        yield f"cut at {share:.0%}", content[: int(share * len(content))]
    tree = json.loads(content)
    yield "one more", _dump({**tree, "later": [1, {}]})
    for path in _paths(tree, first_of_lists):
        name = ".".join(map(str, path))
        for kind, value in VALUES.items():
            yield f"{name}: {kind}", _dump(_changed(tree, path, value))
        old = _at(tree, path)
        if isinstance(old, list):
            yield f"{name}: repeated", _dump(_changed(tree, path, old + old))
            yield f"{name}: reversed", _dump(_changed(tree, path, old[::-1]))
            yield f"{name}: shorter", _dump(_changed(tree, path, old[:-1]))
        if isinstance(old, dict):
            yield f"{name}: one more", _dump(_changed(tree, path, {**old, "later": [1, {}]}))


def edits_of_table(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Every column gone, renamed or with something else in its first and last row."""
    yield from WHOLE.items()
    yield "no rows", content.splitlines(keepends=True)[0]
    yield "cut", content[: int(0.7 * len(content))]
    yield "a very long cell", content + b"x" * 200_000 + b"\n"
    yield "an open quote", content + b'"\n'
    yield "an empty line", content + b"\n"
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    for column in range(len(rows[0])):
        yield f"column {column} gone", _table([r[:column] + r[column + 1 :] for r in rows])
        for place in sorted({0, 1, len(rows) - 1} & set(range(len(rows)))):
            for cell in ("", "nan", "inf", "-1", "1e400", "no such thing", "\x1b[2J", "\u00e9"):
                edited = [list(row) for row in rows]
                edited[place][column] = cell
                yield f"row {place}, column {column}: {cell!r}", _table(edited)


def _paths(tree: Any, first_of_lists: int, above: Path = ()) -> Iterator[Path]:
    if above:
        yield above
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _paths(value, first_of_lists, (*above, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree[:first_of_lists]):
            yield from _paths(value, first_of_lists, (*above, index))


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _changed(tree: Any, path: Path, value: Any) -> Any:
    tree = copy.deepcopy(tree)
    above = _at(tree, path[:-1])
    if value is DELETE:
        del above[path[-1]]
    else:
        above[path[-1]] = value
    return tree


def _dump(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _table(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
