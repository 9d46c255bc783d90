"""An image file with its label, split and group, and how names of it are sorted and told."""

import errno
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from headstart.errors import BadImage
from headstart.images.geometry import Geometry, prepare
from headstart.images.size import MOST_FILE
from headstart.system.files import digest_regular, read_regular
from headstart.system.text import escape

HASH_BYTES = 16


def content_hash(data: bytes) -> bytes:
    """16 bytes that stand for an image's content (BLAKE2b)."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


@dataclass(frozen=True)
class Item:
    """One image file. name: what users see. labels: the classes it is in, in natural order; none
    where they are not known. split, group: None where there is none.

    Images of one group (a patient, a camera, a burst) are never on both sides of a split or fold.
    """

    path: Path
    name: str
    labels: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    hold: Any = field(default=None, repr=False, compare=False)  # keeps an unpacked archive there

    @property
    def label(self) -> str:
        """The classes as one text, as tables write them ("a;b")."""
        return ";".join(self.labels)

    @property
    def file_name(self) -> str:
        """What its file is called."""
        return self.path.name

    def read(self) -> bytes:
        """The file's bytes. Raises OSError; also for what is no regular file, or one too large."""
        return read_regular(self.path, MOST_FILE)

    def bring(self) -> "Item":
        """The same image with its bytes, where these are not on this computer; else itself."""
        return self

    def let_go(self) -> "Item":
        """The same image without the bytes that it may hold; what is known of them stays known."""
        return self

    def prepare(self, geometry: Geometry) -> np.ndarray:
        """The network's input (height, width, 3) uint8. Raises BadImage, OSError.

        The bytes that are decoded are those that `content_hash` stands for: a file that has
        changed since that was asked for is no usable image any more.
        """
        data = self.read()
        read = content_hash(data)
        if self.__dict__.setdefault("content_hash", read) != read:
            raise BadImage("has changed since it was first read")
        return prepare(data, geometry)

    @cached_property
    def content_hash(self) -> bytes:
        """16 bytes of the content; of the name where the file cannot be read."""
        digest = hashlib.blake2b(digest_size=HASH_BYTES)
        try:
            digest_regular(self.path, MOST_FILE, digest.update)
        except OSError:
            return content_hash(b"unreadable " + str(self.path).encode("utf-8", "replace"))
        return digest.digest()


@dataclass(frozen=True)
class Held(Item):
    """An image whose bytes are at hand: `path` is no place. data: None for one that cannot be had;
    `missing` says why.
    """

    data: bytes | None = field(default=None, repr=False, kw_only=True)
    missing: str = field(default="no such image", kw_only=True)

    @property
    def file_name(self) -> str:
        """The end of its name."""
        return PurePosixPath(self.name).name

    def read(self) -> bytes:
        """The bytes. Raises OSError where there are none."""
        if self.data is None:
            raise OSError(errno.ENOENT, self.missing)
        return self.data

    @cached_property
    def content_hash(self) -> bytes:
        """16 bytes of the content; of the name where there is none."""
        return content_hash(self.data or b"unreadable " + self.name.encode("utf-8", "replace"))

    def let_go(self) -> Item:
        """The same image without its bytes."""
        known = Item(self.path, self.name, self.labels, self.split, self.group, self.hold)
        known.__dict__["content_hash"] = self.content_hash
        return known


def change_item(item: Item, **changes: Any) -> Item:
    """The same file with another name, split or group; it is not read, or not again."""
    result = replace(item, **changes)
    if "content_hash" in item.__dict__:  # it has been read
        result.__dict__["content_hash"] = item.content_hash
    return result


def with_content(item: Item, key: bytes) -> Item:
    """The item, whose content is known without reading it."""
    item.__dict__["content_hash"] = key
    return item


def to_printable(name: str) -> str:
    """A file's name as text that can be written and shown anywhere: bytes that are not UTF-8 and
    letters that a terminal obeys are escaped.
    """
    return escape(name)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key by which "2" comes before "10"."""
    parts, digits = [], ""
    for character in [*name, ""]:
        if character.isascii() and character.isdigit():
            digits += character
            continue
        if digits:
            parts.append((0, int(digits), digits))
            digits = ""
        if character:
            parts.append((1, 0, character.casefold()))
    return (*parts, (2, 0, name))


def list_first(names: Sequence[str], most: int = 5) -> str:
    """The first of the names, for a message: as they can be shown and written."""
    return ", ".join(map(to_printable, names[:most])) + (", ..." if len(names) > most else "")


def to_class_name(text: str) -> str:
    """A class's name as it is written everywhere: printable, accents composed (NFC)."""
    return unicodedata.normalize("NFC", to_printable(text))
