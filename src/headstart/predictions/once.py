"""Each content is computed once while it is remembered; answers come in the order of the images."""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np

from headstart.classifier import Prediction
from headstart.data.item import Item
from headstart.data.remote import Remote
from headstart.errors import StorageError
from headstart.predictions.frames import Frame
from headstart.system.text import escape
from headstart.system.threads import map_ahead

Ask = Callable[[Iterable[Item]], Iterator[Prediction]]

REMEMBERED = 512  # contents whose answers are kept
MOST_WAITING = 4096  # rows whose answers are known or under way and not yet given
AHEAD, READERS = 8, 4  # files or frames read before they are decoded; threads that read them
AFAR = 32, 16  # the same of images on a network, where each is waited for


@dataclass
class _Answer:
    prediction: Prediction | None = None


def predict_once(ask: Ask, items: Iterable[Item]) -> Iterator[tuple[Item, Prediction]]:
    """Each item with its prediction, in order; equal files among the last ones are asked once.

    ask: a classifier's `stream`. Memory stays flat whatever is repeated: when too many rows wait
    for an answer under way, files are asked of again, which gives the same numbers.
    Raises StorageError where an image cannot be reached, after all before it.
    """
    known: OrderedDict[bytes, _Answer] = OrderedDict()
    waiting: deque[tuple[Item, _Answer]] = deque()
    asked: deque[_Answer] = deque()
    failed: list[StorageError] = []

    def new(pool: ThreadPoolExecutor) -> Iterator[Item]:
        try:
            for item, content in map_ahead(pool, _read, items, ahead):
                answer = known.get(content) if content else None
                if content and answer and len(waiting) < MOST_WAITING:
                    known.move_to_end(content)
                    waiting.append((item, answer))
                    continue
                answer = _Answer()
                if content is not None:
                    known[content] = answer
                    if len(known) > REMEMBERED:
                        known.popitem(last=False)
                waiting.append((item, answer))
                asked.append(answer)
                yield item
        except StorageError as error:  # what was read before is answered first
            failed.append(error)

    def give() -> Iterator[tuple[Item, Prediction]]:
        while waiting and (found := waiting[0][1].prediction) is not None:
            item, _ = waiting.popleft()
            yield item, found if found.name == item.name else replace(found, name=item.name)

    first = list(islice(items := iter(items), 1))
    items = chain(first, items)
    ahead, readers = AFAR if any(isinstance(item, Remote) for item in first) else (AHEAD, READERS)
    with ThreadPoolExecutor(readers) as pool:
        for prediction in ask(new(pool)):
            asked.popleft().prediction = prediction
            yield from give()
        yield from give()
    if failed:
        raise failed[0]


def _read(item: Item) -> tuple[Item, bytes | None]:
    """The image, brought here if it was elsewhere, and what stands for its content."""
    item = item.bring()
    return item, None if isinstance(item, Frame) else item.content_hash


class Done:
    """Names of images that have their row: each stands for as many images as it has rows.

    Twelve bytes a name, whatever its length (a hash of 64 bits: among a million names two are
    alike in one case of 40 million).
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        keys = np.fromiter(map(hash_name, names), np.uint64)
        self.keys, counts = np.unique(keys, return_counts=True)
        self.left = counts.astype(np.uint32)

    def take(self, name: str) -> bool:
        """Whether one more image of that name is done."""
        place = int(np.searchsorted(self.keys, key := np.uint64(hash_name(name))))
        if place == len(self.keys) or self.keys[place] != key or not self.left[place]:
            return False
        self.left[place] -= 1
        return True


def hash_name(name: str) -> int:
    """64 bits that stand for a name as it is written."""
    written = escape(name).encode()
    return int.from_bytes(hashlib.blake2b(written, digest_size=8).digest())
