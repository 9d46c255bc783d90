"""Files and folders appear whole or not at all."""

import copy
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.errors import CacheError
from headstart.system.atomic import folder_atomically, write_atomically
from headstart.system.lock import Hold, read_and_hold, remove


class Stop(Exception):
    pass


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "a", b"one")
    write_atomically(tmp_path / "new" / "a", b"two")
    assert (tmp_path / "new" / "a").read_bytes() == b"two"
    assert os.listdir(tmp_path / "new") == ["a"]


def test_a_file_that_cannot_be_written_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "a", b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("headstart.system.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_usual_permissions_are_given(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"")
        with folder_atomically(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from headstart.system.atomic import write_atomically
while True:
    for letter in b"ab":
        write_atomically(Path(sys.argv[1]), bytes([letter]) * 300_000)
        print("x", flush=True)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    for _ in range(100):
        content = (tmp_path / "a").read_bytes()
        assert content in (b"a" * 300_000, b"b" * 300_000)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert (tmp_path / "a").read_bytes() in (b"a" * 300_000, b"b" * 300_000)


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "a"
    with folder_atomically(target) as temporary:
        (temporary / "file").write_text("1")
        assert temporary.parent == target.parent
        assert not target.exists()
    assert (target / "file").read_text() == "1"
    assert os.listdir(tmp_path / "runs") == ["a"]


def test_a_folder_whose_making_fails_leaves_nothing_or_the_old(tmp_path: Path) -> None:
    target = tmp_path / "a"

    def fail() -> None:
        with folder_atomically(target) as temporary:
            (temporary / "file").write_text("1")
            raise Stop

    for before in ([], ["old"]):
        with pytest.raises(Stop):
            fail()
        assert os.listdir(tmp_path) == (["a"] if before else [])
        if not before:
            target.mkdir()
            (target / "old").touch()
    assert os.listdir(target) == ["old"]


def test_a_folder_that_was_there_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.mkdir()
    (target / "old").touch()
    with folder_atomically(target) as temporary:
        (temporary / "new").touch()
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["a"]


def test_the_slower_of_two_makers_accepts_the_other_folder(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with folder_atomically(target) as slow:
        (slow / "slow").touch()
        with folder_atomically(target) as quick:
            (quick / "quick").touch()
    assert os.listdir(target) == ["quick"]
    assert os.listdir(tmp_path) == ["a"]


def test_many_makers_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from headstart.system.atomic import folder_atomically
with folder_atomically(Path(sys.argv[1])) as temporary:
    print(flush=True)
    sys.stdin.readline()
    for name in "xyz":
        (temporary / name).write_text(sys.argv[2])
"""
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "a"), str(n)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for n in range(4)
    ]  # fmt: skip
    for maker in makers:
        assert maker.stdout is not None
        maker.stdout.readline()
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write(b"\n")
        maker.stdin.flush()
    for maker in makers:
        _, err = maker.communicate(timeout=60)
        assert maker.returncode == 0, err
    assert os.listdir(tmp_path) == ["a"]
    assert len({(tmp_path / "a" / name).read_text() for name in "xyz"}) == 1


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with (
        pytest.raises(NotADirectoryError, match="expected a folder, found a file"),
        folder_atomically(tmp_path / "a"),
    ):
        pass
    assert (tmp_path / "a").read_text() == "mine"


def test_a_held_folder_is_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    hold, other = Hold(folder), Hold(folder)
    hold.release()
    assert not remove(folder)
    other.release()
    other.release()
    assert remove(folder)
    assert os.listdir(tmp_path) == []
    assert not remove(folder)


def test_waiting_for_a_folder_that_is_being_removed_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.system.lock.PATIENCE", 0.05)
    (tmp_path / "a").mkdir()
    with (tmp_path / "a" / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="another process keeps it locked"):
            Hold(tmp_path / "a")
    Hold(tmp_path / "a").release()


def test_a_folder_removed_while_we_wait_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    handle = (folder / "lock").open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)

    def remove_meanwhile(seconds: float) -> None:
        shutil.rmtree(folder)
        handle.close()

    monkeypatch.setattr("headstart.system.lock.time.sleep", remove_meanwhile)
    again = Hold(folder)
    assert (folder / "lock").exists()
    again.release()


def test_of_two_that_replace_a_folder_the_first_to_end_stays(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.mkdir()
    with folder_atomically(target) as slow:
        (slow / "slow").touch()
        with folder_atomically(target) as quick:
            (quick / "quick").touch()
    assert os.listdir(target) == ["quick"]
    assert os.listdir(tmp_path) == ["a"]


def test_a_system_without_flock_holds_nothing_and_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.system.lock.fcntl", None)
    hold = Hold(tmp_path / "a")
    hold.release()
    assert remove(tmp_path / "a")


def test_a_hold_that_nobody_refers_to_is_released(tmp_path: Path) -> None:
    hold = Hold(tmp_path / "a")
    again = copy.deepcopy(hold)
    del hold
    assert not remove(tmp_path / "a")
    del again
    assert remove(tmp_path / "a")


def test_a_file_and_a_link_are_removed_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").touch()
    assert remove(tmp_path / "link")
    assert remove(tmp_path / "file")
    assert not remove(tmp_path / "file")
    assert os.listdir(tmp_path) == ["folder"]


def fill(folder: Path) -> None:
    (folder / "content").write_text("1")


def read(folder: Path) -> int:
    return int((folder / "content").read_text())


def test_a_folder_is_made_once_and_held(tmp_path: Path) -> None:
    calls: list[Path] = []

    def make(folder: Path) -> None:
        calls.append(folder)
        fill(folder)

    helds = [read_and_hold(tmp_path / "a", "content", make, read) for _ in range(2)]
    assert [(held.content, held.again) for held in helds] == [(1, False)] * 2
    assert len(calls) == 1
    assert not remove(tmp_path / "a")
    helds.clear()
    assert remove(tmp_path / "a")


def test_a_damaged_folder_is_made_again_unless_another_has_it_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    other = read_and_hold(folder, "content", fill, read)
    (folder / "content").write_text("no number")
    with pytest.raises(
        CacheError, match=r"expected a whole folder .*a, found: invalid literal.* same command"
    ):
        read_and_hold(folder, "content", fill, read)
    del other
    again = read_and_hold(folder, "content", fill, read)
    assert (again.content, again.again) == (1, True)
    assert not remove(folder)


def test_a_folder_removed_before_it_is_held_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, removals = tmp_path / "a", [True, False]

    def hold_late(path: Path) -> Hold:
        if removals.pop(0):
            assert remove(path)
        return Hold(path)

    monkeypatch.setattr("headstart.system.lock.Hold", hold_late)
    held = read_and_hold(folder, "content", fill, read)
    assert (held.content, held.again, removals) == (1, False, [])
    assert not remove(folder)


def test_where_there_are_no_locks_a_folder_is_made_and_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle: int, kind: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("headstart.system.lock.fcntl.flock", no_locks)
    held = read_and_hold(tmp_path / "a", "content", fill, read)
    assert (held.content, held.hold, held.again) == (1, None, False)


def test_a_folder_that_cannot_be_made_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(
        CacheError,
        match=r"expected to write .*a, found: No space left on device, .* MB free. Make room .*"
        r"type: headstart cache prune --max-mb 1000\).*, or set HEADSTART_CACHE to another folder",
    ):
        read_and_hold(tmp_path / "a", "content", full, read)
    assert os.listdir(tmp_path) == []
