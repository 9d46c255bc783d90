"""Damaged and hostile archives: refused with a reason or read whole, and nothing outside touched.

python bench/attack/archives.py [--tried 600] [--seed 0]: so many damaged copies of archives of each
kind, and every hostile one by hand. Prints one JSON line.
"""

import io
import os
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from _common import arguments, report, workplace
from images import damage

KINDS = ("zip", "stored.zip", "tar", "tar.gz", "tar.bz2", "tar.xz")
SECONDS = 60
Files = dict[str, bytes]


def write(path: Path, files: Files) -> None:
    """An archive of the kind that its name says."""
    if path.suffix == ".zip":
        how = zipfile.ZIP_STORED if ".stored" in path.name else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", how) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    mode = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            add(archive, name, content)


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields: object) -> None:
    """One member, whatever its fields say."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for field, value in fields.items():
        setattr(entry, field, value)
    archive.addfile(entry, io.BytesIO(content))


def read(folder: Path) -> Files:
    """Every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sizes(files: Files) -> set[tuple[str, int]]:
    """Names and lengths."""
    return {(name, len(content)) for name, content in files.items()}


def hostile(folder: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Archives made to harm: a name, and what writes it."""

    def tar(*members: tuple[str, bytes, dict[str, object]]) -> Callable[[Path], None]:
        def write_it(path: Path) -> None:
            with tarfile.open(path, "w:gz") as archive:
                for name, content, fields in members:
                    add(archive, name, content, **fields)

        return write_it

    def zipped(*members: tuple[str, bytes]) -> Callable[[Path], None]:
        def write_it(path: Path) -> None:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in members:
                    archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)

        return write_it

    def bomb(path: Path) -> None:
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("a/1.jpg", "w", force_zip64=True) as member,
        ):
            for _ in range(2000):
                member.write(bytes(2**20))

    def bomb_of_many(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(60):
                archive.writestr(f"a/{number}.jpg", bytes(40 * 2**20))

    def locked(path: Path) -> None:
        zipped(("a/1.jpg", b"1"))(path)
        content = bytearray(path.read_bytes())
        for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            content[content.index(mark) + place] |= 1
        path.write_bytes(content)

    outside = folder / "outside"
    link, hard = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}
    good = ("a/1.jpg", b"one", {})
    yield "above.tar.gz", tar(good, ("../outside", b"x", {}))
    yield "absolute.tar.gz", tar(good, (str(outside), b"x", {}))
    yield "link.tar.gz", tar(("a", b"", {**link, "linkname": str(folder)}), ("a/outside", b"x", {}))
    yield "hard.tar.gz", tar(good, ("b/1.jpg", b"", {**hard, "linkname": "/etc/hostname"}))
    yield "hard-above.tar.gz", tar(good, ("b", b"", {**hard, "linkname": "../../../archive.json"}))
    yield "circle.tar.gz", tar(("a", b"", {**link, "linkname": "b"}), (
        "b", b"", {**link, "linkname": "a"}))  # fmt: skip
    yield "itself.tar.gz", tar(good, ("a/2.jpg", b"", {**link, "linkname": "2.jpg"}))
    yield "device.tar.gz", tar(good, ("a/zero", b"", {"type": tarfile.CHRTYPE, "devmajor": 1}))
    yield "pipe.tar.gz", tar(good, ("a/pipe", b"", {"type": tarfile.FIFOTYPE}))
    yield "both.tar.gz", tar(("a", b"file", {}), ("a/1.jpg", b"1", {}))
    yield "twice.tar.gz", tar(good, ("a/1.jpg", b"two", {}))
    yield "names.tar.gz", tar(("a/\x1b[2J.jpg", b"1", {}), ("a/" + "x" * 300, b"1", {}))
    yield "deep.tar.gz", tar(("a/" * 900 + "1.jpg", b"1", {}))
    yield "empty.tar.gz", tar()
    yield "above.zip", zipped(("a/1.jpg", b"1"), ("../outside", b"x"), ("..\\outside", b"x"))
    yield "absolute.zip", zipped(("a/1.jpg", b"1"), (str(outside), b"x"))
    yield "names.zip", zipped(("a/\x1b[2J\n.jpg", b"1"), ("a/" + "x" * 300, b"1"))
    yield "both.zip", zipped(("a", b"file"), ("a/1.jpg", b"1"))
    yield "folder.zip", zipped(("a/1.jpg/", b"content"))
    yield "bomb.zip", bomb
    yield "bombs.zip", bomb_of_many
    yield "locked.zip", locked
    yield "empty.zip", zipped()
    yield "text.zip", lambda path: path.write_text("no archive") and None
    yield "nothing.tar", lambda path: path.touch()


def main() -> None:
    asked, begun = arguments(__doc__, 600), time.perf_counter()
    fallen: list[str] = []
    with workplace("archives") as folder:
        os.environ["HEADSTART_CACHE"] = str(folder / "cache")
        from headstart.data.archive import unpack
        from headstart.data.dataset import load
        from headstart.errors import CacheError, DatasetError

        rng = np.random.default_rng(asked.seed)
        files = {f"photos/{'ab'[n % 2]}/{n}.jpg": rng.bytes(200 + n) for n in range(12)}
        originals = {}
        for kind in KINDS:
            path = folder / f"whole.{kind}"
            write(path, files)
            originals[kind] = path.read_bytes()
            if read(unpack(path).folder) != files:
                fallen.append(f"whole.{kind} is not read whole")
        for number in range(asked.tried):
            kind = KINDS[number % len(KINDS)]
            content = damage(originals[kind], [], np.random.default_rng([asked.seed, number]), 7)
            path = folder / f"{number}.{kind}"
            path.write_bytes(content)
            try:
                found = read(unpack(path).folder)
                if found != files and not (kind == "tar" and sizes(found) == sizes(files)):
                    lost = len(files) - len(found)
                    fallen.append(f"{number}.{kind}: read in part, {lost} files lost")
            except (DatasetError, CacheError):
                pass
            except BaseException as error:
                fallen.append(f"{number}.{kind}: {type(error).__name__}: {error}"[:200])
            path.unlink()
        before = set(os.listdir(folder)) | {"cache"}
        attacks = list(hostile(folder))
        for name, make in attacks:
            path, started = folder / name, time.perf_counter()
            make(path)
            made = time.perf_counter() - started
            try:
                load(path)
            except (DatasetError, CacheError):
                pass
            except BaseException as error:
                fallen.append(f"{name}: {type(error).__name__}: {error}"[:200])
            if time.perf_counter() - started - made > SECONDS:
                fallen.append(f"{name}: took more than {SECONDS} s")
            path.unlink()
            touched = set(os.listdir(folder)) - before
            if touched:
                fallen.append(f"{name}: wrote {touched} outside")
        left = [path.name for path in (folder / "cache" / "archives").glob(".*")]
        if left:
            fallen.append(f"left behind: {left[:3]}")
    report("archives", asked.tried + len(attacks), fallen, begun)


if __name__ == "__main__":
    main()
