"""What is noted of files and folders of predictions: which classifier said them, asked what."""

from pathlib import Path
from typing import Any

from headstart.errors import HeadstartError, cannot_read
from headstart.system.atomic import write_atomically
from headstart.system.json import dumps, loads


def write_about(note: Path, about: dict[str, Any]) -> None:
    """Raises StorageError."""
    write_atomically(note, (dumps(about, indent=2) + "\n").encode())


def compare_about(path: Path, note: Path, about: dict[str, Any]) -> None:
    """Raises HeadstartError unless the note of `path` says that it was made in the same way.

    What is None in `about` need not stand in the note.
    """
    try:
        found = loads(note.read_bytes())
        wrong = [key for key in about if found.get(key) != about[key]]
    except (OSError, ValueError, AttributeError) as error:
        advice = f"Give another name, or move {path} away"
        raise HeadstartError(cannot_read(note, error, "what is known of that file", advice)) from (
            error
        )
    if wrong:
        told = "; ".join(f"{key} {found.get(key)}, not {about[key]}" for key in wrong)
        raise HeadstartError(
            f"expected {path} to be of this classifier with the same options, found {told}. Give "
            "another name, or the options it was begun with"
        )
