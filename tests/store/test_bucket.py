"""Features in a store on a network: written there, gone on with, trained on there."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from buckets import Store

import headstart
from headstart.data.given import settle
from headstart.errors import StorageError
from headstart.store.folder import Bucket, open_folder
from headstart.store.job import write_features
from headstart.store.store import find_store

EARLY = {"cut": "block2b_add", "size": 64, "precision": "f32"}


def test_from_a_bucket_into_a_bucket(tiny: Path, s3: Store, tmp_path: Path) -> None:
    s3.put(tiny, "photos-of-store/all")
    source = s3.address("photos-of-store/all")
    to = s3.address("photos-of-store/features")
    done = write_features(source, to, progress=False, **EARLY)  # type: ignore[arg-type]
    assert (done.images, done.computed, done.bad) == (48, 48, ())
    again = write_features(source, to, progress=False, **EARLY)  # type: ignore[arg-type]
    assert (again.images, again.computed) == (48, 0)
    run = headstart.train(to, out=tmp_path / "run")
    here = headstart.train(tiny, out=tmp_path / "here", **EARLY)  # type: ignore[arg-type]
    head = "classifier/head.safetensors"
    assert (run.folder / head).read_bytes() == (here.folder / head).read_bytes()
    told = b"".join(path.read_bytes() for path in run.folder.rglob("*.*") if path.is_file())
    assert b"secret" not in told


def test_the_files_of_a_bucket(s3: Store) -> None:
    s3.put(b"", "files/x")
    folder = open_folder(s3.address("files/a/b"))
    assert isinstance(folder, Bucket)
    folder.make()
    assert folder.names() == []
    folder.write("1.parquet", b"one")
    assert folder.has("1.parquet")
    assert not folder.has("2.parquet")
    folder.move("1.parquet", "_stale-1.parquet")
    assert folder.names() == ["_stale-1.parquet"]
    assert open_folder(s3.address("files/a")).folders()[0].name == "b"
    folder.remove("_stale-1.parquet")
    assert folder.names() == []


class Unreachable:
    """A file system whose store nobody answers for."""

    def create_dir(self, path: str) -> None:
        raise OSError(111, "nobody answers\nat all")


def test_no_store_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "headstart.store.folder.open_address", lambda address: (Unreachable(), "nowhere/f")
    )
    with pytest.raises(StorageError, match=r"make s3://nowhere/f, found: .*nobody") as caught:
        write_features(tmp_path, "s3://me:secret@nowhere/f", progress=False)
    assert "secret" not in str(caught.value)


def test_images_are_no_features(tiny: Path) -> None:
    assert find_store(settle(tiny.as_uri())) is None


def test_the_next_command_says_where_the_bucket_is(tiny: Path, s3: Store) -> None:
    s3.put(tiny, "next-command/photos")
    to = s3.address("next-command/features")
    told = subprocess.run(
        [sys.executable, "-m", "headstart", "features", s3.address("next-command/photos"), "--to",
         to, "--cut", "block2b_add", "--size", "64"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "400"},
    ).stdout  # fmt: skip
    command = shlex.split(told.partition("Next: ")[2])
    assert command[:2] == ["headstart", "train"]
    store = find_store(settle(command[2]))  # as it stands there it is found
    assert store is not None
    assert len(store.files) == 1
