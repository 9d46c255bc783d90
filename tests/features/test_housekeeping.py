"""What is in the cache folder is counted, checked and removed, of whatever kind, if not in use."""

import gc
import json
import os
import pickle
import re
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from spaces import WIDTH, find, line, open_space, put, start

import headstart
from headstart.classifier import assemble
from headstart.data.dataset import load
from headstart.data.places import images_in
from headstart.errors import CacheError
from headstart.features.extractor import open_extractor
from headstart.features.housekeeping import CacheEntry, list_entries, measure_usage, prune, verify
from headstart.heads.head import Dense, Head
from headstart.recipe import load_recipe
from headstart.system.digest import seal
from headstart.system.places import KINDS

EARLY = load_recipe("quick", cut="block1a_project_bn", size=64)  # built in a moment


def set_age(folder: Path, name: str, days: float) -> None:
    """As if last used `days` ago."""
    note = folder / "features" / name / "space.json"
    content = json.loads(note.read_text())
    content["last_used"] = time.time() - days * 86400
    note.write_text(json.dumps(content))


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Spaces last used 30, 20 and 10 days ago, of 0.5 MB and more each."""
    for name, days in (("a30", 30), ("b20", 20), ("c10", 10)):
        put(open_space(tmp_path, name), *range(100))
        set_age(tmp_path, name, days)
    return tmp_path


def names(entries: list[CacheEntry]) -> list[str]:
    return [entry.name.split("/")[1] for entry in entries]


def test_info_tells_what_is_kept(tmp_path: Path) -> None:
    begun = time.time()
    put(open_space(tmp_path), *range(100))
    (entry,) = list_entries(tmp_path)
    assert (entry.name, entry.vectors) == ("features/abc", 100)
    assert entry.description == {"backbone": "lite0"}
    assert 400 * WIDTH < entry.bytes < 500 * WIDTH
    assert begun - 1 < entry.created <= entry.last_used < time.time() + 1
    time.sleep(0.02)
    open_space(tmp_path)
    (again,) = list_entries(tmp_path)
    assert again.created == entry.created
    assert again.last_used > entry.last_used


def test_nothing_kept_is_nothing_to_tell(tmp_path: Path) -> None:
    assert (
        list_entries(tmp_path / "none"),
        verify(tmp_path / "none"),
        prune(tmp_path / "none", everything=True),
    ) == ([], {}, [])


def test_pruning_by_age(three: Path) -> None:
    assert names(prune(three, older_than=15)) == ["a30", "b20"]
    assert names(list_entries(three)) == ["c10"]
    assert os.listdir(three / "features") == ["c10"]


def test_pruning_by_size_removes_the_least_recently_used(three: Path) -> None:
    entries = list_entries(three)
    assert names(entries) == ["c10", "b20", "a30"]
    enough = entries[0].bytes + entries[1].bytes
    assert names(prune(three, max_bytes=enough)) == ["a30"]
    assert names(prune(three, max_bytes=enough - 1)) == ["b20"]
    assert names(prune(three)) == []


def test_pruning_spares_what_is_in_use(three: Path) -> None:
    space = open_space(three, "a30")
    assert names(prune(three, everything=True)) == ["b20", "c10"]
    assert find(space, [1]) == [1]
    del space
    user = start(
        """
space = open_space(folder, "a30")
print("in", flush=True)
time.sleep(60)
""",
        three,
    )
    assert line(user) == "in"
    assert prune(three, everything=True) == []
    user.kill()
    user.communicate()
    assert names(prune(three, everything=True)) == ["a30"]


def test_extractors_count_and_are_pruned(tmp_path: Path) -> None:
    folder = tmp_path / "extractors" / "e1"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(bytes(100_000))
    month = time.time() - 30 * 86400
    os.utime(folder / "model.bin", (month, month))
    (entry,) = list_entries(tmp_path)
    assert (entry.name, entry.vectors) == ("extractors/e1", 0)
    assert entry.bytes >= 100_000
    assert abs(entry.last_used - month) < 1
    assert "cannot be read" in verify(tmp_path)["extractors/e1"]
    assert prune(tmp_path, older_than=31) == []
    assert prune(tmp_path, older_than=29) == [entry]
    assert not folder.exists()


def test_what_killed_processes_left_behind_is_removed_in_time(tmp_path: Path) -> None:
    old, new = (tmp_path / "extractors" / f".e{n}.0123abcd.tmp" for n in "12")
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    assert list_entries(tmp_path) == []
    prune(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


# -- every kind of thing


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A cache folder with one thing of each kind, last used 40 days ago and longer, and leftovers.

    The kinds in the order of their use, the last used first: as in KINDS.
    """
    put(open_space(tmp_path), 1, 2)
    set_age(tmp_path, "abc", 40)
    url = "https://example.org/models/vgg16_notop.h5"
    files = {
        "extractors/e/extractor.json": b"{}",
        "extractors/e/lock": b"",
        "archives/a/content/cats/1.jpg": bytes(9000),
        "archives/a/lock": b"",
        "archives/a/archive.json": json.dumps(seal({"source": "/photos.zip"})).encode(),
        "files/f/photos/1-of-1-00001-0123456789abcdef.parquet": bytes(5000),
        "files/f/lock": b"",
        "selections/s.json": json.dumps(seal({})).encode(),
        "addresses/vgg16.json": json.dumps(
            {"url": url, "md5": "37b51ca06a9a575d30b8761f7d3feb8c"}
        ).encode(),
        "weights/vgg16_notop.h5": b"weights",
        "weights/other.h5.part": bytes(5000),
        ".x.0123abcd.tmp/file": bytes(5000),
        "mine.txt": bytes(5000),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        age = 40 + (list(KINDS).index(name.split("/")[0]) if name.split("/")[0] in KINDS else 0)
        os.utime(tmp_path / name, 2 * (time.time() - age * 86400,))
    return tmp_path


def test_every_kind_is_listed_with_what_is_known_of_it(everything: Path) -> None:
    entries = list_entries(everything)
    assert [entry.kind for entry in entries] == list(KINDS)
    assert [entry.name for entry in entries if entry.kind in ("archives", "weights")] == [
        "archives/a", "weights/vgg16_notop.h5",
    ]  # fmt: skip
    described = {entry.kind: entry.description for entry in entries}
    assert described["archives"]["source"] == "/photos.zip"
    assert described["weights"] == {"backbone": "vgg16"}


def test_looking_is_not_using(everything: Path) -> None:
    def see() -> dict[str, float]:
        return {entry.name: entry.last_used for entry in list_entries(everything)}

    before = see()
    verify(everything)
    assert see() == before


def test_the_sizes_are_those_of_du(everything: Path) -> None:
    if shutil.which("du") is None:
        pytest.skip("needs the command du")

    def ask(path: Path) -> int:
        done = subprocess.run(["du", "-s", "-B1", path], check=True, capture_output=True, text=True)
        return int(done.stdout.split()[0])

    assert measure_usage(everything) == ask(everything)
    for entry in list_entries(everything):
        assert entry.bytes == ask(everything / entry.name), entry.name


def test_the_sources_keep_nothing_of_an_unknown_kind() -> None:
    root = Path(headstart.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in root.rglob("*.py")]
    kinds = {kind for text in texts for kind in re.findall(r'cache_folder\(\) / "(\w+)"', text)}
    assert {"extractors", "archives", "files", "selections", "addresses", "weights"} <= kinds
    assert kinds <= set(KINDS)


def test_pruning_everything_leaves_only_what_is_not_ours(everything: Path) -> None:
    removed = prune(everything, everything=True)
    assert sorted(entry.kind for entry in removed) == sorted(KINDS)
    assert list_entries(everything) == []
    left = [path for path in everything.rglob("*") if path.is_file()]
    assert sorted(path.name for path in left) == ["file", "mine.txt"]


def test_weights_count_but_stay_unless_everything_goes(everything: Path) -> None:
    assert [entry.kind for entry in prune(everything, older_than=42.5)] == [
        "addresses", "selections", "files",
    ]  # fmt: skip
    weights = next(entry for entry in list_entries(everything) if entry.kind == "weights")
    features = next(entry for entry in list_entries(everything) if entry.kind == "features")
    both = weights.bytes + features.bytes
    assert [entry.kind for entry in prune(everything, max_bytes=both)] == ["archives", "extractors"]
    assert [entry.kind for entry in prune(everything, max_bytes=0)] == ["features"]
    assert [entry.kind for entry in prune(everything, older_than=0)] == []
    assert (everything / "weights/vgg16_notop.h5").read_bytes() == b"weights"


def test_a_fetch_under_way_is_no_entry_and_stays(everything: Path) -> None:
    part = everything / "weights/other.h5.part"
    os.utime(part)
    prune(everything, everything=True)
    assert part.exists()
    os.utime(part, (0, 0))
    prune(everything, older_than=9999)
    assert not part.exists(), "of a fetch given up long ago"


def test_a_shard_that_was_never_finished_goes_and_its_space_stays(everything: Path) -> None:
    space = next(path for path in (everything / "features").iterdir())
    old, new = (space / f".x{n}.features.0123abcd.tmp" for n in "12")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    before = sorted({*space.iterdir()} - {old})
    assert prune(everything, older_than=9999) == []
    assert sorted(space.iterdir()) == before


def test_verify_reads_every_kind(everything: Path) -> None:
    problems = verify(everything)
    assert list(problems) == sorted(entry.name for entry in list_entries(everything))
    assert "cannot be read" in problems.pop("extractors/e")  # it has no model
    assert problems.pop("weights/vgg16_notop.h5").startswith("expected md5:37b51ca0")
    assert set(problems.values()) == {""}
    for name in ("selections/s.json", "addresses/vgg16.json"):
        (everything / name).write_text("{")
    problems = verify(everything)
    assert "cannot be read (" in problems["selections/s.json"]
    (everything / "selections/s.json").write_text("{}")
    (everything / "archives/a/archive.json").write_text('{"source": "/others.zip"}')
    problems_of_seals = verify(everything)
    assert problems_of_seals["selections/s.json"] == "not what was written"
    assert problems_of_seals["archives/a"] == "not what was written"
    assert "cannot be read (" in problems["addresses/vgg16.json"]
    assert problems["weights/vgg16_notop.h5"] == "", "nothing is known of it without an address"


def test_what_is_removed_while_it_is_verified_is_not_called_damaged(
    everything: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, made_anew = everything / "selections/s.json", everything / "addresses/vgg16.json"

    def remove_meanwhile(path: Path) -> str:
        if path == made_anew:
            new = path.with_suffix(".new")
            new.write_text("{}")
            new.replace(path)
        else:
            path.unlink()
        raise FileNotFoundError(path)

    for check in ("_check_json", "_check_sealed"):
        monkeypatch.setattr(f"headstart.features.housekeeping.{check}", remove_meanwhile)
    assert not {"selections/s.json", "addresses/vgg16.json"} & verify(everything).keys()
    assert not gone.exists()


def test_weights_as_published_are_whole(everything: Path) -> None:
    (everything / "weights/vgg16_notop.h5").write_bytes(b"hello")
    address = everything / "addresses/vgg16.json"
    address.write_text(
        address.read_text().replace(
            "37b51ca06a9a575d30b8761f7d3feb8c", "5d41402abc4b2a76b9719d911017c592"
        )
    )
    assert verify(everything)["weights/vgg16_notop.h5"] == ""


@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf"), -float("inf")])
def test_a_limit_that_is_none_is_refused_and_removes_nothing(three: Path, number: float) -> None:
    with pytest.raises(
        CacheError,
        match=r"expected a number of megabytes, 0 or more, found (-1|nan|-?inf)\. "
        "Type: headstart cache prune --max-mb 2000. To remove everything: --all",
    ):
        prune(three, max_bytes=number * 1e6)
    with pytest.raises(CacheError, match=r"number of days, .* prune --older-than 30\."):
        prune(three, older_than=number)
    assert names(list_entries(three)) == ["c10", "b20", "a30"]


# -- in use


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, that everything uses."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_extractor_is_left_while_it_is_open(own: Path) -> None:
    extractor = open_extractor(EARLY)
    again = open_extractor(EARLY)
    assert prune(everything=True) == []
    del extractor
    gc.collect()
    assert prune(everything=True) == [], "the other one is still open"
    del again
    gc.collect()
    assert [entry.kind for entry in prune(everything=True)] == ["extractors"]


def test_an_extractor_is_left_while_another_process_has_it_open(own: Path) -> None:
    code = """
from headstart.features.extractor import open_extractor
from headstart.recipe import load_recipe
extractor = open_extractor(load_recipe("quick", cut="block1a_project_bn", size=64))
print("open", flush=True)
time.sleep(60)
"""
    user = start(code, own)
    assert line(user) == "open"
    assert prune(everything=True) == []
    user.kill()
    user.communicate()
    assert [entry.kind for entry in prune(everything=True)] == ["extractors"]


def test_an_extractor_whose_folder_is_gone_still_serves(own: Path, tmp_path: Path) -> None:
    extractor = open_extractor(EARLY)
    before = extractor.canary()
    assert extractor.model is not None
    shutil.rmtree(extractor.model.parent)
    assert np.array_equal(extractor.canary(), before)
    weight = np.random.default_rng(0).normal(size=(extractor.dimensions, 2)).astype("f4")
    head = Head((Dense(weight, np.zeros(2, "f4"), "softmax"),))
    saved = assemble(extractor, head, ["a", "b"], {}).save(tmp_path / "classifier")
    assert (saved / "model.bin").stat().st_size > weight.nbytes
    assert np.array_equal(open_extractor(EARLY).canary(), before)  # built again


@pytest.mark.parametrize("name", ["extractor.json", "model.xml", "model.bin"])
@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "a list", "gone"])
def test_a_damaged_extractor_is_built_again_and_told(own: Path, name: str, how: str) -> None:
    extractor = open_extractor(EARLY)
    assert extractor.model is not None
    assert extractor.warnings == ()
    file, canary = extractor.model.with_name(name), extractor.canary()
    entry, content = f"extractors/{file.parent.name}", file.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    harm = {"cut": content[: len(content) // 2], "flipped": flipped, "a list": b"[1]"}
    file.write_bytes(harm.get(how, b""))
    if how == "gone":
        file.unlink()
    if name == "extractor.json" and how == "gone":  # as if it had never been made
        assert open_extractor(EARLY).warnings == ()
        return
    assert verify()[entry].startswith("cannot be read (")
    with pytest.raises(CacheError, match=r"expected a whole folder .*Another process has it"):
        open_extractor(EARLY)  # the other one is in use
    del extractor
    gc.collect()
    again = open_extractor(EARLY)
    assert again.warnings == (f"built again, for it was damaged: the extractor {file.parent}",)
    assert np.array_equal(again.canary(), canary)
    assert verify() == {entry: ""}


def test_a_cache_folder_that_cannot_be_written_says_what_to_do(own: Path) -> None:
    own.write_text("a file")
    with pytest.raises(CacheError, match=r"expected to write .* set HEADSTART_CACHE to another"):
        open_extractor(EARLY)


def test_an_archive_is_left_while_its_images_are_used(own: Path, tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for label in "ab":
            for number in range(3):
                file.writestr(f"photos/{label}/{number}.jpg", f"{label}{number}")
    dataset = load(archive)
    items, unlabelled = dataset.split("train"), images_in([archive])
    del dataset
    gc.collect()
    assert prune(everything=True) == []
    copies = pickle.loads(pickle.dumps(items))  # as to a process that reads images
    del items
    gc.collect()
    assert prune(everything=True) == [], "the unlabelled ones are still there"
    assert unlabelled[0].read() == b"a0"
    del unlabelled
    gc.collect()
    assert prune(everything=True) == [], "nor is it taken from the copies"
    assert copies[0].read().startswith(b"a")
    del copies
    gc.collect()
    assert [entry.description["source"] for entry in prune(everything=True)] == [str(archive)]
    assert len(load(archive).items) == 6  # unpacked again
