"""Labelled images in files of many (archives of samples, Parquet), each file one thing: listed by
its name, read as a stream, here or at an address, and never unpacked.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.data.address import expand_address, file_name, hide, is_web, with_keys
from headstart.data.bring import is_visible, read_classes_at
from headstart.data.containers import read_parquet_images, read_tar
from headstart.data.elsewhere import (
    CHECK,
    list_files,
    open_file,
    open_stream,
    told,
)
from headstart.data.folder import is_candidate
from headstart.data.item import Item, natural_key
from headstart.data.parquet import SUFFIX, find_shards, find_split, holds_images, is_parquet
from headstart.data.remote import open_address
from headstart.data.samples import CLASSES, find_tars, is_tar, read_classes
from headstart.data.split import find_group

FOLDERS = 3  # of those in a folder, that are looked into to see what lies there


@dataclass(frozen=True)
class Container:
    """A file of many images. place: its path or address. name: what the names of its images begin
    with, "" for nothing. state: by what it is known that it has not changed. split: that of images
    of which it tells none.
    """

    place: str
    name: str
    state: str
    split: str | None = None
    remote: bool = False
    classes: tuple[tuple[str, str], ...] = ()

    def stream(self, groups: str | None) -> Iterator[Item]:
        """Its images with their bytes, one after the other, in the groups that a field or column
        of that name tells, else that the pattern finds in their names. Raises as `read_tar` and
        `read_parquet_images` do.
        """
        with self._open() as file:
            if is_tar(file_name(self.place)):
                items = read_tar(
                    file, self.name, groups=groups, split=self.split, classes=dict(self.classes)
                )
            else:
                items = read_parquet_images(file, self.name, groups=groups, split=self.split)
            for item in items:
                yield item if groups is None or item.group else find_group(item, groups)

    def _open(self) -> AbstractContextManager[Any]:
        if not self.remote:
            return Path(self.place).open("rb")
        return _open_address(self.place)


@contextmanager
def _open_address(address: str) -> Iterator[Any]:
    tar = is_tar(file_name(address))
    with told(address), open_stream(address) if tar else open_file(address) as file:
        yield file


def find_containers(path: Path) -> list[Container]:
    """Those that a place on this computer is, or a folder holds; none for anything else."""
    loose = path.is_dir() and next(_images(path), None) is not None
    files = [] if loose else find_tars(path) or _find_parquet(path)
    base = path if path.is_dir() else path.parent
    beside = [base / name for name in CLASSES if (base / name).is_file()]
    names = read_classes(beside[0].read_bytes(), str(beside[0])) if beside else {}
    found = []
    for file in files:
        alone = file == path
        name = file.relative_to(base).as_posix()
        about = file.stat()
        split = None if alone else find_split(file.relative_to(base).parts)
        found.append(Container(
            str(file), "" if alone and is_tar(name) else name,
            f"{about.st_size}-{about.st_mtime_ns}", split, classes=tuple(names.items()),
        ))  # fmt: skip
    return found


def _images(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*")
            if is_visible(file.relative_to(folder).as_posix()) and is_candidate(file)
            and file.is_file())  # fmt: skip


def _find_parquet(path: Path) -> list[Path]:
    if path.is_dir():
        return find_shards(path)
    return [path] if is_parquet(path) and holds_images(path) else []


def find_remote_containers(address: str) -> list[Container]:
    """The same at an address, where braces stand for several archives."""
    files = expand_address(address)
    if all(is_shard(file_name(one)) for one in files):
        entries, alone = [list_files(one)[0][0] for one in files], len(files) == 1
    elif is_web(address) or not _looks_so(address):
        return []
    else:
        entries, alone = list_files(address)[0], False
        entries = [entry for entry in entries if is_visible(entry.name)]
        if any(is_candidate(Path(entry.name)) for entry in entries):
            return []
        entries.sort(key=lambda entry: natural_key(entry.name))
    shards = [one for one in entries if is_shard(one.name) and _holds_images(one.address)]
    names = read_classes_at(shards[0].address) if shards else {}
    return [
        Container(
            with_keys(one.address), "" if alone and is_tar(one.name) else one.name, one.state,
            None if alone else find_split(Path(one.name).parts), remote=True,
            classes=tuple(names.items()),
        )
        for one in shards
    ]  # fmt: skip


def is_shard(name: str) -> bool:
    """Whether the name may be that of such a file."""
    return is_tar(name) or name.lower().endswith(SUFFIX)


def _looks_so(address: str) -> bool:
    """Whether such files lie in a folder or in the first folders in it: asked before everything is
    listed, which for single images may be very many.
    """
    import pyarrow.fs as fs

    files, top = open_address(address)
    with told(address, CHECK):
        found = files.get_file_info(fs.FileSelector(top, allow_not_found=True))
        folders = [info.path for info in found if not info.is_file][:FOLDERS]
        inside = [
            info for folder in folders for info in files.get_file_info(fs.FileSelector(folder))
        ]
    return any(info.is_file and is_shard(info.base_name) for info in [*found, *inside])


def _holds_images(address: str) -> bool:
    if is_tar(file_name(address)):
        return True
    if is_web(address):  # which cannot be read here and there
        return False
    with told(address), open_file(address) as file:
        return holds_images(file, hide(address))
