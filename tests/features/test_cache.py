"""The feature cache under damage, death, company and want of space, with real processes."""

import errno
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from spaces import WIDTH, find, key, line, open_space, put, run, start, vectors

from headstart.errors import CacheError
from headstart.features.cache import count_vectors, list_shards
from headstart.features.housekeeping import list_entries, verify

# -- keeping and giving back


def test_kept_vectors_come_back(tmp_path: Path) -> None:
    space = open_space(tmp_path)
    put(space, 1, 2)
    assert find(space, [2, 9, 1, 2]) == [2, 1, 2]
    assert find(open_space(tmp_path), [1]) == [1]


def test_features_survive_the_round_trip_bit_for_bit(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(7, 13)).astype(np.float32)
    features[3, 4] = np.nan
    keys = [key(i) for i in range(7)]
    space = open_space(tmp_path)
    space.put(keys, features)
    again = np.empty_like(features)
    assert space.get_into(keys, again).all()
    assert again.tobytes() == features.tobytes()


def test_vectors_of_another_length_are_missing(tmp_path: Path) -> None:
    space = open_space(tmp_path)
    space.put([key(1)], np.ones((1, 4), np.float32))
    assert not space.get_into([key(1)], np.empty((1, 3), np.float32)).any()
    assert space.get_into([key(1)], np.empty((1, 4), np.float32)).all()


def test_what_has_another_fingerprint_is_not_found(tmp_path: Path) -> None:
    put(open_space(tmp_path, "abc"), 1)
    assert find(open_space(tmp_path, "def"), [1]) == []


def test_another_processors_numbers_lie_beside_ours_and_are_not_seen(tmp_path: Path) -> None:
    put(open_space(tmp_path), 1)
    told: list[str] = []
    other = open_space(tmp_path, canary=np.ones(3, np.float32), warn=told.append)
    assert "gives other numbers than those that are kept: they are computed again" in told[0]
    assert find(other, [1]) == []
    other.put([key(1)], vectors(5))
    assert find(open_space(tmp_path), [1]) == [1]
    open_space(tmp_path, canary=np.ones(3, np.float32), warn=told.append)
    assert len(told) == 1, "told when it begins, not each time"
    assert list_entries(tmp_path)[0].vectors == 2


def test_what_was_kept_before_shards_makes_room(tmp_path: Path) -> None:
    folder = tmp_path / "features" / "abc"
    folder.mkdir(parents=True)
    (folder / "data.mdb").write_bytes(bytes(5000))
    (folder / "lock.mdb").write_bytes(bytes(50))
    open_space(tmp_path)
    assert sorted(os.listdir(folder)) == ["lock", "space.json"]


def test_reading_is_fast(tmp_path: Path) -> None:
    space = open_space(tmp_path)
    for first in range(0, 3000, 250):
        put(space, *range(first, first + 250))
    keys = [key(i) for i in range(3000)]
    rows = np.empty((3000, WIDTH), np.float32)
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        assert space.get_into(keys, rows).all()
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.2, "ten times what it takes on an idle machine"


# -- several at once


def test_threads_read_and_write_at_once(tmp_path: Path) -> None:
    space = open_space(tmp_path)
    put(space, 0)
    stop, missed = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            if find(space, [0]) != [0]:
                missed.append(1)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for first in range(0, 400, 50):
        put(space, *range(first, first + 50))
    stop.set()
    for thread in threads:
        thread.join()
    assert missed == []
    assert len(find(space, range(400))) == 400


def test_processes_write_at_once_the_same_too(tmp_path: Path) -> None:
    code = """
first = int(sys.argv[2])
space = open_space(folder)
print("ready", flush=True)
sys.stdin.readline()
for i in range(first, first + 300, 20):
    put(space, *range(i, i + 20))
    assert find(space, [i]) == [i]
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
    assert len(find(open_space(tmp_path), range(600))) == 600


def test_what_another_process_adds_is_seen(tmp_path: Path) -> None:
    space = open_space(tmp_path)
    put(space, 0)
    run("put(open_space(folder), *range(1, 400))", tmp_path)
    assert find(space, [0, 399]) == [0, 399]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_may_use_the_space_of_its_parent(tmp_path: Path) -> None:
    run(
        """
import os
space = open_space(folder)
put(space, 1)
child = os.fork()
put(space, 2 if child else 3)
if not child:
    os._exit(0 if find(space, [1, 3]) == [1, 3] else 1)
assert os.waitpid(child, 0)[1] == 0
""",
        tmp_path,
    )
    assert find(open_space(tmp_path), [1, 2, 3]) == [1, 2, 3]


# -- killed


def test_killed_in_the_midst_of_writing_only_the_batch_is_lost(tmp_path: Path) -> None:
    code = """
space = open_space(folder)
first = int(sys.argv[2])
while True:
    put(space, *range(first, first + 20))
    first += 20
    print(first, flush=True)
"""
    done = 0
    for moment in range(6):
        writer = start(code, tmp_path, done)
        done = int(line(writer) or 0)
        time.sleep(0.013 * moment)  # another phase of the writing each time
        writer.send_signal(signal.SIGKILL)
        out, err = writer.communicate(timeout=60)
        assert writer.returncode == -signal.SIGKILL, err
        done = max([done, *(int(number) for number in out.split("\n")[:-1])])
        found = len(find(open_space(tmp_path), range(done + 40)))
        assert done <= found <= done + 20, "every batch that was acknowledged, and no half one"
        assert found % 20 == 0
    assert verify(tmp_path) == {"features/abc": ""}


# -- no room


def test_a_file_that_cannot_grow_raises_and_loses_nothing(tmp_path: Path) -> None:
    out = run(
        """
import resource
space = open_space(folder)
put(space, *range(20))
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    put(space, *range(20, 300))
except CacheError as error:
    print(error)
assert find(space, [19, 20]) == [19]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
put(space, *range(20, 30))
""",
        tmp_path,
    )
    assert "expected to write " in out
    assert "or set HEADSTART_CACHE to another folder" in out
    assert len(find(open_space(tmp_path), range(300))) == 30


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
space = open_space(folder)
try:
    for first in range(0, 1000, 20):
        put(space, *range(first, first + 20))
        last = first + 20
except CacheError as error:
    print(last, error)
""",
        tiny_disk,
    )
    assert "No space left on device, 0.0 MB free" in out
    assert len(find(open_space(tiny_disk), range(1000))) == int(out.split()[0]) > 20
    assert not list(tiny_disk.rglob("*.tmp"))


def test_a_new_space_on_a_full_disk_is_an_error_or_keeps_nothing(tiny_disk: Path) -> None:
    out = run(
        """
with open(folder / "ballast", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
try:
    put(open_space(folder), 1)
except CacheError as error:
    print(error)
(folder / "ballast").unlink()
put(open_space(folder), 1)
""",
        tiny_disk,
    )
    assert "expected to write " in out
    assert find(open_space(tiny_disk), [1]) == [1]


def test_a_disk_error_is_a_cache_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = open_space(tmp_path)
    put(space, 1)

    def broken(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("headstart.system.atomic.os.fsync", broken)
        with pytest.raises(CacheError, match=r"Input/output error.*HEADSTART_CACHE"):
            put(space, 2)
    assert find(space, [1, 2]) == [1]


# -- not to be written


def test_a_read_only_cache_is_read(tmp_path: Path) -> None:
    put(open_space(tmp_path), 1)
    read = """
import os
if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
space = open_space(folder)
assert find(space, [1, 2]) == [1]
for refused in (lambda: put(space, 2), lambda: open_space(folder, "new")):
    try:
        refused()
    except CacheError as error:
        print(error)
"""
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    above = {
        parent: parent.stat().st_mode for parent in list(tmp_path.parents)[:3]
    }  # as pytest's workers nest them
    for parent, mode in above.items():
        parent.chmod(mode | 0o055)
    try:
        refused, new = run(read, tmp_path).strip().split("\n")
    finally:
        for path in [tmp_path, *tmp_path.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        for parent, mode in above.items():
            parent.chmod(mode)
    assert "Permission denied. Allow writing there" in refused
    assert "Permission denied. Allow writing there" in new


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("not a folder")
    with pytest.raises(CacheError, match=r"expected to write .*abc, found: (Not|File)"):
        open_space(tmp_path)


def test_where_there_are_no_locks_it_serves_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("headstart.system.lock.fcntl.flock", no_locks)
    space = open_space(tmp_path)
    put(space, 1)
    assert find(space, [1]) == [1]


# -- damaged


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "longer"])
def test_damage_is_missing_and_told_and_mended(tmp_path: Path, how: str, share: float) -> None:
    space = open_space(tmp_path)
    put(space, *range(10))
    put(space, *range(10, 20))
    (shard, other) = list_shards(space.folder)
    content = bytearray(shard.read_bytes())
    place = min(int(share * len(content)), len(content) - 1)
    if how == "flipped":
        content[place] ^= 0x55
    shard.write_bytes(
        {"cut": content[:place], "empty": b"", "longer": content + bytes(99)}.get(how, content)
    )
    whole = how == "longer"
    assert verify(tmp_path) == {"features/abc": "" if whole else "1 damaged files"}
    told: list[str] = []
    space.warn = told.append
    there = find(space, range(20))
    assert whole == (len(there) == 20) == (told == [])
    if not whole:
        assert told == ["1 damaged files of kept features: they are computed again"]
        assert len(there) >= 10
        assert list_shards(space.folder) == [other]
        assert count_vectors(space.folder) == 10
        put(space, *(set(range(20)) - set(there)))
        assert verify(tmp_path) == {"features/abc": ""}


def test_a_file_that_cannot_be_read_for_a_moment_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = open_space(tmp_path)
    put(space, 1)

    def too_many(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", too_many)
        assert find(space, [1]) == []
    assert find(space, [1]) == [1]


def test_a_vector_under_the_wrong_key_is_no_vector_of_that_image(tmp_path: Path) -> None:
    told: list[str] = []
    space = open_space(tmp_path, warn=told.append)
    put(space, 1, 2)
    (shard,) = list_shards(space.folder)
    one, two = vectors(1).tobytes(), vectors(2).tobytes()
    content = shard.read_bytes()
    assert content.count(one) == content.count(two) == 1
    swapped = content.replace(one, bytes(len(one))).replace(two, one).replace(bytes(len(one)), two)
    shard.write_bytes(swapped)
    assert find(space, [1, 2]) == []
    assert len(told) == 1


def test_the_cache_lies_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.features import cache

    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "mine"))
    space = cache.open_space("abc", {}, np.zeros(1, np.float32), print)
    assert space.folder == tmp_path / "mine" / "features" / "abc"
