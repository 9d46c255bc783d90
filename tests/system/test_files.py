"""Only regular files are read, never without a limit, and nobody waits for them."""

import os
import socket
from pathlib import Path

import pytest

from headstart.system.files import Unreadable, digest_regular, read_regular


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content" * 500_000)
    assert read_regular(tmp_path / "a", 2**22) == b"content" * 500_000
    parts: list[bytes] = []
    digest_regular(tmp_path / "a", 2**22, parts.append)
    assert b"".join(parts) == b"content" * 500_000
    assert len(parts) > 1


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2**21 + 1))
    with pytest.raises(Unreadable, match="larger than 2 MB"):
        read_regular(tmp_path / "a", 2**21)
    assert len(read_regular(tmp_path / "a", 2**21 + 1)) == 2**21 + 1


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="needs /proc")
def test_a_file_without_a_size_has_a_limit_too() -> None:
    whole = read_regular(Path("/proc/self/environ"), 2**20)
    assert whole
    with pytest.raises(Unreadable, match="larger than 0 MB"):
        read_regular(Path("/proc/self/environ"), len(whole) - 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_regular_file_is_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name, kind in [
            ("pipe", "a named pipe"), ("zeros", "a device"), ("folder", "a folder"),
        ]:  # fmt: skip
            with pytest.raises(Unreadable, match=f"not a regular file but {kind}"):
                read_regular(tmp_path / name, 100)
        with pytest.raises(OSError, match="No such device"):
            read_regular(tmp_path / "socket", 100)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing", 100)


def test_a_zero_in_a_name_is_an_error_like_another(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="not the name of a file"):
        read_regular(tmp_path / "a\0b", 10)
