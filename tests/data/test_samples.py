"""Many images in a file: archives of samples (WebDataset) and Parquet, unpacked and streamed."""

import json
from pathlib import Path

import pytest
from packed import picture, samples, write_tar

from headstart.data.containers import read_parquet_images, read_tar
from headstart.data.dataset import load
from headstart.data.places import images_in
from headstart.data.samples import expand, is_sampled, read_classes
from headstart.data.source import stream_items
from headstart.errors import DatasetError


def stream(path: Path, **options: str) -> list[tuple[str, str, str | None, str | None]]:
    with path.open("rb") as file:
        return [(i.name, i.label, i.split, i.group) for i in read_tar(file, "t.tar", **options)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{08..10}.tar", ["a-08.tar", "a-09.tar", "a-10.tar"]),
        ("a-{8..10}.tar", ["a-8.tar", "a-9.tar", "a-10.tar"]),
        ("{b,c}-{0..1}.tar", ["b-0.tar", "b-1.tar", "c-0.tar", "c-1.tar"]),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


def test_what_is_an_archive_of_samples() -> None:
    assert is_sampled(["1.jpg", "1.cls"])
    assert is_sampled(["all/1.jpg", "all/1.json", "all/2.jpg", "all/2.json"])
    assert not is_sampled(["cats/1.jpg", "cats/1.txt", "dogs/1.jpg", "dogs/1.txt"])
    assert not is_sampled(["cats/1.jpg", "dogs/1.jpg"])
    assert not is_sampled(["1.jpg", "2.jpg", "2.txt"])
    assert not is_sampled([])


def test_one_archive(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", {"classes.txt": "ants\nbees\n", **samples(12)})
    dataset = load(path)
    assert dataset.classes == ("ants", "bees")
    labels = {item.name: item.label for item in dataset.items}
    assert labels["000003.png"] == "bees"
    assert labels == {name.removeprefix("t.tar/"): label for name, label, *_ in stream(path)}
    assert {i.content_hash for i in dataset.items} == {i.content_hash for i in images_in([path])}
    assert len(list(stream_items([path]))) == 12


@pytest.mark.parametrize("place", ["p-{000..001}.tar", "."])
def test_several_archives(tmp_path: Path, place: str) -> None:
    for part in range(2):
        write_tar(tmp_path / f"p-{part:03}.tar", samples(6, 6 * part))
    (tmp_path / "classes.json").write_text('{"ants": 0, "bees": 1}')
    dataset = load(tmp_path / place)
    names = {item.name: item.label for item in dataset.items}
    assert (names["p-000.tar/000000.png"], names["p-001.tar/000007.png"]) == ("ants", "bees")
    streamed = list(stream_items([tmp_path / place]))
    assert {item.content_hash for item in streamed} == {i.content_hash for i in dataset.items}
    assert {item.name for item in streamed} == {str(tmp_path / name) for name in names}


def test_splits_groups_and_several_classes(tmp_path: Path) -> None:
    def told(n: int) -> str:
        label = ["a", "b"] if n == 5 else "ab"[n % 2]
        return json.dumps({"label": label, "Patient": n // 2, "deep": {"x": 1}})

    for part, start in (("train", 0), ("val", 6)):
        write_tar(tmp_path / f"{part}-0.tar", {
            name: data for n in range(start, start + 6)
            for name, data in ((f"{n}.png", picture(n)), (f"{n}.json", told(n)))
        })  # fmt: skip
    dataset = load(tmp_path, groups="patient")
    assert dataset.task.multilabel
    assert {i.name: (i.label, i.split, i.group) for i in dataset.items} == {
        f"{part}-0.tar/{n}.png": ("a;b" if n == 5 else "ab"[n % 2], split, str(n // 2))
        for part, split, start in (("train", "train", 0), ("val", "validation", 6))
        for n in range(start, start + 6)
    }
    assert stream(tmp_path / "val-0.tar", groups="patient", split="validation")[0] == (
        "t.tar/6.png", "a", "validation", "3"
    )  # fmt: skip


def test_folders_text_and_what_has_no_label(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", {
        "cats/1.png": picture(1), "cats/1.txt": "a grey cat", "2.png": picture(2), "2.txt": "dogs",
        "3.png": picture(3), "4.png": picture(4), "4.cls": "-1", "5.png": picture(5),
        "5.mask.npy": "", "5.txt": "long " * 99, "__MACOSX/6.png": "", ".7.png": "",
    }, "w")  # fmt: skip
    assert [(name, label) for name, label, *_ in stream(path)] == [
        ("t.tar/cats/1.png", "cats"), ("t.tar/2.png", "dogs"), ("t.tar/3.png", ""),
        ("t.tar/4.png", ""), ("t.tar/5.png", ""),
    ]  # fmt: skip


def test_class_folders_keep_their_meaning(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", {
        f"{label}/{n}.{kind}": picture(n) if kind == "png" else "words"
        for n in range(8) for label in ("a", "b") for kind in ("png", "txt")
    })  # fmt: skip
    assert {item.name for item in load(path).items} == {
        f"{c}/{n}.png" for c in "ab" for n in range(8)
    }


def test_streams_take_what_is_packed_and_have_no_end_half_way(tmp_path: Path) -> None:
    packed = write_tar(tmp_path / "t.tar.gz", samples(4), "w:gz")
    assert len(stream(packed)) == 4
    data = write_tar(tmp_path / "t.tar", samples(4)).read_bytes()
    for end in (700, 1024, 1100, 2048):
        (tmp_path / "t.tar").write_bytes(data[:end])
        with pytest.raises(DatasetError, match=r"cannot read t\.tar: expected a whole tar archive"):
            stream(tmp_path / "t.tar")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"1.png": picture(1), "1.json": "{"}, "cannot read 1.json in t.tar"),
        ({"classes.json": "3", **samples(2)}, "expected names of classes in JSON"),
    ],
)
def test_what_cannot_be_understood(
    tmp_path: Path, members: dict[str, bytes | str], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        stream(write_tar(tmp_path / "t.tar", members))


def test_an_archive_that_is_missing(tmp_path: Path) -> None:
    write_tar(tmp_path / "p-0.tar", samples(2))
    with pytest.raises(DatasetError, match=r"expected 3 archives .*found no p-1\.tar"):
        load(tmp_path / "p-{0..2}.tar")


def test_names_of_classes() -> None:
    expected = {"0": "ants", "1": "bees"}
    assert read_classes(b"ants\nbees\n", "classes.txt") == expected
    for text in ('["ants", "bees"]', '{"0": "ants", "1": "bees"}', '{"ants": 0, "bees": 1}'):
        assert read_classes(text.encode(), "classes.json") == expected


def test_images_in_cells_are_streamed(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    cells = [{"bytes": picture(n), "path": "1.png" if n < 2 else None} for n in range(3)]
    rows = [{"image": one, "label": "a;b" if n else "a", "split": "test", "who": n}
            for n, one in enumerate([*cells, {"bytes": None, "path": "gone.png"}])]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    with pyarrow.OSFile(str(tmp_path / "t.parquet")) as file:
        items = list(read_parquet_images(file, "t.parquet", groups="Who"))
    assert [(i.name, i.labels, i.split, i.group) for i in items] == [
        ("t.parquet#1.png", ("a",), "test", "0"), ("t.parquet#2.png", ("a", "b"), "test", "1"),
        ("t.parquet#3.png", ("a", "b"), "test", "2"), ("t.parquet#4", ("a", "b"), "test", "3"),
    ]  # fmt: skip
    assert items[0].read() == picture(0)
    with pytest.raises(OSError, match=r"no image in row 4 of t\.parquet"):
        items[3].read()
