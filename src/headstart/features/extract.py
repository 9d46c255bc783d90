"""Dataset x views x extractor -> features, through the cache.

Images are read and decoded ahead in threads, inferred asynchronously and written to the cache by
a thread of its own, with a bounded number of images between each of them: memory stays flat
whatever the number of images, and the engine never waits for the disk.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from headstart.data.item import Item
from headstart.errors import BadImage, CacheError, StorageError
from headstart.features.cache import Space, open_space
from headstart.features.extractor import Extractor
from headstart.images.augment import NONE, Augmentation, make_view
from headstart.recipe import Recipe
from headstart.system.memory import allocate_in_file, release
from headstart.system.places import cache_folder
from headstart.system.progress import Progress, Silent
from headstart.system.threads import cores, map_ahead

T = TypeVar("T")

# Bytes of features: more lie in a mapped file; so many if there can be none.
IN_MEMORY, MOST_IN_MEMORY = 64 * 2**20, 400 * 2**20
# Written to the cache at a time, whichever is reached first: what a killed run can lose.
KEEP, KEEP_BYTES = 256, 16 * 2**20


@dataclass(frozen=True)
class Features:
    """What the extractor says of some images.

    values: (N, V, D) float32. items: the N images, in the order given, unusable ones left out.
    bad: those, each with its reason. hits, misses: vectors found in the cache and computed.
    """

    values: np.ndarray
    items: Sequence[Item]
    bad: tuple[tuple[Item, str], ...] = ()
    hits: int = 0
    misses: int = 0


@dataclass
class _Work:
    """One image with the views that the cache does not have."""

    index: int
    item: Item
    views: list[int] = field(default_factory=list)


def extract_features(
    items: Sequence[Item],
    extractor: Extractor,
    recipe: Recipe,
    progress: Progress | None = None,
    *,
    over: Callable[[], bool] = lambda: False,
) -> Features:
    """The features of training images as the recipe wants them, through the cache; see
    `extract`.
    """
    progress = progress or Silent()
    return extract(
        items, extractor, open_cache(extractor, progress), augmentation=recipe.augmentation,
        views=recipe.cached_views, seed=recipe.seed, progress=progress,
        over=over,
    )  # fmt: skip


def open_cache(extractor: Extractor, progress: Progress) -> Space | None:
    """The cache's space for this extractor; None, and the user is told, if there can be none."""
    try:
        return open_space(
            extractor.fingerprint, extractor.description, extractor.canary(), progress.warn
        )
    except CacheError as error:
        progress.warn(f"going on without the feature cache: {error}")
        return None


def extract(
    items: Sequence[Item],
    extractor: Extractor,
    space: Space | None = None,
    *,
    augmentation: Augmentation = NONE,
    views: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
    over: Callable[[], bool] = lambda: False,
) -> Features:
    """The features of `items`, `views` of each, taken from the cache or computed and kept there.

    View 0 is the image itself. An image that cannot be used is left out and listed in `bad`.
    over: the time is up; images not begun by then are left out without a word.
    """
    progress = progress or Silent()
    values = allocate((len(items), views, extractor.dimensions))
    keys = [_key(item, augmentation, seed, k) for item in items for k in range(views)]
    cached = np.zeros(len(keys), bool)
    if space is not None and keys:
        cached = space.get_into(keys, values.reshape(len(keys), -1))
    work = _list_missing(items, cached.reshape(-1, views))
    bad: dict[int, str] = {}
    missing = {one.index: len(one.views) for one in work}
    if work:
        progress.advance(int(cached.sum()))
        keeper, computed = _Keeper(space, progress), 0
        try:
            for index, k, vector in _compute(work, extractor, augmentation, seed, bad, over):
                values[index, k] = vector
                missing[index] -= 1
                keeper.add(keys[index * views + k], vector)
                progress.advance()
                computed += 1
                if computed % KEEP == 0:
                    release(values)
        finally:
            keeper.close()
    else:
        progress.advance(len(keys))
    release(values)
    left_out = {index for index, count in missing.items() if count}
    return Features(
        values=_drop_rows(values, left_out),
        items=tuple(item for index, item in enumerate(items) if index not in left_out),
        bad=tuple((items[index], reason) for index, reason in sorted(bad.items())),
        hits=int(cached.sum()),
        misses=sum(len(one.views) for one in work if one.index not in left_out),
    )


def stream(
    pairs: Iterable[tuple[T, Item]], extractor: Extractor, *, readers: int = 1
) -> Iterator[tuple[T, Item, np.ndarray | str]]:
    """Each image with its (D,) features, or with why it has none, in order and without end; it is
    read once, and nothing is kept. What stands before an image comes back with it. readers: threads
    that read and decode, at least; more than processors where reading is waiting.
    """
    order: deque[tuple[T, Item, str]] = deque()

    def decode(pair: tuple[T, Item]) -> tuple[T, Item, np.ndarray | str]:
        tag, item = pair
        item = item.bring()
        result = prepare(item, extractor)
        return tag, item.let_go(), result

    def images(pool: ThreadPoolExecutor) -> Iterator[np.ndarray]:
        for tag, item, result in map_ahead(pool, decode, pairs):
            order.append((tag, item, result if isinstance(result, str) else ""))
            if not isinstance(result, str):
                yield result

    with ThreadPoolExecutor(max(cores(), readers), "decode") as pool:
        for vector in extractor.run(images(pool)):
            while order[0][2]:
                yield order.popleft()
            tag, item, _ = order.popleft()
            yield tag, item, vector
        yield from order


def prepare(item: Item, extractor: Extractor) -> np.ndarray | str:
    """The network's input (H, W, 3) uint8, or why there is none."""
    try:
        return item.prepare(extractor.geometry)
    except BadImage as error:
        return error.reason
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _key(item: Item, augmentation: Augmentation, seed: int, k: int) -> bytes:
    """Image content and view; the extractor is the space. View 0 is the same for any recipe."""
    if k == 0:
        return key_of_image(item.content_hash)
    drawn = f"{augmentation} seed={seed} view={k}".encode()
    return item.content_hash + hashlib.blake2b(drawn, digest_size=8).digest()


def key_of_image(content: bytes) -> bytes:
    """Of the image itself, by its content."""
    return content + bytes(8)


def _list_missing(items: Sequence[Item], cached: np.ndarray) -> list[_Work]:
    rows = np.flatnonzero(~cached.all(axis=1))
    return [_Work(i, items[i], np.flatnonzero(~cached[i]).tolist()) for i in rows.tolist()]


def _compute(
    work: list[_Work], extractor: Extractor, augmentation: Augmentation, seed: int,
    bad: dict[int, str], over: Callable[[], bool],
) -> Iterator[tuple[int, int, np.ndarray]]:  # fmt: skip
    """Image index, view and (D,) vector of all that is missing; notes what is `bad`."""

    def decode(one: _Work) -> list[np.ndarray] | str:
        pixels = prepare(one.item, extractor)
        if isinstance(pixels, str):
            return pixels
        hashed = one.item.content_hash
        return [
            make_view(pixels, augmentation, seed=seed, image_hash=hashed, view=k) for k in one.views
        ]

    running: deque[tuple[int, int]] = deque()

    def images(pool: ThreadPoolExecutor) -> Iterator[np.ndarray]:
        for one, result in zip(work, map_ahead(pool, decode, work), strict=True):
            if over():
                return
            if isinstance(result, str):
                bad[one.index] = result
                continue
            for k, pixels in zip(one.views, result, strict=True):
                running.append((one.index, k))
                yield pixels

    with ThreadPoolExecutor(cores(), "decode") as pool:
        for vector in extractor.run(images(pool)):
            yield *running.popleft(), vector


def allocate(shape: tuple[int, int, int]) -> np.ndarray:
    """An empty (N, V, D) float32 array: in memory, or in a file without a name if it is large."""
    size = 4 * int(np.prod(shape, dtype=np.int64))
    if size <= IN_MEMORY:
        return np.empty(shape, np.float32)
    try:
        return allocate_in_file(cache_folder(), shape)
    except StorageError:
        if size <= MOST_IN_MEMORY:
            return np.empty(shape, np.float32)
        raise


class _Keeper:
    """Writes vectors to the cache in a thread, some at a time; gives up when the cache does."""

    def __init__(self, space: Space | None, progress: Progress) -> None:
        self.space, self.progress = space, progress
        self.keys: list[bytes] = []
        self.vectors: list[np.ndarray] = []
        self.writer = ThreadPoolExecutor(1, "keep")
        self.last: Future[None] | None = None

    def add(self, key: bytes, vector: np.ndarray) -> None:
        if self.space is None:
            return
        self.keys.append(key)
        self.vectors.append(vector)
        if len(self.keys) >= KEEP or len(self.keys) * vector.nbytes >= KEEP_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        if self.last is not None:
            self._settle(self.last)  # at most one batch waits: memory stays flat
        if self.space is not None and self.keys:
            self.last = self.writer.submit(self.space.put, self.keys, np.stack(self.vectors))
        self.keys, self.vectors = [], []

    def _settle(self, future: Future[None]) -> None:
        try:
            future.result()
        except CacheError as error:
            if self.space is not None:
                self.progress.warn(f"going on without keeping features: {error}")
            self.space = None

    def close(self) -> None:
        """Whatever stopped the work, what has been computed is kept."""
        self._hand_over()
        if self.last is not None:
            self._settle(self.last)
        self.writer.shutdown()


def _drop_rows(values: np.ndarray, left_out: set[int]) -> np.ndarray:
    """The other rows, moved together in place: no second copy of the features."""
    if not left_out:
        return values
    count = 0
    for index in range(len(values)):
        if index not in left_out:
            if count != index:
                values[count] = values[index]
            count += 1
            if count % KEEP == 0:
                release(values)
    return values[:count]
