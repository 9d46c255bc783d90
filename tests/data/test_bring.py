"""What lies at addresses, brought into the cache folder for every command, and streamed."""

import json
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from buckets import Store
from packed import picture, samples, write_tar
from web import serve

import headstart
from headstart.data import address as addresses
from headstart.data import bring as module
from headstart.data.address import to_place
from headstart.data.bring import bring
from headstart.data.dataset import Dataset, list_items, load
from headstart.data.listing import stream_labelled
from headstart.data.places import images_in
from headstart.data.source import stream_items
from headstart.errors import DatasetError, StorageError
from headstart.runs import steps
from headstart.system.progress import Progress

pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is there from before, and no key is known."""
    monkeypatch.setattr(addresses, "_keys", {})
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was brought."""
    names: list[str] = []
    one = module._bring
    monkeypatch.setattr(
        module, "_bring", lambda entry, folder: (names.append(entry.name), one(entry, folder))[1]
    )
    return names


@pytest.fixture
def bucket(s3: Store) -> Iterator[str]:
    """A bucket of the test's own."""
    name = f"b{secrets.token_hex(8)}"
    s3.files.create_dir(name)
    yield name
    s3.files.delete_dir(name)


def labels(dataset: Dataset) -> dict[str, tuple[str, str | None]]:
    return {item.name: (item.label, item.split) for item in dataset.items}


def listed(source: str) -> dict[str, str]:
    """Labels as they are streamed."""
    return {item.name: item.label for item in stream_labelled(source, None, pytest.fail)}


def named(folder: Path) -> Path:
    """A photo under each name that makes trouble somewhere."""
    for number, name in enumerate(["a b.png", "50%.png", "c#1.png", "ü.png", "d?.png", "+&=.png"]):
        for label in ("red", "blue"):
            source = sorted((folder / label).glob("[0-9]*"))[number]
            shutil.copy(source, folder / label / name)
    return folder


def test_a_store_is_trained_on_as_a_folder_is(
    tiny: Path, s3: Store, bucket: str, tmp_path: Path, counted: list[str]
) -> None:
    photos = named(Path(shutil.copytree(tiny, tmp_path / "photos")))
    (photos / "red" / "empty.png").touch()
    s3.put(photos, f"{bucket}/all")
    s3.put(b"", f"{bucket}/all/green/")  # a folder, as some programs make it
    s3.put(b"", f"{bucket}/all/.hidden/1.png")
    source = s3.address(f"{bucket}/all")
    there, here = load(source), load(photos)
    assert labels(there) == labels(here)
    assert there.fingerprint() == here.fingerprint()
    assert len(counted) == 61
    assert load(source).fingerprint() == here.fingerprint()
    assert len(counted) == 61  # nothing is brought again
    s3.put((photos / "red" / "0.jpg").read_bytes() + b"more", f"{bucket}/all/red/0.jpg")
    s3.files.delete_file(f"{bucket}/all/blue/1.png")
    load(source)
    assert counted[61:] == ["red/0.jpg"]  # what has changed
    assert len(list_items(source)) == 60
    assert len(images_in([source])) == 60
    assert {item.name for item in stream_items([source])} == {i.name for i in images_in([source])}
    assert images_in([source])[0].name.startswith(f"s3://{bucket}/all/blue/")


def test_splits_groups_decisions_and_many_names(
    tiny: Path, s3: Store, bucket: str, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for split, start in (("train", 0), ("val", 24)):
        for path in tiny.rglob("*.*"):
            if start <= int(path.stem) < start + 24:
                (photos / split / path.parent.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, photos / split / path.parent.name)
    (photos / "headstart-decisions.csv").write_text(
        "path,decision,label\ntrain/red/0.jpg,relabel,blue\ntrain/red/2.png,drop,\n"
    )
    s3.put(photos, f"{bucket}/all")
    source = s3.address(f"{bucket}/all")
    assert labels(load(source)) == labels(load(photos))
    items = load(s3.address(f"{bucket}/all/train"), groups=r"(\d)\.").items
    assert {item.group for item in items} == {str(n) for n in range(10)}


def test_a_listing_of_thousands(s3: Store, bucket: str, tmp_path: Path) -> None:
    places = [f"{'ab'[n % 2]}/{n}.jpg" for n in range(1100)]
    for place in places:
        folder = tmp_path / place
        folder.parent.mkdir(exist_ok=True)
        folder.write_bytes(b"x")
    s3.put(tmp_path, f"{bucket}/all")
    names = {item.name for item in stream_items([s3.address(f"{bucket}/all")])}
    assert names == {f"s3://{bucket}/all/{place}" for place in places}


def test_what_is_gone_is_told(
    tiny: Path, s3: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(tiny, f"{bucket}/all")
    source = s3.address(f"{bucket}/all")
    listed = module.list_files(source)
    s3.files.delete_file(f"{bucket}/all/red/0.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(module, "list_files", lambda address: listed)
        warnings = load(source).warnings
    assert warnings == (
        f"1 files at s3://{bucket}/all are gone, or have names that no file here can have, and are "
        "left out: red/0.jpg",
    )
    s3.put(b"short", f"{bucket}/all/red/0.jpg")
    s3.files.delete_file(f"{bucket}/all/red/2.png")
    with monkeypatch.context() as patch:
        patch.setattr(module, "list_files", lambda address: listed)
        patch.setattr(module, "_link_known", lambda *arguments: None)
        shutil.rmtree(module.cache_folder() / "archives")
        with pytest.raises(DatasetError, match=r"of s3://.*/red/0\.jpg, found 5: it has changed"):
            load(source)
    assert not list(module.cache_folder().glob("archives/*/content"))  # never half


def test_a_bringing_that_was_stopped_is_gone_on_with(
    tiny: Path, s3: Store, bucket: str, monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    s3.put(tiny, f"{bucket}/all")
    source, one = s3.address(f"{bucket}/all"), module._bring

    def stop(entry: module.Entry, folder: Path) -> tuple[module.Entry, bool]:
        if len(counted) > 30:
            raise KeyboardInterrupt
        return one(entry, folder)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_bring", stop)
        with pytest.raises(KeyboardInterrupt):
            load(source)
    before = len(counted)
    assert not list(module.cache_folder().glob("archives/*/content"))
    assert len(load(source).items) == 48
    assert len(counted) < 48 + 2 * module.READERS
    assert before > 20
    assert not list(module.cache_folder().glob("archives/.*"))


def test_a_public_bucket(
    tiny: Path, s3: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=f"http://{s3.host}", region_name="us-east-1")
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    for name in ("red/0.jpg", "blue/1.png"):
        data = (tiny / name).read_bytes()
        client.put_object(Bucket=bucket, Key=f"all/{name}", Body=data, ACL="public-read")
    source = s3.address(f"{bucket}/all")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "wrong")
    items = load(source.replace("s3://", "s3://anonymous@"), split=False).items
    assert sorted(item.name for item in items) == ["blue/1.png", "red/0.jpg"]
    with pytest.raises(DatasetError, match=r"expected an address of s3, .*odd"):
        load(source.replace("s3://", "s3://anonymous@") + "&odd=1")


def test_names_that_no_file_can_have() -> None:
    long = f"a/{300 * 'x'}"
    wanted = ["a/1.jpg", "a/2.jpg/3.jpg", "headstart-decisions.csv"]
    odd = ["/c.jpg", "a/2.jpg", "a//d.jpg", long]
    passed_over = ["../b.jpg", "a/notes.txt", ".git/4.jpg", "t.parquet"]
    entries = [
        module.Entry(name, f"s3://b/{name}", 1, "") for name in [*wanted, *odd, *passed_over]
    ]
    chosen, left_out = module._choose(entries)
    assert [entry.name for entry in chosen] == wanted
    assert sorted(left_out) == sorted(odd)
    chosen, _ = module._choose([*entries[-3:-2], *entries[-1:]])
    assert [entry.name for entry in chosen] == ["t.parquet"]


def test_two_at_once(tiny: Path, s3: Store, bucket: str, own_cache_folder: Path) -> None:
    s3.put(tiny, f"{bucket}/all")
    source = s3.address(f"{bucket}/all")
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(load, [source, source]))
    assert [len(one.items) for one in found] == [48, 48]
    assert all(item.path.is_file() for one in found for item in one.items)
    assert len(list((own_cache_folder / "archives").iterdir())) == 1


def test_no_room(tiny: Path, s3: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put(tiny, f"{bucket}/all")
    monkeypatch.setattr(module, "SPARE", 2**60)
    with pytest.raises(DatasetError, match=r"expected room for 0\.0 GB in .*, found 0\.0 GB\."):
        load(s3.address(f"{bucket}/all"))


def test_archives_and_tables_at_an_address(
    tiny: Path, s3: Store, bucket: str, tmp_path: Path
) -> None:
    here = labels(load(tiny))
    for kind in ("zip", "tar"):
        shutil.make_archive(str(tmp_path / "all"), kind, tiny)
        s3.put(tmp_path / f"all.{kind}", f"{bucket}/all.{kind}")
        source = s3.address(f"{bucket}/all.{kind}")
        assert labels(load(source)) == here
        assert len(list(stream_items([source]))) == 48
    s3.put(tiny, f"{bucket}/all")
    rows = [f"all/{path.parent.name}/{path.name},{path.parent.name}" for path in tiny.rglob("*.*")]
    s3.put("\n".join(["path,label", *rows]).encode(), f"{bucket}/rows.csv")
    table = load(s3.address(f"{bucket}/rows.csv"))
    assert {name.removeprefix("all/"): told for name, told in labels(table).items()} == here
    assert len(listed(s3.address(f"{bucket}/rows.csv"))) == 48
    s3.put("\n".join(row.partition(",")[0] for row in rows).encode(), f"{bucket}/rows.txt")
    for name in ("rows.csv", "rows.txt"):
        items = list(stream_items([s3.address(f"{bucket}/{name}")]))
        assert len({item.bring().content_hash for item in items}) == 48
    for part in range(2):
        write_tar(tmp_path / "t.tar", samples(6, 6 * part))
        s3.put(tmp_path / "t.tar", f"{bucket}/samples/p-{part}.tar")
    s3.put(b"ants\nbees\n", f"{bucket}/samples/classes.txt")
    for place in ("samples/p-{0..1}.tar", "samples", "samples/p-1.tar"):
        source = s3.address(f"{bucket}/{place}")
        assert load(source).classes == ("ants", "bees")
        assert listed(source) == {name: label for name, (label, _) in labels(load(source)).items()}
        if place.endswith("1.tar"):
            break
        assert {item.name for item in stream_items([source])} == {
            f"s3://{bucket}/samples/p-{n // 6}.tar/{n:06}.png" for n in range(12)
        }


def test_images_in_cells_at_an_address(s3: Store, bucket: str, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"image": {"bytes": picture(n), "path": f"{n}.png"}, "label": ("ant", "bee")[n % 2]}
            for n in range(8)]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    s3.put(tmp_path / "t.parquet", f"{bucket}/t.parquet")
    source = s3.address(f"{bucket}/t.parquet")
    assert labels(load(source)) == labels(load(tmp_path / "t.parquet"))
    assert listed(source) == {f"t.parquet#{n}.png": ("ant", "bee")[n % 2] for n in range(8)}
    streamed = list(stream_items([source]))
    assert streamed[0].name == f"s3://{bucket}/t.parquet#0.png"
    assert [item.label for item in streamed][:2] == ["ant", "bee"]


def test_lists_of_web_addresses(tiny: Path, tmp_path: Path, counted: list[str]) -> None:
    local = tmp_path / "here.png"
    shutil.copy(tiny / "blue" / "1.png", local)
    with serve(tiny) as (web, _):
        rows = [f"{web}/moved/{p.parent.name}/{p.name}?key=secret,{p.parent.name}"
                for p in tiny.rglob("*.*")]  # fmt: skip
        table, gone = tmp_path / "t.csv", f"{web}/red/gone.jpg,red"
        table.write_text("\n".join(["path,label", *rows, "here.png,blue", gone]))
        dataset = load(table)
        assert len(dataset.items) == 49
        assert dataset.warnings[0] == (f"1 images are not at their addresses: {web}/red/gone.jpg")
        brought = len(counted)
        load(table)
        assert len(counted) == brought
        items = list(stream_items([table]))
        assert [item.name for item in items[-2:]] == ["here.png", f"{web}/red/gone.jpg"]
        with pytest.raises(OSError, match="no such image"):
            items[-1].bring().read()
        (tiny_rows := tmp_path / "rows").mkdir()
        table.write_text("\n".join(["path,label", *rows]))
        shutil.move(table, tiny_rows / "shy.csv")
        with serve(tiny_rows) as (other, _):
            assert len(load(f"{other}/shy.csv?key=secret").items) == 48
            assert len(list(stream_items([f"{other}/shy.csv?key=secret"]))) == 48
        (single,) = stream_items([f"{web}/red/0.jpg?key=secret"])
        assert (single.name, single.bring().read()) == (
            f"{web}/red/0.jpg", (tiny / "red" / "0.jpg").read_bytes()
        )  # fmt: skip
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix != ".csv":
            assert b"secret" not in path.read_bytes(), path


def test_what_a_web_server_refuses(tiny: Path) -> None:
    with serve(tiny) as (web, _):
        for source, message in (
            (f"{web}/all.zip?key=secret", r"Type: headstart fetch http://[^?]*all\.zip$"),
            (f"{web}/none.csv", r"found: no such file. Check"),
            (f"{web}/busy.csv", "found: HTTP Error 503"),
        ):
            with pytest.raises(DatasetError, match=message) as caught:
                bring(addresses.put_keys_away(source), Progress())
            assert "secret" not in str(caught.value)
        with pytest.raises(DatasetError, match=r"short\.csv, found: 989 bytes less"):
            bring(f"{web}/short.csv", Progress())
        (item,) = stream_items([f"{web}/short.jpg"])
        with pytest.raises(StorageError, match=r"short\.jpg, found: 989 bytes less"):
            item.bring()
        (item,) = stream_items([f"{web}/a photo, größer.jpg"])
        with pytest.raises(OSError, match="no such image"):
            item.bring().read()
        with pytest.raises(StorageError, match=r"busy\.tar, found: HTTP Error 503"):
            list(stream_items([f"{web}/busy.tar"]))


def test_a_run_on_an_address(
    tiny: Path, s3: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(tiny, f"{bucket}/all")
    source = s3.address(f"{bucket}/all").replace("s3://", "s3://testing:secret@")
    choices = {"cut": "block2b_add", "size": 64, "precision": "f32"}
    monkeypatch.chdir(tmp_path)
    run = headstart.train(source, progress=False, **choices)
    assert run.folder.name == "all-1"
    assert json.loads((run.folder / "run.json").read_text())["source"] == (
        s3.address(f"{bucket}/all")
    )
    assert headstart.evaluate(run, source)["all"].n == 48
    assert run.source == headstart.data.given.settle(source).resolve()
    s3.files.delete_file(f"{bucket}/all/red/0.jpg")
    again = headstart.train(source, progress=False, **choices)
    assert "1 gone" in again.record["before"]["changes"]
    for path in tmp_path.rglob("*"):
        assert "secret" not in str(path)
        if path.is_file():
            assert b"secret" not in path.read_bytes(), path


def test_a_training_on_addresses_is_gone_on_with(
    tiny: Path, s3: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("red", "blue"):
        s3.put(tiny / label, f"{bucket}/all/{label}")
        s3.put(sorted((tiny / label).iterdir())[0], f"{bucket}/held/{label}/1.png")
    source, held = s3.address(f"{bucket}/all"), s3.address(f"{bucket}/held")
    choices = {"cut": "block2b_add", "size": 64, "precision": "f32"}
    with monkeypatch.context() as patch:
        patch.setattr(steps, "train_head", lambda *arguments, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            headstart.train(source, test=held, out=tmp_path / "run", progress=False, **choices)
    run = headstart.resume(tmp_path / "run", progress=False)
    assert run.record["source"] == source
    assert run.record["images"]["test"] == 2
    assert run.classifier.predict(f"{source.replace('/all', '/all/red/0.jpg')}").label == "red"
    assert len(run.classifier.predict(held)) == 2


def test_an_address_is_shown_as_one() -> None:
    assert str(to_place("s3://bucket/a b")) == "s3://bucket/a b"
    with pytest.raises(DatasetError, match=r"begins with s3, .*, found ftp://host/photos\."):
        load("ftp://host/photos")
