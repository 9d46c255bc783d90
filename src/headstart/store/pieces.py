"""The images of a source in pieces of some thousand, each of which makes one file.

A piece ends where the name of an image says so, whatever stands before, so an image more or less
changes one piece and no other. Its digest is of what is known of its images without reading them
(name, labels, split, group, size and time): it stands in the file's name, and that the file is
there says that the piece is done.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headstart.data.item import Held, Item
from headstart.data.remote import Remote
from headstart.data.shards import Container
from headstart.errors import RecipeError

ROWS = 2000  # of a file, about: what a killed job can lose for each worker
MOST_HELD = 64 * 2**20  # bytes of images that come with their bytes, as those of archives do
NAME = re.compile(r"(\d+)-of-(\d+)-(\d+)-([0-9a-f]{16})\.parquet")
STALE = "_stale-"  # before the name of a file whose images have changed or are gone: tools that
# read a folder pass over what begins so


@dataclass(frozen=True)
class Shard:
    """The images number K of N; 1 of 1 are all."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Of "3/64". Raises RecipeError for anything else."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise RecipeError(
                f"expected --shard as 3/64, the third of 64, found {text!r}. Type: --shard 1/64"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"

    def holds(self, name: str) -> bool:
        """Whether an image of that name is one of its own."""
        return self.of == 1 or _hash(name) % self.of == self.number - 1


@dataclass(frozen=True)
class Piece:
    """Some images of a shard. number: counts from 1, in the order of the source. size: how many
    they are, 0 where that is not known before. items: the images; none where they are in a
    container, or only the piece is spoken of.
    """

    number: int
    digest: str
    size: int
    items: tuple[Item, ...] = ()
    container: Container | None = None

    def stream(self, groups: str | None) -> Iterable[Item]:
        """Its images, those of a container read from it as they are asked for."""
        return self.items if self.container is None else self.container.stream(groups)

    def name(self, shard: Shard) -> str:
        """Of its file."""
        return f"{shard}-{self.number:05}-{self.digest}.parquet"


def cut(items: Iterable[Item], shard: Shard, rows: int = ROWS) -> Iterator[Piece]:
    """The pieces of a shard, in the order of the images, one at a time; no image is read."""
    own = (item for item in items if shard.holds(item.name))
    before: Counter[str] = Counter()
    for number, some in enumerate(_batch(own, rows), 1):
        digest = _digest(some)
        before[digest] += 1
        if (times := before[digest]) > 1:  # a list may name the same images again
            digest = hashlib.blake2b(f"{digest} {times}".encode(), digest_size=8).hexdigest()
        yield Piece(number, digest, len(some), tuple(some))


def cut_containers(containers: Iterable[Container], shard: Shard) -> Iterator[Piece]:
    """The same of files of many images, each a piece of its own, whatever is in it."""
    for number, one in enumerate(containers, 1):
        if shard.holds(one.name):
            facts = repr((one.name, one.state, one.split, one.classes))
            digest = hashlib.blake2b(facts.encode("utf-8", "surrogatepass"), digest_size=8)
            yield Piece(number, digest.hexdigest(), 0, container=one)


def _batch(items: Iterable[Item], rows: int) -> Iterator[list[Item]]:
    """From half of `rows` to twice as many at a time."""
    few = max(rows // 2, 1)
    some: list[Item] = []
    held = 0
    for item in items:
        some.append(item)
        held += len(item.data or b"") if isinstance(item, Held) else 0
        ends = len(some) >= few and _hash(item.name) // 2**32 % few == 0
        if ends or len(some) >= 2 * rows or held >= MOST_HELD:
            yield some
            some, held = [], 0
    if some:
        yield some


def _digest(items: Iterable[Item]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        facts = (item.name, item.labels, item.split, item.group, _state(item))
        digest.update(repr(facts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _state(item: Item) -> str:
    """What tells without reading it whether an image has changed, as far as that can be known."""
    if isinstance(item, Remote):
        return item.state
    if isinstance(item, Held):
        return item.content_hash.hex()
    try:
        about = item.path.stat()
    except OSError:
        return "gone"
    return f"{about.st_size}-{about.st_mtime_ns}"


def _hash(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
