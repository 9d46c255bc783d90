"""Features through the cache, with the fake engine: what is computed, kept, and set aside."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.item import Item
from headstart.errors import CacheError, DatasetError, StorageError
from headstart.features import extract as module
from headstart.features.engine import FakeEngine
from headstart.features.extract import Features, extract, open_cache
from headstart.features.extractor import Extractor
from headstart.features.views import FreshViews
from headstart.heads.epochs import CachedViews
from headstart.images.augment import FLIP, LESSON
from headstart.images.geometry import Geometry
from headstart.system.progress import Recorder

SIZE = 16


@pytest.fixture
def extractor() -> Extractor:
    return Extractor(FakeEngine(), Geometry(SIZE, SIZE), {"mean": slice(0, 3)}, "fake0", {"a": 1})


def engine_of(extractor: Extractor) -> FakeEngine:
    assert isinstance(extractor.engine, FakeEngine)
    return extractor.engine


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Six images, each of one colour: red 0, 40, 80, ..., green 10, blue 20."""
    rows = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (SIZE, SIZE), (40 * number, 10, 20)).save(path)
        rows.append(Item(path, path.name, ("a",), "train"))
    return rows


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def through(
    cache: Path, extractor: Extractor, items: list[Item], **options: object
) -> tuple[Features, Recorder]:
    progress = Recorder()
    space = open_cache(extractor, progress)
    return extract(items, extractor, space, progress=progress, **options), progress  # type: ignore[arg-type]


def test_values_by_hand(extractor: Extractor, items: list[Item]) -> None:
    features = extract(items, extractor)
    assert features.values.shape == (6, 1, 3)
    assert features.values[2, 0] == pytest.approx(np.array([80, 10, 20]) / 255)
    assert (features.hits, features.misses) == (0, 6)


def test_what_is_kept_is_not_computed_again(
    cache: Path, extractor: Extractor, items: list[Item]
) -> None:
    first, _ = through(cache, extractor, items[:4])
    seen = engine_of(extractor).seen
    second, _ = through(cache, extractor, items)
    assert engine_of(extractor).seen == seen + 1 + 2  # the canary and two new images
    assert (second.hits, second.misses) == (4, 2)
    assert np.array_equal(second.values[:4], first.values)


def test_a_renamed_image_is_known_and_an_altered_one_is_not(
    cache: Path, extractor: Extractor, items: list[Item]
) -> None:
    through(cache, extractor, items)
    renamed = items[0].path.rename(items[0].path.with_name("renamed.png"))
    Image.new("RGB", (SIZE, SIZE), (1, 2, 3)).save(items[1].path)
    again = [Item(renamed, "renamed.png"), Item(items[1].path, "1.png")]
    features, _ = through(cache, extractor, again)
    assert (features.hits, features.misses) == (1, 1)
    assert features.values[1, 0] == pytest.approx(np.array([1, 2, 3]) / 255)


def test_a_file_that_changed_since_it_was_hashed_is_left_out_and_spoils_no_cache(
    extractor: Extractor, items: list[Item], cache: Path
) -> None:
    hashes = [item.content_hash for item in items]
    original = items[1].path.read_bytes()
    items[1].path.write_bytes(items[4].path.read_bytes())
    features, _ = through(cache, extractor, items)
    assert features.bad == ((items[1], "has changed since it was first read"),)
    assert [item.name for item in features.items] == [f"{n}.png" for n in (0, 2, 3, 4, 5)]
    items[1].path.write_bytes(original)
    features, _ = through(cache, extractor, items)
    assert features.hits == 5
    assert features.values[1, 0] * 255 == pytest.approx([40, 10, 20])
    assert [item.content_hash for item in features.items] == hashes


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_odd_files_among_the_images_are_left_out_with_their_reason(
    extractor: Extractor, items: list[Item], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.data.item.MOST_FILE", 2**20)
    folder = items[0].path.parent
    os.mkfifo(folder / "pipe.jpg")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    (folder / "huge.jpg").write_bytes(b"\xff\xd8\xff" + bytes(2**20))
    odd = [Item(folder / f"{name}.jpg", name, ("a",)) for name in ("pipe", "endless", "huge")]
    features, _ = through(cache, extractor, [*items, *odd])
    assert features.items == tuple(items)
    assert [reason for _, reason in features.bad] == [
        "cannot be read: not a regular file but a named pipe",
        "cannot be read: not a regular file but a device",
        "cannot be read: larger than 1 MB",
    ]


def test_a_photo_that_vanishes_between_epochs_stops_the_training_by_name(
    extractor: Extractor, items: list[Item]
) -> None:
    fresh = FreshViews(items, extractor, LESSON, seed=0, batch_size=2)
    order = np.arange(len(items))
    assert sum(len(batch) for batch in fresh(0, order)) == len(items)
    items[3].path.unlink()
    with pytest.raises(DatasetError, match=r"found 3.png: .*No such file.*--resume RUN"):
        list(fresh(1, order))


def test_views_are_kept_by_augmentation_and_seed(
    cache: Path, extractor: Extractor, items: list[Item]
) -> None:
    def misses(**options: object) -> int:
        return through(cache, extractor, items, **options)[0].misses

    assert misses(augmentation=FLIP, views=2) == 12
    assert misses(augmentation=FLIP, views=2) == 0
    assert misses(augmentation=LESSON, views=2) == 6  # view 0 is the image itself
    assert misses(augmentation=LESSON, views=2, seed=1) == 6
    assert misses(augmentation=LESSON, views=3) == 6
    assert misses() == 0


def test_when_the_time_is_up_what_is_there_is_given(
    cache: Path, extractor: Extractor, items: list[Item]
) -> None:
    asked = []

    def over() -> bool:
        asked.append(1)
        return len(asked) > 4

    features, _ = through(cache, extractor, items, over=over)
    assert features.items == tuple(items[:4])
    assert (features.values.shape, features.misses, features.bad) == ((4, 1, 3), 4, ())
    rest, _ = through(cache, extractor, items)
    assert (rest.hits, rest.misses) == (4, 2)


def test_bad_images_are_left_out_with_their_reason(
    cache: Path, extractor: Extractor, items: list[Item]
) -> None:
    items[1].path.write_bytes(b"")
    items[4].path.unlink()
    again = [Item(item.path, item.name) for item in items]
    features, _ = through(cache, extractor, again)
    assert [item.name for item in features.items] == ["0.png", "2.png", "3.png", "5.png"]
    assert features.values[:, 0, 0] == pytest.approx(np.array([0, 80, 120, 200]) / 255)
    assert features.bad[0][1] == "empty file"
    assert features.bad[1][1].startswith("cannot be read: No such file")
    assert features.misses == 4


def test_other_numbers_from_the_same_extractor_lie_beside_the_old_ones(
    cache: Path, extractor: Extractor, items: list[Item]
) -> None:
    through(cache, extractor, items)

    class Other(FakeEngine):
        def run(self, images):  # type: ignore[no-untyped-def]
            for features in super().run(images):
                yield features + np.float32(1e-3)

    extracted, progress = through(cache, replace(extractor, engine=Other()), items)
    assert (extracted.hits, extracted.misses) == (0, 6)
    assert extracted.values[0, 0, 1] == pytest.approx(10 / 255 + 1e-3)
    (warning,) = progress.warnings
    assert "this processor or library gives other numbers" in warning
    assert through(cache, extractor, items)[0].hits == 6


def test_a_full_disk_costs_the_cache_but_not_the_run(
    cache: Path, extractor: Extractor, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Recorder()
    space = open_cache(extractor, progress)
    assert space is not None

    def full(*_: object) -> None:
        raise CacheError("no space left")

    monkeypatch.setattr(space, "put", full)
    features = extract(items, extractor, space, progress=progress)
    assert features.misses == 6
    assert progress.warnings == ["going on without keeping features: no space left"]


def test_large_features_live_in_a_file(
    cache: Path, extractor: Extractor, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, _ = through(cache, extractor, items)
    monkeypatch.setattr(module, "IN_MEMORY", 10)
    large, _ = through(cache, extractor, items)
    assert isinstance(large.values, np.memmap)
    assert np.array_equal(large.values, small.values)

    def full(*_: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(module, "allocate_in_file", full)
    fallen_back, _ = through(cache, extractor, items)
    assert np.array_equal(fallen_back.values, small.values)
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 10)
    with pytest.raises(StorageError, match="no space left"):
        through(cache, extractor, items)


def test_an_error_in_the_middle_keeps_what_was_computed(
    cache: Path, extractor: Extractor, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaks(FakeEngine):
        def run(self, images):  # type: ignore[no-untyped-def]
            for number, features in enumerate(super().run(images)):
                if number == 3:
                    raise KeyboardInterrupt
                yield features

    with pytest.raises(KeyboardInterrupt):
        through(cache, replace(extractor, engine=Breaks()), items)
    extracted, _ = through(cache, extractor, items)
    assert extracted.hits == 3


def test_cached_views_are_used_in_turn() -> None:
    values = np.arange(2 * 3, dtype="f4").reshape(2, 3, 1)  # image i, view v: 3 i + v
    batches = CachedViews(values, 2)
    order = np.array([1, 0])
    assert [next(batches(epoch, order))[:, 0].tolist() for epoch in range(3)] == [
        [4, 0], [5, 1], [3, 2],
    ]  # fmt: skip


def test_fresh_views_depend_on_the_epoch_alone(extractor: Extractor, items: list[Item]) -> None:
    for number, item in enumerate(items):
        pixels = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(item.path)
    again = [Item(item.path, item.name) for item in items]
    fresh = FreshViews(again, extractor, LESSON, 0, 4)
    order = np.array([5, 3, 1, 0, 2, 4])
    first = list(fresh(0, order))
    assert [len(batch) for batch in first] == [4, 2]
    assert all(np.array_equal(a, b) for a, b in zip(first, fresh(0, order), strict=True))
    backwards = np.concatenate(list(fresh(0, order[::-1])))
    assert np.array_equal(backwards[::-1], np.concatenate(first))
    assert not np.array_equal(np.concatenate(list(fresh(1, order))), np.concatenate(first))


def test_leaving_fresh_views_early_ends_their_thread(
    extractor: Extractor, items: list[Item]
) -> None:
    import threading

    batches = FreshViews(items * 20, extractor, FLIP, 0, 2)(0, np.arange(120))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "fresh views"]
