"""Images on a network: listed by class folders, brought here, what is missing told apart from what
cannot be reached.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from buckets import Store
from web import serve

from headstart.data import remote
from headstart.data.dataset import list_items
from headstart.data.listing import stream_labelled
from headstart.data.remote import list_addresses, open_address, stream_store
from headstart.errors import DatasetError, StorageError
from headstart.store.job import write_features

pytest.importorskip("pyarrow")
EARLY = {"cut": "block2b_add", "size": 64, "precision": "f32"}


@pytest.fixture
def web(tiny: Path) -> Iterator[str]:
    with serve(tiny) as (address, _):
        yield address


def table(folder: Path, rows: list[str]) -> Path:
    path = folder / "photos.csv"
    path.write_text("\n".join(["path,label", *rows]))
    return path


def test_a_store_is_listed_as_a_folder_is(tiny: Path, tmp_path: Path) -> None:
    (photos := Path(shutil.copytree(tiny, tmp_path / "photos"))).joinpath(".hidden").mkdir()
    (photos / ".hidden" / "1.jpg").touch()
    (photos / "red" / "notes.txt").touch()
    (photos / "loose.jpg").touch()
    items = list(stream_store(photos.as_uri()))
    here = {item.name: item.labels for item in list_items(photos)}
    assert {item.name: item.labels for item in items} == here
    shutil.move(photos / "red", photos / "train" / "red")
    shutil.move(photos / "blue", photos / "val" / "blue")
    items = list(stream_store(photos.as_uri()))
    sides = {item.name: (item.labels, item.split) for item in list_items(photos)}
    assert {item.name: (item.labels, item.split) for item in items} == sides


def test_features_of_a_store_are_those_of_the_folder(tiny: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for source, to in ((tiny, "here"), (tiny.as_uri(), "there")):
        done = write_features(source, tmp_path / to, cache=False, progress=False, **EARLY)
        assert (done.computed, done.bad) == (48, ())
        again = write_features(source, tmp_path / to, cache=False, progress=False, **EARLY)
        assert (again.computed, again.images) == (0, 48)
    here, there = (pq.read_table(tmp_path / to).sort_by("name").replace_schema_metadata()
                   for to in ("here", "there"))  # fmt: skip
    assert here.equals(there)


def test_a_table_of_addresses(web: str, tiny: Path, tmp_path: Path) -> None:
    rows = [f"{web}/{p.parent.name}/{p.name}?key=secret,{p.parent.name}" for p in tiny.rglob("*.*")]
    source = table(tmp_path, [*rows, f"{web}/red/gone.jpg,red"])
    done = write_features(source, tmp_path / "f", cache=False, progress=False, **EARLY)
    assert done.computed == 48
    assert [name for name, _ in done.bad] == [f"{web}/red/gone.jpg"]
    for path in (tmp_path / "f").iterdir():
        assert b"secret" not in path.read_bytes()


def test_a_store_that_cannot_be_reached_ends_the_job(web: str, tmp_path: Path) -> None:
    source = table(tmp_path, [f"{web}/busy/{n}.jpg?key=secret,{'ab'[n % 2]}" for n in range(4)])
    with pytest.raises(StorageError, match=r"busy/\d\.jpg, found: .*503.* type the same command"):
        write_features(source, tmp_path / "f", cache=False, progress=False, **EARLY)


def test_a_table_of_places_here_is_none_of_these(tiny: Path, tmp_path: Path) -> None:
    assert list_addresses(table(tmp_path, ["red/0.jpg,red"]), None) is None
    assert list_addresses(tiny, None) is None


@pytest.mark.parametrize("address", ["ftp://host/photos", "https://host/photos"])
def test_addresses_of_no_store(address: str) -> None:
    with pytest.raises(DatasetError, match="an address that begins with s3, gs, "):
        list(stream_store(address))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected to list file:"):
        list(stream_store((tmp_path / "nowhere").as_uri()))
    with pytest.raises(DatasetError, match="expected images below"):
        list(stream_labelled(tmp_path.as_uri(), None, pytest.fail))


def test_s3(tiny: Path, tmp_path: Path, s3: Store) -> None:
    s3.put(tiny, "photos/all")
    done = write_features(s3.address("photos/all"), tmp_path / "f", cache=False, progress=False,
                          **EARLY)  # fmt: skip
    assert (done.computed, done.bad) == (48, ())


@pytest.mark.parametrize(
    ("address", "store", "path"),
    [
        ("s3://ID:key@bucket/a/b?region=x", "s3://ID:key@bucket?region=x", "bucket/a/b"),
        ("gs://bucket/a", "gs://bucket", "bucket/a"),
        ("az://photos/a", "abfs://me@photos", "photos/a"),
        ("az://you@photos/a", "abfs://you@photos", "photos/a"),
        ("abfs://photos@me.dfs.core.windows.net/a", "abfs://photos@me.dfs.core.windows.net",
         "photos/a"),
        ("file:///tmp/a b", "file:///", "/tmp/a b"),
    ],
)  # fmt: skip
def test_the_store_of_an_address_and_the_path_in_it(
    address: str, store: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_open_store", lambda bucket, query: bucket + query)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "me")
    assert open_address(address) == (store, path)


def test_pyarrow_takes_these() -> None:
    for address in ("az://me@photos/a", "abfs://photos@me.dfs.core.windows.net/a", "gs://bucket/a"):
        files, path = open_address(address)
        assert path in ("photos/a", "bucket/a")
        assert files.type_name in ("abfs", "gcs")


@pytest.mark.parametrize("address", ["http://[", "http://[::1", "http://host:port/a.jpg"])
def test_what_is_no_address_is_an_image_that_cannot_be_used(address: str, tmp_path: Path) -> None:
    from headstart.data.elsewhere import list_files
    from headstart.data.remote import ELSEWHERE, Remote

    with pytest.raises(DatasetError, match="expected a file at http://"):
        list_files(address)
    with pytest.raises((FileNotFoundError, StorageError)):
        Remote(ELSEWHERE, "a.jpg", address=address).read()
