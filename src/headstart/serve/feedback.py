"""Images sent back with the label they should have had, kept until somebody trains with them.

FOLDER/feedback.sqlite     one row an image: the newest label counts
FOLDER/images/HASH.jpg     the bytes as they came
"""

import csv
import io
import shlex
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headstart.errors import HeadstartError
from headstart.images.decode import recognise
from headstart.serve.bodies import Refused
from headstart.system.atomic import cannot_write, write_atomically
from headstart.system.digest import digest

FILE = "feedback.sqlite"
MOST = 20 * 2**30  # bytes of images kept: a server's disk is not filled by whoever may ask it
_TABLE = """create table if not exists feedback (
    image text primary key, label text not null, predicted text, probability real,
    model text not null, version text not null, received real not null)"""


class Feedback:
    """The folder. Everything here may run in many threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        try:
            (folder / "images").mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as base, base:
                base.execute("pragma journal_mode=wal")
                base.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            found = error if isinstance(error, OSError) else OSError(str(error))
            raise cannot_write(folder / FILE, 0, found) from error
        self._size = sum(file.stat().st_size for file in (folder / "images").iterdir())

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / FILE)

    def keep(self, content: bytes, label: str, about: tuple[Any, ...]) -> str:
        """The image with its label; one that was sent before has the newer label. Returns its name.

        about: label and probability as predicted, model, version. Raises Refused where there
        is no room.
        """
        name = f"images/{digest(content)[:32]}.{(recognise(content) or 'image').lower()}"
        with self._lock:
            path = self.folder / name
            if not path.exists():
                if self._size + len(content) > MOST:
                    raise Refused(507, "expected room for the image, found none")
                write_atomically(path, content)
                self._size += len(content)
            row = (name, label, *about, time.time())
            with closing(self._open()) as base, base:
                base.execute("insert or replace into feedback values (?,?,?,?,?,?,?)", row)
        return name


def write_table(folder: Path, model: str | None = None) -> bytes:
    """A CSV with the columns path, label, predicted, model, received: a table for `train`.

    model: whose images; needed where there are several models', whose classes have nothing in
    common. Paths are absolute. Raises HeadstartError where nothing was kept.
    """
    file = folder / FILE
    rows: list[Any] = []
    if file.is_file():
        try:
            place = f"file:{quote(str(file.absolute()))}?mode=ro"
            with closing(sqlite3.connect(place, uri=True)) as base:
                rows = base.execute(
                    "select image, label, predicted, model, received from feedback "
                    "order by received, image"
                ).fetchall()
        except sqlite3.Error as error:
            raise HeadstartError(
                f"cannot read {file}: expected what headstart serve --feedback kept, found: {error}"
            ) from error
    models = sorted({row[3] for row in rows})
    if len(models) > 1 and model is None:
        raise HeadstartError(
            f"expected images of one model in {folder}, found those of {', '.join(models)}. Type: "
            f"headstart feedback {shlex.quote(str(folder))} --model {shlex.quote(models[0])}"
        )
    rows = [row for row in rows if model in (None, row[3])]
    if not rows and models:
        raise HeadstartError(f"expected --model with one of {', '.join(models)}, found {model}")
    if not rows:
        raise HeadstartError(
            f"expected images kept in {folder}, found none. Type: headstart serve RUN --feedback "
            f"{folder}"
        )
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "label", "predicted", "model", "received"])
    for image, *rest in rows:
        writer.writerow([folder.absolute() / image, *rest])
    return table.getvalue().encode()
