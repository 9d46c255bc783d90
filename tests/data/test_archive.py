"""Archives are unpacked once, safely, beside a note of where they come from."""

import json
import zipfile
from pathlib import Path

import pytest

from headstart.data.archive import unpack
from headstart.errors import DatasetError


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("lock", "a file of the user's own")
        file.writestr("a/1.jpg", bytes(3000))
    return tmp_path / "photos.zip"


def test_the_files_lie_apart_from_what_we_keep_of_the_archive(archive: Path) -> None:
    folder, hold = unpack(archive)
    assert hold is not None
    assert sorted(path.name for path in folder.iterdir()) == ["a", "lock"]
    assert (folder / "lock").read_text() == "a file of the user's own"
    note = json.loads((folder.parent / "archive.json").read_text())
    assert note == {"source": str(archive)}


def test_it_is_unpacked_once(archive: Path) -> None:
    folder, _ = unpack(archive)
    (folder / "a" / "1.jpg").write_text("touched")
    assert unpack(archive)[0] == folder
    assert (folder / "a" / "1.jpg").read_text() == "touched"


def test_a_member_too_large_for_an_image(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.data.archive.MOST_BYTES", 2999)
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
