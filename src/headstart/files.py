"""Files and folders appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`: whoever reads it finds the old content or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def folder_atomically(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place whole when the block ends well.

    An older `target` is replaced. If another process made it in the meantime, one of the two
    remains, whole.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        _take_place(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, target: Path) -> None:
    for _ in range(10):
        try:
            os.rename(temporary, target)  # over nothing, or over an empty folder
            return
        except OSError:
            old = temporary.with_name(f"{temporary.name}.old")
            try:
                os.rename(target, old)
            except FileNotFoundError:
                continue  # another process is at the same point: try again
            shutil.rmtree(old, ignore_errors=True)
    raise OSError(f"cannot put {target} in its place")
