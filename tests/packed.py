"""Many images in one file."""

import io
import tarfile
from pathlib import Path


def picture(number: int) -> bytes:
    """A small image, each number's of its own."""
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes | str], mode: str = "w") -> Path:
    """A tar archive of these files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, text in members.items():
            data = text.encode() if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def samples(count: int, start: int = 0) -> dict[str, bytes | str]:
    """Images with a number each beside them."""
    members: dict[str, bytes | str] = {}
    for n in range(start, start + count):
        members |= {f"{n:06}.cls": str(n % 2), f"{n:06}.png": picture(n)}
    return members
