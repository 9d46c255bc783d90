"""The feature cache under damage, death, company and want of space, with real processes."""

import errno
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest
from spaces import WIDTH, key, line, open_space, run, some, start, value

from headstart.errors import CacheError
from headstart.features.cache import FeatureCache
from headstart.features.housekeeping import list_entries, verify


def count_kept(folder: Path, count: int) -> int:
    """How many of the first `count` values are kept; all kept ones must be right."""
    with open_space(folder) as space:
        assert space.warnings == []
        found = space.get([key(i) for i in range(count)])
    assert all(v is None or v == value(i) for i, v in enumerate(found))
    return sum(v is not None for v in found)


def data(folder: Path, name: str = "abc") -> Path:
    return folder / "features" / name / "data.mdb"


# -- keeping and giving back


def test_kept_values_come_back(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        space.put(some(1, 2))
        assert space.get([key(2), key(9), key(1)]) == [value(2), None, value(1)]
    with open_space(tmp_path) as space:
        assert space.get([key(1)]) == [value(1)]
        assert space.warnings == []


def test_values_are_copied_right_into_the_rows(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        space.put({b"a": bytes([1, 2, 3]), b"b": bytes([4, 5, 6]), b"long": bytes(4)})
        rows = np.full((4, 3), 9, np.uint8)
        found = space.get_into([b"b", b"long", b"none", b"a"], rows)
    assert found.tolist() == [True, False, False, True]
    assert rows.tolist() == [[4, 5, 6], [9, 9, 9], [9, 9, 9], [1, 2, 3]]


def test_float_features_survive_the_round_trip_bit_for_bit(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(7, 13)).astype(np.float32)
    features[3, 4] = np.nan
    keys = [key(i) for i in range(7)]
    again = np.empty_like(features)
    with open_space(tmp_path) as space:
        space.put({k: row.tobytes() for k, row in zip(keys, features, strict=True)})
        assert space.get_into(keys, again.view(np.uint8)).all()
    assert again.tobytes() == features.tobytes()


def test_a_canary_is_kept_and_not_counted(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        assert space.canary() is None
        space.put(some(1))
        space.set_canary(b"numbers")
    with open_space(tmp_path) as space:
        assert space.canary() == b"numbers"
    assert list_entries(tmp_path)[0].vectors == 1


def test_what_has_another_fingerprint_is_not_found(tmp_path: Path) -> None:
    with open_space(tmp_path, "abc") as one, open_space(tmp_path, "def") as other:
        one.put(some(1))
        assert other.get([key(1)]) == [None]


def test_a_map_that_is_full_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.system.lmdb.FIRST_MAP", 2**16)
    with open_space(tmp_path) as space:
        space.put(some(*range(400)))  # 2 MB into 64 KB: five doublings
        space.put(some(*range(400, 500)))
    assert count_kept(tmp_path, 500) == 500


def test_reading_is_fast(tmp_path: Path) -> None:
    keys = [key(i) for i in range(3000)]
    rows = np.empty((3000, WIDTH), np.uint8)
    with open_space(tmp_path) as space:
        for first in range(0, 3000, 250):
            space.put(some(*range(first, first + 250)))
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            assert space.get_into(keys, rows).all()
            seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.2, "ten times what it takes on an idle machine"


# -- several at once


def test_two_spaces_in_one_process_share_the_environment(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    one, two = open_space(tmp_path), open_space(tmp_path / "link")
    one.put(some(1))
    one.close()
    one.close()
    assert two.get([key(1)]) == [value(1)]
    two.put(some(2))
    two.close()
    assert count_kept(tmp_path, 3) == 2


def test_threads_read_while_the_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.system.lmdb.FIRST_MAP", 2**16)
    wrong: list[object] = []
    with open_space(tmp_path) as space:
        space.put(some(0))
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                if space.get([key(0)]) != [value(0)]:
                    wrong.append("missed")

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for first in range(0, 400, 50):
            space.put(some(*range(first, first + 50)))
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert None not in space.get([key(i) for i in range(400)])


def test_two_processes_write_at_once_and_both_grow_the_map(tmp_path: Path) -> None:
    code = """
import headstart.system.lmdb
headstart.system.lmdb.FIRST_MAP = 2**16
first = int(sys.argv[2])
with FeatureCache(folder).space("abc", {}) as space:
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(first, first + 300, 20):
        space.put({key(j): value(j) for j in range(i, i + 20)})
        assert space.get([key(i)]) == [value(i)]
"""
    writers = [start(code, tmp_path, first) for first in (0, 300, 150)]  # the third overlaps
    for writer in writers:
        assert line(writer) == "ready"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, err = writer.communicate(timeout=60)
        assert writer.returncode == 0, err
    assert count_kept(tmp_path, 600) == 600


def test_what_another_process_adds_is_seen_beyond_the_own_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.system.lmdb.FIRST_MAP", 2**18)
    with open_space(tmp_path) as space:
        space.put(some(0))
        run(
            'FeatureCache(folder).space("abc", {}).put({key(i): value(i) for i in range(1, 400)})',
            tmp_path,
        )
        assert space.get([key(0), key(399)]) == [value(0), value(399)]
        space.put(some(400))
    assert count_kept(tmp_path, 401) == 401


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_is_kept_from_the_environment_of_its_parent(tmp_path: Path) -> None:
    out = run(
        """
import os
space = FeatureCache(folder).space("abc", {})
space.put({key(1): value(1)})
child = os.fork()
if not child:
    assert space.get([key(1)]) == [None]
    for refused in (lambda: space.put({}), lambda: FeatureCache(folder).space("abc", {})):
        try:
            refused()
        except CacheError as error:
            print(error, flush=True)
    os._exit(0)
os.wait()
assert space.get([key(1)]) == [value(1)]
space.put({key(2): value(2)})
""",
        tmp_path,
    )
    assert "is closed or could not be read" in out
    assert "was opened before this process was forked off. Open the cache in the new" in out
    assert count_kept(tmp_path, 3) == 2


# -- killed


def test_killed_in_the_midst_of_writing_only_the_batch_is_lost(tmp_path: Path) -> None:
    code = """
with FeatureCache(folder).space("abc", {}) as space:
    assert space.warnings == [], space.warnings
    first = int(sys.argv[2])
    while True:
        space.put({key(i): value(i) for i in range(first, first + 20)})
        first += 20
        print(first, flush=True)
"""
    done = 0
    for moment in range(6):
        writer = start(code, tmp_path, done)
        done = int(line(writer) or 0)
        time.sleep(0.013 * moment)  # another phase of the transaction each time
        writer.send_signal(signal.SIGKILL)
        out, err = writer.communicate(timeout=60)
        assert writer.returncode == -signal.SIGKILL, err
        done = max([done, *(int(number) for number in out.split("\n")[:-1])])
        found = count_kept(tmp_path, done + 40)
        assert done <= found <= done + 20, "every batch that was acknowledged, and no half one"
        assert found % 20 == 0
    assert verify(tmp_path) == {"features/abc": ""}


def test_a_writer_killed_inside_its_transaction_blocks_nobody(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        space.put(some(1))
        code = """
space = FeatureCache(folder).space("abc", {})
with space._environment._lmdb.begin(write=True) as transaction:
    transaction.put(key(2), value(2))
    print("in", flush=True)
    time.sleep(60)
"""
        writer = start(code, tmp_path)
        assert line(writer) == "in"
        assert space.get([key(1), key(2)]) == [value(1), None]
        writer.kill()
        writer.communicate()
        space.put(some(3))
        assert space.get([key(1), key(2), key(3)]) == [value(1), None, value(3)]


# -- no room


def test_a_file_that_cannot_grow_raises_and_loses_nothing(tmp_path: Path) -> None:
    out = run(
        """
import resource
with FeatureCache(folder).space("abc", {}) as space:
    space.put({key(i): value(i) for i in range(20)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    try:
        space.put({key(i): value(i) for i in range(20, 300)})
    except CacheError as error:
        print(error)
    assert space.get([key(19), key(20)]) == [value(19), None]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    space.put({key(i): value(i) for i in range(20, 30)})
""",
        tmp_path,
    )
    assert "cannot write the feature cache" in out
    assert "set HEADSTART_CACHE to a writable folder" in out
    assert count_kept(tmp_path, 300) == 30


@pytest.fixture
def tiny_disk(tmp_path: Path) -> "object":
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_raises_and_loses_nothing(tiny_disk: Path) -> None:
    out = run(
        """
with FeatureCache(folder).space("abc", {}) as space:
    space.put({key(i): value(i) for i in range(20)})
    try:
        for first in range(20, 1000, 20):
            space.put({key(i): value(i) for i in range(first, first + 20)})
            last = first + 20
    except CacheError as error:
        print(last, error)
""",
        tiny_disk,
    )
    assert "; 0 MB free)" in out
    assert count_kept(tiny_disk, 1000) == int(out.split()[0]) > 20


def test_a_new_space_on_a_full_disk_is_an_error_and_no_crash(tiny_disk: Path) -> None:
    out = run(
        """
(folder / "ballast").touch()
with open(folder / "ballast", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
try:
    FeatureCache(folder).space("abc", {})
except CacheError as error:
    print(error)
(folder / "ballast").unlink()
with FeatureCache(folder).space("abc", {}) as space:
    space.put({key(1): value(1)})
    print("then", space.warnings)
""",
        tiny_disk,
    )
    assert "cannot use the feature cache" in out
    assert "then []" in out


def test_a_disk_error_is_a_cache_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_space(tmp_path) as space:
        space.put(some(1))

        def broken(items: object) -> None:
            raise lmdb.DiskError("mdb_txn_commit: Input/output error", errno.EIO)

        monkeypatch.setattr(space._environment, "write", broken)
        with pytest.raises(CacheError, match=r"cannot write .*Input/output error.*HEADSTART_CACHE"):
            space.put(some(2))
        assert space.get([key(1)]) == [value(1)]


# -- not to be written


def test_a_read_only_cache_is_read(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        space.put(some(1))
    read = """
import os
if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
with FeatureCache(folder).space("abc", {"changed": 1}) as space:
    assert space.warnings == []
    assert space.get([key(1), key(2)]) == [value(1), None]
    for refused, with_what in ((space.put, {key(2): value(2)}), (space.set_aside, "other numbers")):
        try:
            refused(with_what)
        except CacheError as error:
            print(error)
    assert space.get([key(1)]) == [None], "after set_aside nothing old may come back"
try:
    FeatureCache(folder).space("new", {})
except CacheError as error:
    print(error)
"""
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    above = {parent: parent.stat().st_mode for parent in list(tmp_path.parents)[:2]}
    for parent, mode in above.items():
        parent.chmod(mode | 0o055)
    try:
        refused, aside, new = run(read, tmp_path).strip().split("\n")
    finally:
        for path in [tmp_path, *tmp_path.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        for parent, mode in above.items():
            parent.chmod(mode)
    assert "cannot write the feature cache" in refused
    assert "other numbers, and" in aside
    assert "cannot be set aside (Permission denied)" in aside
    assert "cannot use the feature cache" in new
    assert "(Permission denied)" in new


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("not a folder")
    with pytest.raises(CacheError, match=r"cannot use the feature cache .*abc \((Not|File)"):
        open_space(tmp_path)


def test_a_file_system_without_locks_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("headstart.system.lock.fcntl.flock", no_locks)
    with pytest.raises(CacheError, match=r"No locks available.*a writable folder on a local disk"):
        open_space(tmp_path)


# -- damaged


def test_a_damaged_value_is_a_miss_and_is_found_by_verify(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        space.put(some(*range(50)))
    file = data(tmp_path)
    content = bytearray(file.read_bytes())
    where = content.index(value(7)) + 100
    content[where] ^= 1
    file.write_bytes(content)
    assert verify(tmp_path) == {"features/abc": "1 damaged vectors"}
    rows = np.empty((50, WIDTH), np.uint8)
    with open_space(tmp_path) as space:
        assert space.warnings == []
        found = space.get_into([key(i) for i in range(50)], rows)
        assert np.flatnonzero(~found).tolist() == [7]
        assert space.get([key(7), key(8)]) == [None, value(8)]
        space.put(some(7))
        assert space.get([key(7)]) == [value(7)]
    assert verify(tmp_path) == {"features/abc": ""}


def test_a_value_under_the_wrong_key_is_a_miss(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        space.put(some(1))
        assert space._environment is not None
        with space._environment._lmdb.begin(write=True) as transaction:
            transaction.put(key(2), transaction.get(key(1)))
        assert space.get([key(1), key(2)]) == [value(1), None]


def _garbage(content: bytes) -> bytes:
    return np.random.default_rng(0).bytes(len(content))


def _garbage_after_the_first_pages(content: bytes) -> bytes:
    return content[:8192] + np.random.default_rng(0).bytes(len(content) - 8192)


def _tree_lost(content: bytes) -> bytes:
    """Zeros in the place of the tree's leaves: LMDB itself would end the process."""
    pages = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    return b"".join(bytes(4096) if at > 1 and page[10] == 2 else page
                    for at, page in enumerate(pages))  # fmt: skip


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[:100], id="100 bytes"),
        pytest.param(lambda content: content[:8192], id="two pages"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda content: content[:-4096], id="the last page missing"),
        pytest.param(_garbage, id="garbage"),
        pytest.param(_garbage_after_the_first_pages, id="garbage after the first pages"),
        pytest.param(_tree_lost, id="tree lost"),
    ],
)
def test_a_damaged_file_is_set_aside(tmp_path: Path, harm: "object") -> None:
    with open_space(tmp_path) as space:
        space.put(some(*range(300)))
    file = data(tmp_path)
    file.write_bytes(harm(file.read_bytes()))  # type: ignore[operator]
    out = run(
        """
from headstart.features.housekeeping import list_entries, verify
print([(entry.name, entry.vectors) for entry in list_entries(folder)], verify(folder))
with FeatureCache(folder).space("abc", {}) as space:
    print(*space.warnings)
    assert space.get([key(1)]) == [None]
    space.put({key(1): value(1)})
""",
        tmp_path,
    )
    looked, warned = out.strip().split("\n")
    assert looked == "[('features/abc', 0)] {'features/abc': 'cannot be read'}", (
        "looking changes nothing"
    )
    assert "the kept features are damaged (" in warned
    assert "set aside as" in warned
    assert "headstart cache prune" in warned
    assert count_kept(tmp_path, 300) == 1
    assert len(list((tmp_path / "features").glob("abc.aside-*/data.mdb"))) == 1


def test_a_file_cut_short_while_another_process_has_it_open(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        space.put(some(*range(50)))
        file = data(tmp_path)
        whole = file.read_bytes()
        os.truncate(file, len(whole) // 2)
        code = """
with FeatureCache(folder).space("abc", {}) as space:
    print(*space.warnings)
"""
        assert "cut short" in run(code, tmp_path)


def test_damage_that_shows_while_reading_gives_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_space(tmp_path) as space:
        space.put(some(1))

        def broken(job: object) -> None:
            raise lmdb.CorruptedError("mdb_get", -30796)

        monkeypatch.setattr(space._environment, "read", broken)
        assert space.get([key(1)]) == [None]
        with pytest.raises(CacheError, match="closed or could not be read"):
            space.put(some(2))


def test_damage_that_was_set_aside_in_the_meantime_is_not_set_aside_again(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        space.put(some(1))
        folder = space.folder
        os.rename(folder, folder.with_name("abc.aside-by-another"))
        with open_space(tmp_path) as other:
            other.put(some(2))
            space.set_aside("damaged")
            assert space.get([key(1), key(2)]) == [None, value(2)]


def test_set_aside_begins_anew_and_keeps_the_old(tmp_path: Path) -> None:
    with open_space(tmp_path) as space:
        space.put(some(1))
        text = space.set_aside("other numbers")
        assert "other numbers: set aside as" in text
        assert space.get([key(1)]) == [None]
        space.put(some(2))
        space.set_aside("again")
    names = [entry.name for entry in list_entries(tmp_path)]
    assert len(names) == 3
    assert sum(name.startswith("features/abc.aside-2") for name in names) == 2
    (old, *_) = [e for e in list_entries(tmp_path) if e.vectors]
    assert old.vectors == 1


def test_the_cache_lies_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "here"))
    with FeatureCache() as cache:
        cache.space("abc", {})
    assert (tmp_path / "here/features/abc/space.json").exists()
