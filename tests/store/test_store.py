"""Features as files: made by jobs that are stopped, divided and repeated; trained on alone."""

import io
import os
import shutil
import tarfile
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.data.given import settle
from headstart.data.item import Item
from headstart.errors import DatasetError, HeadstartError, RecipeError
from headstart.features.engine import FakeEngine
from headstart.features.extractor import Extractor
from headstart.images.geometry import Geometry
from headstart.store import job, pieces
from headstart.store.file import File, Header, read_features, read_header
from headstart.store.folder import Folder
from headstart.store.job import Done, write_features
from headstart.store.keep import keep_features
from headstart.store.pieces import Shard
from headstart.store.store import Store, find_store
from headstart.system.lock import held_alone
from headstart.system.progress import Silent

pq = pytest.importorskip("pyarrow.parquet")
EARLY = {"cut": "block2b_add", "size": 64, "precision": "f32"}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """In the place of the network: mean colours; files of ten images each."""
    engine = FakeEngine()
    about = {"backbone": "colours", "cuts": ["mean"], "precision": "f32"}
    geometry = Geometry(8, 8, "squash", "antialias")
    fake = Extractor(engine, geometry, {}, "colours", about)
    monkeypatch.setattr(Extractor, "dimensions", 3)
    monkeypatch.setattr(job, "open_extractor", lambda recipe: fake)
    monkeypatch.setattr(job, "ROWS", 10)
    return engine


@pytest.fixture
def photos(tiny: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(tiny, tmp_path / "photos"))


def make(photos: Path, to: Path, **options: object) -> Done:
    return write_features(photos, to, cache=False, progress=False, **options)  # type: ignore[arg-type]


def file(path: Path) -> File:
    return File(Folder(path.parent), path.name)


def rows(folder: Path) -> dict[str, np.ndarray]:
    return {
        name: row
        for path in sorted(folder.rglob("[!_]*.parquet"))
        for names, values in read_features(file(path), 3)
        for name, row in zip(names, values, strict=True)
    }


def open_store(folder: Path) -> Store:
    store = find_store(settle(folder))
    assert store is not None
    return store


# --- files --------------------------------------------------------------------------------
def test_any_tool_reads_the_files(photos: Path, tmp_path: Path, engine: FakeEngine) -> None:
    done = make(photos, tmp_path / "f")
    assert (done.images, done.computed, done.bad) == (48, 48, ())
    assert 3 <= done.files == len(list((tmp_path / "f").glob("*.parquet"))) <= 10
    table = pq.read_table(tmp_path / "f")
    assert len(table) == 48
    assert table.column_names == ["key", "name", "labels", "split", "group", "features"]
    row = table.to_pylist()[0]
    assert row["labels"] == ["blue"]
    assert len(row["key"]) == 16
    assert row["features"][2] > 0.7 > 0.3 > row["features"][0]  # blue


def test_files_tell_what_their_numbers_are(
    photos: Path, tmp_path: Path, engine: FakeEngine
) -> None:
    make(photos, tmp_path / "f")
    (path, *_) = sorted((tmp_path / "f").glob("*.parquet"))
    header = read_header(file(path))
    assert header is not None
    assert header.extractor == "colours"
    assert header.recipe["backbone"] == "efficientnet_lite0"
    assert header.dimensions == 3
    items = open_store(tmp_path / "f").read_dataset(headstart.Recipe()).items
    assert all(item.path.is_file() for item in items)
    fresh = {item.name: item for item in headstart_items(photos)}
    assert all(item.content_hash == fresh[item.name].content_hash for item in items)
    assert all(item.labels == fresh[item.name].labels for item in items)


def headstart_items(photos: Path) -> list:  # type: ignore[type-arg]
    from headstart.data.dataset import list_items

    return list_items(photos)


def test_half_the_bits_are_near(photos: Path, tmp_path: Path, engine: FakeEngine) -> None:
    make(photos, tmp_path / "f")
    make(photos, tmp_path / "half", dtype="f16")
    whole, half = rows(tmp_path / "f"), rows(tmp_path / "half")
    assert half["blue/1.jpg" if "blue/1.jpg" in half else next(iter(half))].dtype == np.float16
    assert max(np.abs(whole[name] - half[name]).max() for name in whole) < 1e-3


# --- jobs ---------------------------------------------------------------------------------
def test_a_job_goes_on_where_it_was_stopped(
    photos: Path, tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(photos, tmp_path / "whole")
    write, written = Folder.write, 0

    def write_two(*arguments: object) -> None:
        nonlocal written
        if written == 2:
            raise KeyboardInterrupt
        written += 1
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Folder, "write", write_two)
    with pytest.raises(KeyboardInterrupt):
        make(photos, tmp_path / "f")
    monkeypatch.setattr(Folder, "write", write)
    there = len(rows(tmp_path / "f"))
    assert 10 <= there < 40
    done = make(photos, tmp_path / "f")
    assert (done.images, done.computed) == (48, 48 - there)
    names = [n for p in (tmp_path / "f").glob("*.parquet") for n, _ in read_features(file(p), 3)]
    assert sorted(chain.from_iterable(names)) == sorted(rows(tmp_path / "whole"))  # each once
    before = engine.seen
    assert make(photos, tmp_path / "f").computed == 0
    assert engine.seen == before + 1  # the fixed image


def test_damage_is_made_again(photos: Path, tmp_path: Path, engine: FakeEngine) -> None:
    make(photos, tmp_path / "f")
    whole = rows(tmp_path / "f")
    first, second, *_ = sorted((tmp_path / "f").glob("*.parquet"))
    lost = sum(pq.read_metadata(path).num_rows for path in (first, second))
    content = bytearray(first.read_bytes())
    content[content.find(np.float32(next(iter(whole.values()))[0]).tobytes())] ^= 1
    first.write_bytes(content)  # a digit of a feature
    second.write_bytes(second.read_bytes()[:-100])
    assert make(photos, tmp_path / "f").computed == lost
    again = rows(tmp_path / "f")
    assert whole.keys() == again.keys()
    assert all((whole[name] == again[name]).all() for name in whole)


def test_shards_are_disjoint_and_together_all(
    photos: Path, tmp_path: Path, engine: FakeEngine
) -> None:
    counts = [make(photos, tmp_path / "f", shard=f"{k}/3").computed for k in (1, 2, 3)]
    assert sum(counts) == 48
    assert min(counts) > 5
    make(photos, tmp_path / "whole")
    whole, parts = rows(tmp_path / "whole"), rows(tmp_path / "f")
    assert whole.keys() == parts.keys()
    with pytest.raises(DatasetError, match=r"files of 2 shards .* one of 3\. Type: --shard K/3"):
        make(photos, tmp_path / "f", shard="1/2")


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0"])
def test_what_no_shard_is(text: str) -> None:
    with pytest.raises(RecipeError, match="expected --shard as 3/64"):
        Shard.parse(text)


def test_one_process_a_shard(photos: Path, tmp_path: Path, engine: FakeEngine) -> None:
    (tmp_path / "f").mkdir()
    (lock := tmp_path / "f" / ".1-of-1.lock").touch()
    with held_alone(lock), pytest.raises(DatasetError, match="another process at it"):
        make(photos, tmp_path / "f")


def test_images_that_cannot_be_used_are_listed(
    photos: Path, tmp_path: Path, engine: FakeEngine
) -> None:
    (photos / "red" / "broken.jpg").write_bytes(b"no image")
    done = make(photos, tmp_path / "f")
    assert done.images == 48
    assert [name for name, _ in done.bad] == ["red/broken.jpg"]
    assert "red/broken.jpg" in Path(done.table).read_text()
    again = make(photos, tmp_path / "f")
    assert (again.computed, again.bad) == (0, done.bad)


def test_what_has_changed_is_made_again(photos: Path, tmp_path: Path, engine: FakeEngine) -> None:
    make(photos, tmp_path / "f")
    changed, moved, *_ = sorted((photos / "red").iterdir())
    before = changed.read_bytes(), changed.stat()
    shutil.copy(next((photos / "blue").iterdir()), changed)
    moved.rename(tmp_path / "moved")
    done = make(photos, tmp_path / "f")
    assert (done.images, done.stale in (1, 2)) == (47, True)
    assert 2 <= done.computed < 40
    assert make(photos, tmp_path / "f").stale == 0  # told once
    store = open_store(tmp_path / "f")
    items = store.read_dataset(headstart.Recipe()).items
    assert len(items) == 47
    place = [item.name for item in items].index(f"red/{changed.name}")
    part = store.read({"one": items[place : place + 1]}, job.choose_progress(False))["one"]
    (row,) = part.values[:, 0]
    assert row[2] > row[0]  # blue now
    changed.write_bytes(before[0])  # and back again: what had been set aside is taken up
    os.utime(changed, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))
    (tmp_path / "moved").rename(moved)
    done = make(photos, tmp_path / "f")
    assert (done.images, done.computed) == (48, 0)
    assert len(rows(tmp_path / "f")) == 48


def test_one_image_more_changes_one_piece() -> None:
    names = [f"{number}.jpg" for number in range(2000)]

    def digests(names: list[str]) -> list[str]:
        items = [Item(Path(name), name) for name in names]
        return [pieces._digest(some) for some in pieces._batch(items, 100)]

    before, after = digests(names), digests(["more.jpg", *names[:900], "other.jpg", *names[900:]])
    assert 10 < len(before) < 40
    assert len(set(after) - set(before)) <= 4


def test_other_features_are_kept_apart(
    photos: Path, tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(photos, tmp_path / "f")
    with pytest.raises(DatasetError, match="kept in f16, colours"):
        make(photos, tmp_path / "f", dtype="f16")
    monkeypatch.setattr(Extractor, "canary", lambda self: np.array([0.5, 0.5, 0.6], "f4"))
    with pytest.raises(DatasetError, match="this processor or library gives others"):
        make(photos, tmp_path / "f")


def test_too_large_for_sixteen_bits(
    photos: Path, tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda images: (1e6 * row for row in run(images)))
    with pytest.raises(RecipeError, match=r"at most 65,504 for f16, .* --dtype f32"):
        make(photos, tmp_path / "f", dtype="f16")


# --- folders of files ---------------------------------------------------------------------
def test_several_folders_are_one(photos: Path, tmp_path: Path, engine: FakeEngine) -> None:
    make(photos, tmp_path / "all" / "monday")
    shutil.move(photos / "red", photos / "green")
    make(photos, tmp_path / "all" / "tuesday")
    dataset = open_store(tmp_path / "all").read_dataset(headstart.Recipe())
    assert dataset.classes == ("blue", "green", "red")
    assert len(dataset.items) == 96
    assert {item.name.split("/")[0] for item in dataset.items} == {"monday", "tuesday"}


def test_other_numbers_are_told_by_file(
    photos: Path, tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(photos, tmp_path / "all" / "a")
    near = np.float32(1 + 1e-6)
    canary = Extractor.canary
    monkeypatch.setattr(Extractor, "canary", lambda self: canary(self) * near)
    make(photos, tmp_path / "all" / "b")
    open_store(tmp_path / "all")  # rounding is let pass
    monkeypatch.setattr(Extractor, "canary", lambda self: canary(self) * np.float32(1.01))
    make(photos, tmp_path / "all" / "c")
    with pytest.raises(DatasetError, match=r"gave others .* 0\.99% .*c/1-of-1-00001"):
        open_store(tmp_path / "all")


def test_a_damaged_file_is_named(photos: Path, tmp_path: Path, engine: FakeEngine) -> None:
    make(photos, tmp_path / "f")
    (path, *_) = (tmp_path / "f").glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=f"cannot read {path}"):
        open_store(tmp_path / "f")


def test_a_folder_of_images_is_no_store(photos: Path) -> None:
    assert find_store(settle(photos)) is None


# --- trained on ---------------------------------------------------------------------------
@pytest.fixture(scope="module")
def stored(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of images that are no longer there."""
    folder = tmp_path_factory.mktemp("stored")
    photos = shutil.copytree(tiny, folder / "photos")
    write_features(photos, folder / "features", progress=False, **EARLY)
    shutil.rmtree(photos)
    return folder / "features"


@pytest.fixture(scope="module")
def run(stored: Path) -> headstart.Run:
    return headstart.train(stored, out=stored.parent / "run")


def test_the_same_classifier_as_from_images(run: headstart.Run, tiny: Path, tmp_path: Path) -> None:
    direct = headstart.train(tiny, out=tmp_path / "run", **EARLY)  # type: ignore[arg-type]
    for name in ("metrics.json", "predictions.csv", "classifier/head.safetensors"):
        assert (run.folder / name).read_bytes() == (direct.folder / name).read_bytes()
    photo = next((tiny / "red").iterdir())
    assert run.classifier.predict(photo).label == "red"


def test_a_run_without_images_is_shown(run: headstart.Run, stored: Path) -> None:
    from headstart.cli.result import list_next
    from headstart.runs.page import write_page

    assert write_page(run).is_file()
    assert "red" in run.summary() or "right" in run.summary()
    assert [command.split()[1] for command, _ in list_next(run)] == ["predict"]
    with pytest.raises(HeadstartError, match="found features of them"):
        headstart.remedies(run, budget=1)
    with pytest.raises(HeadstartError, match=r"needs no images, .* finetune = true"):
        headstart.finetune(run, out=stored.parent / "tuned")
    with pytest.raises(HeadstartError, match="found features of them"):
        headstart.learning_curve(stored)


def test_choices_that_the_features_have_made(stored: Path, tiny: Path) -> None:
    with pytest.raises(RecipeError, match=r"expected size = 64, as the features"):
        headstart.train(stored, size=96)
    with pytest.raises(RecipeError, match="found views = 3"):
        headstart.train(stored, views=3, augmentation="lesson")
    with pytest.raises(DatasetError, match="found --validation too"):
        headstart.train(stored, validation=tiny)


def test_features_of_another_network(stored: Path, tmp_path: Path) -> None:
    store = open_store(stored)
    header = store.header
    other = Extractor(
        FakeEngine(), Geometry(8, 8, "squash", "antialias"), {}, "other",
        {**header.description, "openvino": "2019.1"},
    )  # fmt: skip
    with pytest.raises(DatasetError, match=r"openvino .*, here 2019\.1"):
        store.check_extractor(other)


def test_a_header_is_read_as_it_was_written() -> None:
    canary = np.random.default_rng(0).normal(size=9).astype("f4")
    header = Header("a", {"b": [1, 2]}, {"backbone": "c"}, canary, "f16", "/photos/")
    again = Header.parse(header.to_json())
    assert (again.canary == canary).all()
    assert again.to_json() == header.to_json()


def test_features_in_a_file_train_the_same_head(
    run: headstart.Run, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than memory is to hold lies in a mapped file, and gives the same to the last digit."""
    monkeypatch.setattr("headstart.features.extract.IN_MEMORY", 0)
    store = open_store(stored)
    items = store.read_dataset(headstart.Recipe()).items
    read = store.read({"all": items}, job.choose_progress(False))["all"]
    assert isinstance(read.values, np.memmap)
    again = headstart.train(stored, out=stored.parent / "mapped")
    head = "classifier/head.safetensors"
    assert (again.folder / head).read_bytes() == (run.folder / head).read_bytes()


# --- files of many images -----------------------------------------------------------------
def test_an_archive_is_one_piece(tiny: Path, tmp_path: Path, engine: FakeEngine) -> None:
    photos = sorted(tiny.rglob("*.*"))
    tars = tmp_path / "tars"
    tars.mkdir()
    for number in range(3):
        with tarfile.open(tars / f"{number}.tar", "w") as archive:
            for photo in photos[number::3]:
                stem = f"{photo.parent.name}-{photo.stem}"
                archive.add(photo, stem + photo.suffix)
                label = tarfile.TarInfo(f"{stem}.cls")
                label.size = len(photo.parent.name)
                archive.addfile(label, io.BytesIO(photo.parent.name.encode()))
    with tarfile.open(tars / "3.tar", "w") as archive:
        archive.add(photos[0], "unknown.jpg")
        archive.add(Path(__file__), "broken.jpg")
    done = make(tars, tmp_path / "f")
    assert (done.images, done.files) == (48, 4)
    assert dict(done.bad)["3.tar/unknown.jpg"] == "no label"
    assert "3.tar/broken.jpg" in dict(done.bad)
    (tmp_path / "f" / done_names(tmp_path / "f")[1]).unlink()
    again = make(tars, tmp_path / "f")
    assert (again.images, again.computed) == (48, 16)
    counts = [make(tars, tmp_path / "g", shard=f"{k}/2").images for k in (1, 2)]
    assert sum(counts) == 48
    whole, parts = rows(tmp_path / "f"), rows(tmp_path / "g")
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)


def done_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.parquet"))


def test_very_many_classes(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be a number for each image and class is kept of some of the images."""
    from headstart.runs.page import write_page

    for name in ("runs.steps.SAID", "heads.linear.SAID"):
        monkeypatch.setattr(f"headstart.{name}", 12)
    monkeypatch.setattr("headstart.metrics.classification.CONFUSED", 1)
    run = headstart.train(stored, out=stored.parent / "many")
    judged = run.metrics["validation"].n
    assert 3 <= judged <= 6
    assert run.record["images"]["validation"] == judged
    assert f"{judged} of the " in run.record["warnings"][0]
    assert run.metrics["validation"].confusion == ()
    assert run.metrics["cross_validation"].n < run.record["images"]["train"]
    assert "cross_validated" not in (run.folder / "training.csv").read_text()
    assert write_page(run).is_file()
    assert run.summary()


# --- into the cache -----------------------------------------------------------------------
def test_what_lies_in_files_is_kept_in_the_cache(
    tiny: Path, stored: Path, run: headstart.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    store = open_store(stored)
    kept = keep_features(store, Silent())
    assert (kept.new, kept.there) == (48, 0)
    assert kept.space == f"features/{store.header.extractor}"
    again = keep_features(store, Silent())
    assert (again.new, again.there) == (0, 48)
    direct = headstart.train(tiny, out=tmp_path / "run", **EARLY)  # type: ignore[arg-type]
    assert direct.record["cache"] == {"hits": 48, "misses": 0}
    head = "classifier/head.safetensors"
    assert (direct.folder / head).read_bytes() == (run.folder / head).read_bytes()


def test_what_others_computed_is_not_kept(
    tiny: Path, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_features(tiny, tmp_path / "half", progress=False, dtype="f16", **EARLY)
    with pytest.raises(DatasetError, match=r"in f32, found f16 in .*: headstart train"):
        keep_features(open_store(tmp_path / "half"), Silent())
    canary = Extractor.canary
    monkeypatch.setattr(Extractor, "canary", lambda self: canary(self) * np.float32(1 + 1e-6))
    with pytest.raises(DatasetError, match=r"found others in 1 of 1 files: .*parquet"):
        keep_features(open_store(stored), Silent())
