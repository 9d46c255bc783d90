"""Folders, tables and archives become datasets; splits depend on content alone."""

import json
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.data.dataset import Dataset, load
from headstart.data.item import Item, content_hash, natural_key
from headstart.data.places import images_in
from headstart.errors import DatasetError


def fill(folder: Path, layout: dict[str, int], start: int = 0) -> Path:
    """`layout` says how many files each subfolder gets, every file of other content."""
    number = start
    for name, count in layout.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (folder / name / f"{index}.jpg").write_bytes(f"image {name} {number}".encode())
            number += 1
    return folder


def sides(dataset: Dataset) -> dict[bytes, str | None]:
    return {item.content_hash: item.split for item in dataset.items}


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    dataset = load(fill(tmp_path, {"10": 30, "2": 30, "é": 30}))
    assert dataset.classes == ("2", "10", "é")
    counts = dataset.counts()
    both = {name: counts["train"][name] + counts["validation"][name] for name in counts["train"]}
    assert both == {"2": 30, "10": 30, "é": 30}
    assert 6 <= sum(counts["validation"].values()) <= 32


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "Val"])
def test_given_splits_are_recognised(tmp_path: Path, validation: str) -> None:
    fill(tmp_path, {"train/a": 3, "train/b": 4, f"{validation}/a": 2, f"{validation}/b": 1})
    fill(tmp_path, {"test/a": 2, "test/b": 2}, start=100)
    dataset = load(tmp_path)
    assert dataset.counts() == {
        "train": {"a": 3, "b": 4}, "validation": {"a": 2, "b": 1}, "test": {"a": 2, "b": 2}
    }  # fmt: skip


def test_a_wrapping_folder_is_stepped_into(tmp_path: Path) -> None:
    fill(tmp_path / "download" / "photos", {"a": 3, "b": 3})
    assert load(tmp_path).classes == ("a", "b")


def test_nested_folders_belong_to_their_class(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 2, "a/more": 2, "b": 3})
    assert len(load(tmp_path).items) == 7


def test_clutter_is_passed_over_but_broken_images_are_not(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3, "__MACOSX": 2, ".hidden": 2})
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "notes.txt", "labels.csv", "._1.jpg"):
        (tmp_path / "a" / name).write_bytes(b"clutter")
    (tmp_path / "a" / "empty.jpg").write_bytes(b"")
    names = {item.name for item in load(tmp_path).items}
    assert "a/empty.jpg" in names
    assert len(names) == 7


def test_links_that_loop_do_not_hang(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    assert len(load(tmp_path).items) == 4


def test_natural_order() -> None:
    assert sorted(["10", "2", "a10", "a9", "B", "1"], key=natural_key) == [
        "1", "2", "10", "a9", "a10", "B",
    ]  # fmt: skip


def test_no_image_moves_when_others_come_go_or_change_their_names(tmp_path: Path) -> None:
    before = sides(load(fill(tmp_path / "one", {"a": 60, "b": 60})))
    fill(tmp_path / "one", {"a": 60, "b": 60, "c": 40})
    for path in sorted((tmp_path / "one" / "a").iterdir())[:20]:
        path.rename(path.with_name(f"renamed-{path.name}"))
    for path in sorted((tmp_path / "one" / "b").iterdir())[:20]:
        path.unlink()
    after = sides(load(tmp_path / "one"))
    names = before.keys() & after.keys()
    assert len(names) == 100
    assert all(before[key] == after[key] for key in names)


def test_the_split_does_not_depend_on_where_the_folder_is(tmp_path: Path) -> None:
    fill(tmp_path / "one", {"a": 30, "b": 30})
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two")
    assert sides(load(tmp_path / "one")) == sides(load(tmp_path / "elsewhere" / "two"))


def test_identical_images_stay_on_one_side(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 40, "b": 40})
    for path in sorted((tmp_path / "a").iterdir()):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    by_content: dict[bytes, set[str | None]] = {}
    for item in load(tmp_path).items:
        by_content.setdefault(item.content_hash, set()).add(item.split)
    assert all(len(splits) == 1 for splits in by_content.values())


def test_the_seed_makes_another_split(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 40, "b": 40})
    assert sides(load(tmp_path)) != sides(load(tmp_path, seed=1))


def test_small_classes_have_an_image_on_each_side(tmp_path: Path) -> None:
    fill(tmp_path, {f"class{i}": 2 for i in range(20)})
    for split, counts in load(tmp_path).counts().items():
        assert set(counts.values()) == {1}, split


@pytest.mark.parametrize("fraction", [0.02, 0.98])
def test_a_folder_called_as_several_classes_is_one_class(tmp_path: Path, fraction: float) -> None:
    """Every class has an image on each side, whatever it or another one is called."""
    dataset = load(fill(tmp_path, {"a;b": 3, "c": 3, "d|e": 3}), validation_fraction=fraction)
    assert dataset.classes == ("a;b", "c", "d|e")
    assert not dataset.task.multilabel
    assert not dataset.warnings
    for split in ("train", "validation"):
        assert all(dataset.counts()[split].values()), split


def test_columns_are_those_of_all_lines(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 6, "b": 6})
    names = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.glob("*/*"))]
    rows = [{"path": name, "label": name[0]} for name in names]
    for row in rows[1::3]:
        row["split"] = "test"
    table = tmp_path / "rows.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    assert len(load(table).split("test")) == 4
    surplus = tmp_path / "surplus.csv"
    surplus.write_text("path,label\n" + "".join(f"{name},{name[0]},\n" for name in names))
    assert len(load(surplus).items) == 12
    long = tmp_path / "long.csv"
    long.write_text("path,label\n" + "".join(f"{name},{name[0]}\n" for name in names)
                    + "x" * 300 + ".png,a\n")  # fmt: skip
    assert any("1 files of the table are missing" in text for text in load(long).warnings)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_can_be_written(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    first = next((tmp_path / "a").iterdir())
    os.rename(os.fsencode(first), os.fsencode(tmp_path / "a") + b"/caf\xe9.png")
    (item,) = [item for item in load(tmp_path).items if "caf" in item.name]
    assert item.name == "a/caf\\xe9.png"
    assert item.name.encode()
    assert item.read()


def test_one_image_cannot_be_validated(tmp_path: Path) -> None:
    dataset = load(fill(tmp_path, {"a": 10, "b": 1}))
    assert dataset.counts()["train"]["b"] == 1
    assert any("too few images to validate: b" in text for text in dataset.warnings)


def test_the_same_image_under_two_labels_is_told(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 5, "b": 5})
    shutil.copy(tmp_path / "a" / "0.jpg", tmp_path / "b" / "same.jpg")
    (warning,) = load(tmp_path).warnings
    assert warning == "1 images are the same under two labels: a/0.jpg = b/same.jpg"


def test_validation_images_that_are_also_training_images_are_told(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    shutil.copy(tmp_path / "train" / "a" / "0.jpg", tmp_path / "val" / "a" / "leak.jpg")
    (warning,) = load(tmp_path).warnings
    assert "1 validation or test images are also training images" in warning
    assert "val/a/leak.jpg" in warning


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ({"a": 3}, "expected two classes or more .* found one: a"),
        ({"a": 3, "b": 0}, r"found one: a \(1 folder without an image, passed over: b\)"),
        ({"train/a": 2, "train/b": 2, "val/c": 2}, "expected training images .* none of c"),
        ({}, "expected images in .*, found none. Arrange them as"),
    ],
)
def test_what_cannot_be_learned_from(tmp_path: Path, layout: dict[str, int], text: str) -> None:
    with pytest.raises(DatasetError, match=text):
        load(fill(tmp_path, layout))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            "t.csv",
            b"path,label\n1.jpg,caf\xe9\n",
            r"text in UTF-8, found: 'utf-8' .*Save the table",
        ),
        ("t.jsonl", b'{"path": 1}\n{"path"', r"line 2 of .*object in JSON, found: .*Correct that"),
        ("t.jsonl", b"[1, 2]", r"object in line 1 of .*, found a list of 2. Correct that line"),
        ("t.parquet", b"PAR", r"a whole Parquet file, found: \S.*Save it anew, or as CSV"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="pip install 'headstart[parquet]'")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=text):
        load(tmp_path / name)


def test_what_the_system_does_not_let_us_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    fill(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "t.csv").write_text("path,label\n")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        with pytest.raises(DatasetError, match=r"folder .*found: Permission denied. Allow it \("):
            load(tmp_path)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DatasetError, match=r"a table \(.*found: Permission denied. Save it anew"):
        load(tmp_path / "t.csv")


def test_images_without_class_folders(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"x%d" % number)
    with pytest.raises(DatasetError, match=r"found 3 images and no class folders. Arrange them"):
        load(tmp_path)


def test_a_mistyped_path_offers_the_near_ones(tmp_path: Path) -> None:
    fill(tmp_path / "photos", {"a": 1})
    with pytest.raises(DatasetError, match=r"found nothing at .*photo. Near: .*photos"):
        load(tmp_path / "photo")


def table(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("\n".join(map(json.dumps, rows)))
    elif name.endswith(".parquet"):
        pyarrow = pytest.importorskip("pyarrow", reason="pip install 'headstart[parquet]'")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        separator = "\t" if name.endswith("tsv") else ","
        lines = [separator.join(rows[0])] + [separator.join(row.values()) for row in rows]
        path.write_text("\n".join(lines))
    return path


ROWS = [
    {"file": f"{label}/{index}.jpg", "class": label, "split": split}
    for label in "ab"
    for index, split in enumerate(["train", "train", "val", "test"])
]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_tables(tmp_path: Path, name: str) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    dataset = load(table(tmp_path, name, ROWS))
    assert dataset.counts() == {
        "train": {"a": 2, "b": 2}, "validation": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}
    }  # fmt: skip


def test_table_errors_name_what_was_found(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    renamed = [{"file": row["file"], "labell": row["class"]} for row in ROWS]
    with pytest.raises(DatasetError, match=r"expected a column 'label' .* Did you mean 'labell'"):
        load(table(tmp_path, "one.csv", renamed))
    empty = [{**ROWS[0], "class": ""}]
    with pytest.raises(DatasetError, match="expected a label in line 2"):
        load(table(tmp_path, "two.csv", empty))
    with pytest.raises(DatasetError, match="found 'later' in line 2"):
        load(table(tmp_path, "three.csv", [{**ROWS[0], "split": "later"}]))
    nowhere = [{**ROWS[0], "file": "nowhere.jpg"}]
    with pytest.raises(DatasetError, match=r"found none of the 1 files, such as nowhere.jpg"):
        load(table(tmp_path, "four.csv", nowhere))


LINE = '{"path": "a/0.jpg", "label": %s, "split": "train"}'


@pytest.mark.parametrize("value", ["NaN", "null", '""', "[]", "[null]", "[NaN]"])
def test_a_missing_label_is_no_class(value: str, tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "t.jsonl").write_text("\n".join([LINE % '"a"', LINE % value, LINE % '"b"']))
    with pytest.raises(DatasetError, match=r"expected a label in line 2 of .*, found none"):
        load(tmp_path / "t.jsonl")


@pytest.mark.parametrize("value", ['{"name": "a"}', '[["a"]]', '[{"name": "a"}]'])
def test_a_label_is_text_or_a_number(value: str, tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "t.jsonl").write_text("\n".join([LINE % '"a"', LINE % value, LINE % '"b"']))
    with pytest.raises(
        DatasetError, match=r"text or a number in line 2 of .*, found (an obj|a list)"
    ):
        load(tmp_path / "t.jsonl")


def test_nan_in_parquet_is_a_missing_label(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    rows: list[Any] = [
        {"path": f"a/{i}.jpg", "label": v} for i, v in enumerate([1.0, float("nan")])
    ]
    with pytest.raises(DatasetError, match=r"expected a label in line 2 of .*, found none"):
        load(table(tmp_path, "t.parquet", rows))


def test_numbers_and_booleans_are_classes(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    lines = [f'{{"path": "{c}/{i}.jpg", "label": {v}}}' for c, v in (("a", "true"), ("b", "1"))
             for i in range(4)]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    dataset = load(tmp_path / "t.jsonl")
    assert dataset.classes == ("1", "True")
    assert dataset.warnings == ()


def test_a_class_that_looks_like_missing_labels_is_told(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    rows = [{"path": f"{c}/{i}.jpg", "label": "NaN" if c == "b" else "a"}
            for c in "ab" for i in range(4)]  # fmt: skip
    dataset = load(table(tmp_path, "t.csv", rows))
    assert dataset.classes == ("a", "NaN")
    assert any(
        "the class NaN is perhaps no class but missing labels" in w for w in dataset.warnings
    )


def test_what_cannot_be_written_or_shown_is_escaped(tmp_path: Path) -> None:
    """A lone surrogate, ESC and letters that turn the reading order, in every column."""
    fill(tmp_path, {"a": 4, "b": 4})
    odd = "\ud800\x1b\u202e"
    (tmp_path / "a\x1b").mkdir()
    shutil.copy(tmp_path / "a" / "0.jpg", tmp_path / "a\x1b" / "0.jpg")
    paths = ["a\x1b/0.jpg", *(f"{c}/{i}.jpg" for c in "ab" for i in range(1, 4)), odd]
    rows = [{"path": path, "label": path[:1] + odd, "group": odd + path} for path in paths]
    dataset = load(table(tmp_path, "t.jsonl", rows), groups="group")
    assert dataset.classes == ("a\\ud800\\x1b\\u202e", "b\\ud800\\x1b\\u202e")
    assert dataset.items[0].name == "a\\x1b/0.jpg"
    assert dataset.items[0].group == "\\ud800\\x1b\\u202ea\\x1b/0.jpg"
    assert dataset.items[0].read()
    for item in dataset.items:
        assert (item.name + item.label + (item.group or "")).isascii()


def test_a_line_that_is_nested_beyond_all_measure(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"path": "a.jpg", "label": "a"}\n' + 100_000 * "[")
    with pytest.raises(DatasetError, match=r"line 2 of .*: expected an object in JSON"):
        load(tmp_path / "t.jsonl")


def test_a_table_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.data import table as tables

    fill(tmp_path, {"a": 4, "b": 4})
    read = []
    records = tables._records
    monkeypatch.setattr(tables, "_records", lambda path: (read.append(path), records(path))[1])
    load(table(tmp_path, "t.csv", [{**row, "who": row["file"]} for row in ROWS]), groups="who")
    assert len(read) == 1


def test_a_missing_file_is_told_by_a_name_that_can_be_written(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    lines = [*(json.dumps(row) for row in ROWS), '{"file": "\\ud800.jpg", "class": "a"}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (warning,) = load(tmp_path / "t.jsonl").warnings
    assert warning.endswith(r"missing: \ud800.jpg")


def test_missing_and_repeated_rows_are_told(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    rows = [*ROWS, ROWS[0], {**ROWS[0], "file": "gone.jpg"}]
    warnings = load(table(tmp_path, "t.csv", rows)).warnings
    assert any("1 files of the table are missing: gone.jpg" in text for text in warnings)
    assert any("1 rows of the table are repeated" in text for text in warnings)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives(tmp_path: Path, kind: str) -> None:
    fill(tmp_path / "photos", {"a": 4, "b": 4})
    archive = tmp_path / f"photos.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted((tmp_path / "photos").rglob("*.jpg")):
                file.write(path, path.relative_to(tmp_path))
    else:
        with tarfile.open(archive, "w:gz" if kind.endswith("gz") else "w") as tar:
            tar.add(tmp_path / "photos", "photos")
    assert sides(load(archive)) == sides(load(tmp_path / "photos"))
    assert len(images_in([archive])) == 8


def test_an_archive_writes_nothing_outside(tmp_path: Path) -> None:
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../outside.jpg", b"x")
        for label in "ab":
            file.writestr(f"photos/{label}/1.jpg", label)
    assert len(load(archive, split=False).items) == 2
    assert not list(tmp_path.rglob("outside.jpg"))


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK no")
    with pytest.raises(
        DatasetError,
        match=r"cannot unpack .*x.zip: expected a whole zip or tar archive without a password, "
        r"found: .*zip.*\. Unpack it by hand and give the folder",
    ):
        load(tmp_path / "x.zip")


def test_images_to_predict_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("10.jpg", "9.jpg", "1.png", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    assert [item.path.name for item in images_in([tmp_path])] == ["1.png", "9.jpg", "10.jpg"]


def test_the_fingerprint_follows_content_and_labels_not_names(tmp_path: Path) -> None:
    first = load(fill(tmp_path / "one", {"a": 5, "b": 5})).fingerprint()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "a" / "0.jpg").rename(tmp_path / "two" / "a" / "z.jpg")
    assert load(tmp_path / "two").fingerprint() == first
    (tmp_path / "two" / "a" / "1.jpg").write_bytes(b"other")
    assert load(tmp_path / "two").fingerprint() != first


def test_an_item_knows_its_content(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"content")
    assert Item(tmp_path / "1.jpg", "1.jpg").content_hash == content_hash(b"content")
    assert len(content_hash(b"")) == 16


@pytest.mark.parametrize(
    ("name", "classes", "counts"),
    [
        ("cats_and_dogs_filtered", 2, {"train": 2000, "validation": 1000}),
        ("hymenoptera", 2, {"train": 245, "validation": 153}),
        ("clothing", 10, {"train": 610, "validation": 90, "test": 94}),
        ("sign_language_digits", 10, {"train": 1650, "validation": 411}),
    ],
)
def test_real_sets(photos: Path, name: str, classes: int, counts: dict[str, int]) -> None:
    dataset = load(photos / name)
    assert len(dataset.classes) == classes
    assert {s: sum(by_class.values()) for s, by_class in dataset.counts().items()} == counts
    if name == "sign_language_digits":
        assert dataset.classes == tuple("0123456789")


def test_an_empty_name_is_not_the_current_folder(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny)
    assert len(load(".").items) == 48
    with pytest.raises(DatasetError, match=r"found an empty name\. Type: \. for the folder here"):
        load("")
    with pytest.raises(DatasetError, match="found an empty name"):
        headstart.train("")


def test_a_place_that_is_not_there_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"found nothing at .*Give the place where the images are"
    ):
        load(tmp_path / "gone")


def test_the_folder_of_a_training_is_no_photos(tmp_path: Path) -> None:
    for name in ("run.json", "recipe.toml"):
        (tmp_path / name).write_text("")
    for read in (load, lambda path: images_in([path])):
        with pytest.raises(DatasetError, match=r"the folder of a training.* headstart info"):
            read(tmp_path)


def test_a_link_to_what_may_not_be_looked_at_is_one_error(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "photos")
    (tmp_path / "photos" / "red" / "locked").touch()
    is_dir = Path.is_dir

    def refuse(path: Path) -> bool:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(DatasetError, match=r"locked: expected a folder .*found: Permission denied"):
        load(tmp_path / "photos")
