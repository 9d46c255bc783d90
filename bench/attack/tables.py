"""Hostile tables: a dataset whose names can be written, or a reason and a line, in bounded time.

python bench/attack/tables.py [--tried 600] [--seed 0]: every table by hand, then so many damaged
copies of whole ones of each kind. Prints one JSON line.
"""

import csv
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _common import arguments, photos, report, workplace
from images import damage

SECONDS = 30
LONGEST = 10_000  # letters of a message: two paths of the longest kind
LABELS: list[Any] = [
    None, float("nan"), float("inf"), True, 0, -1, 1e300, "", " ", ";", "|", ";;", "a;b", "a;a",
    "a|b", "nan", "None", "null", "\ud800", "\x00", "\x1b[31m", "\u202e", "x" * 100_000, "é",
    "e\u0301", "日本", "😀", [], ["a"], ["a", "b"], [["a"]], [None], {}, {"a": 1}, "../a", "a/b",
    "CON", "-", "--",
]  # fmt: skip
PATHS: list[Any] = [
    "", None, 1, ".", "..", "/", "/dev/zero", "/dev/stdin", "/proc/kmsg", "nowhere.jpg",
    "\x00.jpg", "\ud800.jpg", "x" * 5000, "a/" * 2000 + "1.jpg", "\\\\server\\1.jpg", "C:\\1.jpg",
    ["1.jpg"], {}, "http://example.org/1.jpg", "file:///etc/passwd", "~root", "$HOME/1.jpg",
    "\x1b]0;x\x07.jpg",
]  # fmt: skip
SPLITS: list[Any] = [
    "train",
    "TRAIN",
    "val",
    "test",
    "nothing",
    "",
    None,
    0,
    [],
    "\ud800",
    "\x1b[2J",
]


def rows_of(names: list[str]) -> list[dict[str, Any]]:
    """Whole rows of two classes."""
    return [
        {"path": name, "label": name.split("/")[0], "group": f"g{number % 5}"}
        for number, name in enumerate(names)
    ]


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    """JSON lines; half letters stay as escapes."""
    return "\n".join(json.dumps(row) for row in rows).encode()


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    """A table in UTF-8, whatever is in it."""
    target = io.StringIO()
    fields = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(target, fields, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode("utf-8", "surrogatepass")


def by_hand(names: list[str]) -> list[tuple[str, bytes]]:
    """Each table with the name of its file."""
    rows = rows_of(names)
    tables: list[tuple[str, bytes]] = []

    def changed(field: str, values: list[Any]) -> None:
        for value in values:
            odd = [{**row, field: value} if number == 1 else row for number, row in enumerate(rows)]
            tables.append(("t.jsonl", as_lines(odd)))
            if isinstance(value, str) and "\x00" not in value:
                tables.append(("t.csv", as_csv(odd)))

    changed("label", LABELS)
    changed("path", PATHS)
    changed("split", SPLITS)
    changed("group", ["", None, [], "\ud800", "\x1b[2J", 1e300])
    plain = as_csv(rows)
    tables += [
        ("t.csv", b""), ("t.csv", b"\n\n\n"), ("t.csv", b"path,label"), ("t.csv", b"label\na\n"),
        ("t.csv", b"path\n1.jpg\n"), ("t.csv", b"\xff\xfe" + plain.decode().encode("utf-16-le")),
        ("t.csv", b"\xef\xbb\xbf" + plain), ("t.csv", plain.replace(b"\r\n", b"\r")),
        ("t.csv", plain.replace(b",", b";")), ("t.tsv", as_csv(rows, "\t")), ("t.tsv", plain),
        ("t.csv", plain + b'"' + b"x" * 1_000_000), ("t.csv", plain + b"a," * 100_000),
        ("t.csv", b"path,path,label\n1,2,a\n"), ("t.csv", b"PATH , Label\n" + plain[20:]),
        ("t.csv", plain.replace(b"a", b"\x00")), ("t.csv", plain * 2), ("t.csv", bytes(1000)),
        ("t.csv", plain.replace(b"\r\n", b"\r\n\r\n")), ("t.csv", b"path,label\n" + b"\n" * 10**6),
        ("t.csv", b"\xff\xd8\xff\xe0"), ("t.csv", b"path,label\n" + b"x.jpg,a\n" * 200_000),
        ("t.jsonl", b"[" * 100_000), ("t.jsonl", b'{"a":' * 100_000), ("t.jsonl", b"null\n1\n[]\n"),
        ("t.jsonl", b'{"path": "1.jpg", "label": ' + b"9" * 10_000 + b"}"), ("t.jsonl", b"\n\n"),
        ("t.jsonl", b"{}\n{}\n"), ("t.jsonl", as_lines(rows)[:-5]), ("t.jsonl", b"\xff\xfe{}"),
        ("t.jsonl", json.dumps(rows).encode()), ("t.jsonl", as_lines(rows) + b"\n{" + b" " * 10**7),
        ("t.parquet", b""), ("t.parquet", b"PAR1"), ("t.parquet", b"PAR1" + bytes(100) + b"PAR1"),
    ]  # fmt: skip
    return tables


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """A whole Parquet file."""
    import pyarrow as arrow
    from pyarrow import parquet as files

    target = io.BytesIO()
    files.write_table(arrow.Table.from_pylist(rows), target)
    return target.getvalue()


def cells_of(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """The same rows with the images in them."""
    return [
        {**row, "image": {"bytes": (folder / row["path"]).read_bytes(), "path": row["path"]}}
        for row in rows_of(names)
    ]


def judge(load: Callable[..., Any], path: Path, refused: type[Exception]) -> str:
    """Why a table did not hold; nothing if it did."""
    begun = time.perf_counter()
    for options in ({}, {"groups": "group"}):
        try:
            dataset = load(path, **options)
            for item in dataset.items:
                "".join((item.name, item.label, item.split or "", item.group or "")).encode()
            "".join((*dataset.classes, *dataset.warnings, dataset.fingerprint())).encode()
            if any(letter in "".join(dataset.classes) for letter in "\x1b\x00\u202e"):
                return "a raw letter in a class"
        except refused as error:
            str(error).encode()
            if len(str(error)) > LONGEST:
                return f"a message of {len(str(error)):,} letters"
            if "expected" not in str(error) and "cannot" not in str(error):
                return f"does not say what was expected: {error}"[:150]
        except BaseException as error:
            return f"{type(error).__name__}: {error}"[:150]
    return f"more than {SECONDS} s" if time.perf_counter() - begun > SECONDS else ""


def main() -> None:
    asked, begun = arguments(__doc__, 600), time.perf_counter()
    fallen: list[str] = []
    with workplace("tables") as folder:
        os.environ["HEADSTART_CACHE"] = str(folder / "cache")
        from headstart.data.dataset import load
        from headstart.errors import HeadstartError

        photos(folder, 2, 8)
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
        tables = by_hand(names)
        kinds = {"csv": as_csv(rows_of(names)), "jsonl": as_lines(rows_of(names)),
                 "parquet": parquet(rows_of(names)),
                 "cells.parquet": parquet(cells_of(folder, names))}  # fmt: skip
        for number in range(asked.tried):
            kind = list(kinds)[number % len(kinds)]
            rng = np.random.default_rng([asked.seed, number])
            tables.append((f"t.{kind}", damage(kinds[kind], list(kinds.values()), rng)))
        for number, (name, content) in enumerate(tables):
            path = folder / name
            path.write_bytes(content)
            if why := judge(load, path, HeadstartError):
                fallen.append(f"{number} {name} {content[:40]!r}: {why}")
            path.unlink()
    report("tables", len(tables), fallen, begun)


if __name__ == "__main__":
    main()
