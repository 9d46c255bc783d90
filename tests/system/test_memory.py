"""Large arrays in a file: room is claimed first, memory let go of after use, numbers stay."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart.errors import StorageError
from headstart.system.memory import allocate_in_file, iterate_blocks, release, take_rows


def test_an_array_in_a_file_holds_what_is_written(tmp_path: Path) -> None:
    values = allocate_in_file(tmp_path / "new", (1000, 3, 7))
    assert (values.shape, values.dtype, os.listdir(tmp_path / "new")) == (
        (1000, 3, 7), np.float32, [],
    )  # fmt: skip
    assert not values.any()
    expected = np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
    values[:] = expected
    for part in (values, values[1:], values[17:400, 1], values.reshape(3000, 7)[::-1], values[:0]):
        release(part)
        assert np.array_equal(values, expected)


def test_blocks_are_all_rows_in_turn(tmp_path: Path) -> None:
    for values in (np.arange(14.0).reshape(7, 2), allocate_in_file(tmp_path, (7, 2))):
        values[:] = np.arange(14).reshape(7, 2)
        rows, blocks = zip(*iterate_blocks(values, 3), strict=True)
        assert rows == (slice(0, 3), slice(3, 6), slice(6, 7))
        assert np.concatenate(blocks).tolist() == values.tolist()
    assert list(iterate_blocks(values[:0], 3)) == []


def test_some_rows_are_copied(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).permutation(1000)[:200]
    for values in (np.zeros((1000, 7), np.float32), allocate_in_file(tmp_path, (1000, 7))):
        values[:] = np.random.default_rng(1).normal(size=values.shape)
        assert np.array_equal(take_rows(values, rows), values[rows])
        assert np.array_equal(take_rows(values[::2, 2:5], rows // 2), values[::2, 2:5][rows // 2])


def test_memory_is_let_go_of(tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    values, before = allocate_in_file(tmp_path, (20_000, 1000)), resident()
    most = 0
    for _, block in iterate_blocks(values, 500):
        block[:] = 1
        most = max(most, resident())
    assert most - before < 20 * 2**20, "a quarter of the 80 MB"
    assert values[12_345, 678] == 1


def test_a_disk_without_room_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"\(at least 400\.0 MB\), found: No space left on dev"):
        allocate_in_file(tmp_path, (100_000, 1000))


def test_a_system_that_cannot_claim_room_writes_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    values = allocate_in_file(tmp_path, (2000, 1000))
    assert not values.any()
    values[1999, 999] = 1


def test_a_real_disk_that_is_full_ends_no_process(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs root")
    code = f"""
from pathlib import Path
from headstart.errors import StorageError
from headstart.system.memory import allocate_in_file
try:
    allocate_in_file(Path({str(tmp_path)!r}), (3000, 1000))[:] = 1
except StorageError as error:
    print(error)
"""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stdout
