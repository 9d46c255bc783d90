"""Tables whose cells are images: in Parquet as Hugging Face writes it."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.data.dataset import Dataset, load
from headstart.data.places import images_in
from headstart.data.source import stream_items
from headstart.errors import DatasetError, HeadstartError, MissingExtra
from headstart.images.decode import decode

pyarrow = pytest.importorskip("pyarrow", reason="pip install 'headstart[parquet]'")

Rows = list[dict[str, Any]]
CLASSES = {"names": ["ant", "bee"], "_type": "ClassLabel"}


def picture(number: int, kind: str = "PNG") -> bytes:
    """A small image, each number's of its own."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(file, kind)
    return file.getvalue()


def write(file: Path, rows: Rows, features: dict[str, Any] | None = None) -> Path:
    """As Hugging Face writes it: what the columns mean stands in the metadata."""
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist(rows)
    if features is not None:
        told = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": told})
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file)
    return file


def rows(count: int, start: int = 0) -> Rows:
    """Images with numbers as labels."""
    return [
        {"image": {"bytes": picture(number), "path": f"x/{number}.png"}, "label": number % 2}
        for number in range(start, start + count)
    ]


def labels(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.label for item in dataset.items}


def test_images_with_numbers_for_classes(tmp_path: Path) -> None:
    file = write(tmp_path / "t.parquet", rows(6), {"image": {"_type": "Image"}, "label": CLASSES})
    dataset = load(file)
    assert dataset.classes == ("ant", "bee")
    assert labels(dataset) == {f"t.parquet#{n}.png": ("ant", "bee")[n % 2] for n in range(6)}
    assert all((decode(item.read()) == int(item.path.stem.split("#")[1])).all()
               for item in dataset.items)  # fmt: skip


def test_bytes_alone_are_named_by_their_rows_and_texts_are_classes(tmp_path: Path) -> None:
    content: Rows = [{"img": picture(n, "JPEG"), "class": "ab"[n % 2]} for n in range(4)]
    assert labels(load(write(tmp_path / "t.parquet", content))) == {
        "t.parquet#1.jpg": "a", "t.parquet#2.jpg": "b",
        "t.parquet#3.jpg": "a", "t.parquet#4.jpg": "b",
    }  # fmt: skip


def test_names_that_come_twice_or_lead_outside(tmp_path: Path) -> None:
    content = rows(4)
    for row, path in zip(content, ("../../1.png", "a/1.png", "..", "x\x1b[1m.png"), strict=True):
        row["image"]["path"] = path
    names = labels(load(write(tmp_path / "t.parquet", content)))
    assert list(names) == ["t.parquet#1.png", "t.parquet#2.png", "t.parquet#...png",
                           r"t.parquet#x\x1b[1m.png"]  # fmt: skip


def test_shards_of_a_folder_and_the_splits_in_their_names(tmp_path: Path) -> None:
    for number, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-0000")):
        write(tmp_path / "data" / f"{name}.parquet", rows(10, 10 * number), {"label": CLASSES})
    (tmp_path / "README.md").write_text("of a data set")
    dataset = load(tmp_path)
    assert len(dataset.split("test")) == 10
    assert dataset.split("validation")  # made of the training images, for there is none
    assert dataset.split("test")[0].name == "data/test-0000.parquet#20.png"
    whole = load(tmp_path / "data" / "test-0000.parquet")  # by itself it is no split
    assert {item.split for item in whole.items} == {"train", "validation"}


def test_paths_in_the_place_of_bytes_stay_where_they_are(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    content: Rows = [{"image": {"bytes": None, "path": f"{n}.png"}, "label": n % 2}
                     for n in range(4)]  # fmt: skip
    for row in content[2:]:
        row["image"]["path"] = str(tmp_path / row["image"]["path"])
    dataset = load(write(tmp_path / "t.parquet", content))
    assert {item.path.resolve() for item in dataset.items} == set(tmp_path.glob("*.png"))


def test_several_classes_groups_and_splits_of_columns(tmp_path: Path) -> None:
    content = [
        {
            **row,
            "labels": [0, 1] if n % 3 else [1],
            "camera": n // 2,
            "split": "test" if n > 3 else "",
        }
        for n, row in enumerate(rows(8))
    ]
    for row in content:
        del row["label"]
    kinds = {"labels": {"feature": CLASSES, "_type": "Sequence"}}
    dataset = load(write(tmp_path / "t.parquet", content, kinds), groups="camera")
    assert dataset.task.multilabel
    assert {item.label for item in dataset.items} == {"ant;bee", "bee"}
    assert {item.group for item in dataset.items} == {"0", "1", "2", "3"}
    assert len(dataset.split("test")) == 4


def test_the_column_of_classes_may_be_called_anything_but_there_is_one(tmp_path: Path) -> None:
    content = [{"image": row["image"], "fine": row["label"], "coarse": 0} for row in rows(4)]
    assert load(write(tmp_path / "t.parquet", content, {"fine": CLASSES})).classes == ("ant", "bee")
    file = write(tmp_path / "two.parquet", content, {"fine": CLASSES, "coarse": CLASSES})
    with pytest.raises(
        DatasetError, match=r"one column of classes in .*, found fine, coarse\. Nam"
    ):
        load(file)


def test_what_has_no_image_or_no_class_is_told_by_its_row(tmp_path: Path) -> None:
    content = rows(5)
    content[2]["image"] = None
    (warning,) = load(write(tmp_path / "t.parquet", content)).warnings
    assert warning == "1 files of the table are missing: t.parquet#3"
    content = rows(5)
    content[3]["label"] = None
    with pytest.raises(
        DatasetError, match=r"expected a label in line 4 of .*t\.parquet, found none"
    ):
        load(write(tmp_path / "t.parquet", content, {"label": CLASSES}))


def test_images_of_no_class_are_left_out_and_can_be_predicted(tmp_path: Path) -> None:
    content = rows(6)
    for row in content[4:]:
        row["label"] = -1  # as the test split of a competition has it
    file = write(tmp_path / "t.parquet", content, {"label": CLASSES})
    dataset = load(file)
    assert len(dataset.items) == 4
    assert dataset.warnings == ("2 images without a label are left out",)
    assert len(list(stream_items([file]))) == 6
    with pytest.raises(
        DatasetError, match=r"expected labels in .*, found none: its 2 images are of"
    ):
        load(write(tmp_path / "none.parquet", content[4:], {"label": CLASSES}))


def test_cells_that_would_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.data import parquet

    file = write(tmp_path / "t.parquet", rows(4))
    monkeypatch.setattr(parquet, "measure_room", lambda *_: 150)
    with pytest.raises(
        DatasetError, match=r"in row \d of t\.parquet: .* would not fit, with at mo"
    ):
        load(file)


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    write(tmp_path / "t.parquet", rows(4))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for source in (tmp_path / "t.parquet", tmp_path):
        with pytest.raises(MissingExtra, match=r"pip install 'headstart\[parquet\]'"):
            load(source)


def test_a_table_of_arrow(tmp_path: Path) -> None:
    from pyarrow import parquet

    table = parquet.read_table(write(tmp_path / "t.parquet", rows(4), {"label": CLASSES}))
    assert load(table).classes == ("ant", "bee")


def test_a_shard_that_changes_is_read_anew(tmp_path: Path) -> None:
    file = write(tmp_path / "t.parquet", rows(4))
    assert len(load(file).items) == 4
    write(file, rows(6))
    assert len(load(file).items) == 6


def test_images_to_predict(tmp_path: Path) -> None:
    file = write(tmp_path / "new" / "t.parquet", rows(3))
    expected = [str(tmp_path / "new" / f"t.parquet#{n}.png") for n in range(3)]
    for source in (file, tmp_path / "new"):
        assert [item.name for item in stream_items([source])] == expected
        assert [item.name for item in images_in([source])] == expected
    (tmp_path / "new" / "photo.png").write_bytes(picture(1))  # then they are the images
    assert [item.path.name for item in stream_items([tmp_path / "new"])] == ["photo.png"]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
@pytest.mark.parametrize("part", ["path", "label", "split", "camera", "other"])
def test_no_error_shows_what_a_cell_holds(tmp_path: Path, name: str, part: str) -> None:
    """Whatever column an image's bytes are in, and however they came there as text."""
    secret = "SECRET" * 20_000
    row: dict[str, Any] = {"path": "1.png", "label": "a", "split": "train", "camera": "1"}
    (tmp_path / "1.png").write_bytes(picture(1))
    cells: list[Any] = [secret]
    if name == "t.parquet":
        image = {"bytes": secret.encode(), "path": "1.png"}
        cells += [secret.encode(), image, [secret.encode()], [image]]
    for cell in cells:
        file = tmp_path / name
        for content in ([{**row, part: cell}] * 3, [{part: cell}] * 3):
            if name == "t.parquet":
                write(file, content)
            elif name == "t.jsonl":
                file.write_text("\n".join(map(json.dumps, content)))
            else:
                mark = "," if name == "t.csv" else "\t"
                lines = [mark.join(content[0]), *(mark.join(r.values()) for r in content)]
                file.write_text("\n".join(lines))
            for act in ACTS:
                told = tell(act, file)
                assert len(told) < 1500, (cell, content)  # two paths and the columns
                assert "SECRET" * 20 not in told


ACTS: list[Callable[[Path], Any]] = [
    lambda file: load(file, groups="camera"),
    lambda file: load(file, split=False),
    lambda file: list(stream_items([file])),
    headstart.train,
]


def tell(act: Callable[[Path], Any], file: Path) -> str:
    try:
        act(file)
    except HeadstartError as error:
        return str(error)
    return ""
