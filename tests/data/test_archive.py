"""Archives are unpacked once, safely, beside a note of where they come from."""

import errno
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from headstart.data.archive import unpack
from headstart.errors import CacheError, DatasetError


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("lock", "a file of the user's own")
        file.writestr("a/1.jpg", bytes(3000))
    return tmp_path / "photos.zip"


def test_the_files_lie_apart_from_what_we_keep_of_the_archive(archive: Path) -> None:
    unpacked = unpack(archive)
    folder = unpacked.folder
    assert unpacked.hold is not None
    assert sorted(path.name for path in folder.iterdir()) == ["a", "lock"]
    assert (folder / "lock").read_text() == "a file of the user's own"
    note = json.loads((folder.parent / "archive.json").read_text())
    assert (note["source"], note["left_out"]) == (str(archive), [])
    assert (note["files"], note["bytes"]) == (2, 3000 + len("a file of the user's own"))


def test_it_is_unpacked_once(archive: Path) -> None:
    folder = unpack(archive).folder
    (folder / "a" / "1.jpg").write_bytes(b"touched".ljust(3000))
    assert unpack(archive).folder == folder
    assert (folder / "a" / "1.jpg").read_bytes().startswith(b"touched")


@pytest.mark.parametrize("harm", ["gone", "cut", "more", "note"])
def test_what_was_unpacked_and_is_no_longer_whole_is_unpacked_again(
    archive: Path, harm: str
) -> None:
    folder = unpack(archive).folder
    photo = folder / "a" / "1.jpg"
    if harm == "gone":
        photo.unlink()
    elif harm == "note":
        (folder.parent / "archive.json").write_text("{}")
    else:
        (photo if harm == "cut" else folder / "a" / "2.jpg").write_bytes(b"1")
    again = unpack(archive)
    assert (again.folder, again.again) == (folder, True)
    assert photo.read_bytes() == bytes(3000)
    assert unpack(archive).again is False


def test_a_member_too_large_for_an_image(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.data.archive.MOST_FILE", 2999)
    with pytest.raises(
        DatasetError,
        match=r"cannot unpack .*a/1.jpg has 3,000 bytes, at most 2,999 are taken. "
        "Unpack it by hand and give the folder",
    ):
        unpack(archive)
    assert list(archive.parent.glob("cache/archives/*")) == []


def test_an_archive_that_would_fill_the_disk(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 2000})
    monkeypatch.setattr("headstart.data.archive.shutil.disk_usage", lambda _: usage)
    with pytest.raises(
        DatasetError,
        match=r"a/1.jpg would not fit, with at most 976 bytes left .*disk's room.*type: "
        "headstart cache prune --max-mb 1000. Unpack it by hand",
    ):
        unpack(archive)


def _tar(path: Path, count: int = 4) -> dict[str, bytes]:
    """An archive of small photos of two classes; what is in it."""
    photos = {f"{'ab'[n % 2]}/{n}.jpg": bytes([n]) * (300 + n) for n in range(count)}
    mode = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:
        for name, content in photos.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return photos


def _read(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_an_archive_with_a_damaged_byte_loses_nothing_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    path = tmp_path / f"photos.{kind}"
    if kind == "zip":
        photos = {f"{'ab'[n % 2]}/{n}.jpg": bytes([n]) * (300 + n) for n in range(4)}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in photos.items():
                archive.writestr(name, content)
    else:
        photos = _tar(path)
    whole = path.read_bytes()
    assert _read(unpack(path).folder) == photos
    refused = 0
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        os.utime(path, ns=(place, place))  # another archive, whatever the clock says
        try:
            found = _read(unpack(path).folder)
        except DatasetError:
            refused += 1
            continue
        if kind == "tar":  # it has no checksums of the photos themselves, only of their names
            assert {len(content) for content in found.values()} == set(map(len, photos.values()))
        else:
            assert found == photos
    assert refused >= 10


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_that_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, share: float
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    path = tmp_path / f"photos.{kind}"
    _tar(path, 30)
    whole = path.read_bytes()
    end = int(len(whole) * share) // 512 * 512 if kind == "tar" else int(len(whole) * share)
    path.write_bytes(whole[:end] if share < 0.9 or kind != "tar" else whole.rstrip(b"\0"))
    with pytest.raises(DatasetError, match=r"cannot unpack .* Unpack it by hand"):
        unpack(path)
    assert list((tmp_path / "cache" / "archives").iterdir()) == []


def test_archives_that_were_joined_are_not_read_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    _tar(tmp_path / "photos.tar")
    twice = (tmp_path / "photos.tar").read_bytes() * 2
    (tmp_path / "photos.tar").write_bytes(twice)
    with pytest.raises(DatasetError, match="more behind its end"):
        unpack(tmp_path / "photos.tar")


def test_links_within_an_archive_are_files_and_others_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("a/1.jpg")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"one"))
        for name, kind, target in [
            ("b/hard.jpg", tarfile.LNKTYPE, "a/1.jpg"),
            ("b/soft.jpg", tarfile.SYMTYPE, "../a/1.jpg"),
            ("b/outside.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("b/above.jpg", tarfile.SYMTYPE, "../../../../../etc/passwd"),
            ("b/pipe", tarfile.FIFOTYPE, ""),
            ("../c.jpg", tarfile.REGTYPE, ""),
        ]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
    unpacked = unpack(tmp_path / "photos.tar.gz")
    assert _read(unpacked.folder) == dict.fromkeys(["a/1.jpg", "b/hard.jpg", "b/soft.jpg"], b"one")
    assert set(unpacked.left_out) == {"b/outside.jpg", "b/above.jpg", "b/pipe", "../c.jpg"}
    assert not any(path.is_symlink() for path in unpacked.folder.rglob("*"))
    assert unpack(tmp_path / "photos.tar.gz").left_out == unpacked.left_out


def test_a_full_disk_is_not_called_a_damaged_archive(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zipfile.ZipFile.extract", full)
    with pytest.raises(CacheError, match=r"expected to write .*archives.*, found: No space left"):
        unpack(archive)
    assert list(archive.parent.glob("cache/archives/*")) == []
