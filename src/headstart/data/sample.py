"""A sample of the training images of a source without end, drawn as they stream by."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from headstart.data.item import Held, Item, change_item, content_hash
from headstart.data.remote import Remote
from headstart.system.threads import map_ahead

MOST = 2000  # images of a sample
READERS = 16  # threads that bring images here


@dataclass(frozen=True)
class Sample:
    """items: the images, all of them on this computer. divided: whether the source says itself
    which images are for validation.
    """

    items: tuple[Item, ...]
    divided: bool


def draw_sample(items: Iterable[Item], most: int, folder: Path) -> Sample:
    """At most `most` of the images that are not for validation or test, as many of each class as
    there are, or as fit: those with the smallest hashes of their names, so neither the order of
    the source nor its other images matter.

    folder: where those that are elsewhere are brought. Memory does not grow with the source.
    """
    drawn: dict[str, list[tuple[int, int, Item]]] = defaultdict(list)
    divided = False
    for number, item in enumerate(items):
        if item.split not in (None, "train"):
            divided |= item.split == "validation"
            continue
        heap, rank = drawn[item.labels[0] if item.labels else ""], -_hash(item.name)
        if len(heap) < most // len(drawn) or not heap or rank > heap[0][0]:
            heapq.heappush(heap, (rank, number, _put(item, folder / str(number))))
        _shrink(heap, max(most // len(drawn), 1), folder)
    for heap in drawn.values():
        _shrink(heap, max(most // len(drawn), 1), folder)
    ranked = sorted((-rank, number, item) for heap in drawn.values() for rank, number, item in heap)
    chosen = [(number, item) for _, number, item in ranked[:most]]
    with ThreadPoolExecutor(READERS, "bring") as pool:
        here = tuple(_bring_all(pool, chosen, folder))
    return Sample(tuple(change_item(i, split="train") for i in here) if divided else here, divided)


def _shrink(heap: list[tuple[int, int, Item]], most: int, folder: Path) -> None:
    while len(heap) > most:
        _, _, item = heapq.heappop(heap)
        if item.path.parent == folder:
            item.path.unlink()


def _bring_all(
    pool: ThreadPoolExecutor, chosen: list[tuple[int, Item]], folder: Path
) -> Iterator[Item]:
    def bring(numbered: tuple[int, Item]) -> Item:
        number, item = numbered
        return _put(item.bring(), folder / str(number)) if isinstance(item, Remote) else item

    yield from map_ahead(pool, bring, chosen)


def _put(item: Item, place: Path) -> Item:
    """The image, in a file of its own where its bytes are only at hand."""
    if not isinstance(item, Held) or item.data is None:
        return item
    place.write_bytes(item.data)
    return Item(place, item.name, item.labels, item.split, item.group)


def _hash(name: str) -> int:
    return int.from_bytes(content_hash(name.encode("utf-8", "surrogatepass"))[:8])
