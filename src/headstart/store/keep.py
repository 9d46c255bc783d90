"""Features in files -> the feature cache, from which train takes them when it is given photos."""

from dataclasses import dataclass

import numpy as np

from headstart.data.item import HASH_BYTES, list_first
from headstart.errors import DatasetError
from headstart.features.cache import open_space
from headstart.features.extract import KEEP, key_of_image
from headstart.features.extractor import open_extractor
from headstart.recipe import load_recipe
from headstart.store.file import File, read_facts, read_features, read_header
from headstart.store.store import Store, told
from headstart.system.progress import Progress

OTHERWISE = "Train on them as they are: headstart train"


@dataclass(frozen=True)
class Kept:
    """Vectors that were put into a space of the cache, and those that were there already."""

    space: str
    new: int
    there: int


def keep_features(store: Store, progress: Progress) -> Kept:
    """Put all vectors of the files into the cache, as if they had been computed here.

    Raises DatasetError where they are not what this computer would compute to the last digit: in
    16 bits, of another network, or by a processor or library that gives other numbers. CacheError.
    """
    header = store.header
    if header.dtype != "f32":
        raise DatasetError(
            f"expected features as they were computed, in f32, found {header.dtype} in "
            f"{store.folder}. {OTHERWISE} {store.folder}"
        )
    extractor = open_extractor(store.adopt(load_recipe("quick"), {}))
    store.check_extractor(extractor)
    canary = extractor.canary()
    other = [str(file) for file in store.files if not _has(file, canary)]
    if other:
        raise DatasetError(
            "expected the numbers that this processor and its libraries compute, found others in "
            f"{len(other):,} of {len(store.files):,} files: {list_first(other)}. {OTHERWISE} "
            f"{store.folder}"
        )
    space = open_space(extractor.fingerprint, extractor.description, canary, progress.warn)
    known, new, there = space.list_keys(), 0, 0
    for file in store.files:
        with told(file):
            rows = zip(read_facts(file), read_features(file, header.dimensions), strict=True)
            for facts, (_, numbers) in rows:
                keys = [key_of_image(bytes(key).ljust(HASH_BYTES, b"\0")) for key in facts.keys]
                wanted = [row for row, key in enumerate(keys) if key not in known]
                for start in range(0, len(wanted), KEEP):
                    some = wanted[start : start + KEEP]
                    space.put([keys[row] for row in some], numbers[some])
                known |= set(keys)
                new, there = new + len(wanted), there + len(keys) - len(wanted)
    return Kept(f"features/{extractor.fingerprint}", new, there)


def _has(file: File, canary: np.ndarray) -> bool:
    with told(file):
        header = read_header(file)
    return header is not None and np.array_equal(header.canary, canary)
