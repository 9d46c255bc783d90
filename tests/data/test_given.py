"""Labelled images as people have them: lists, arrays, frames, data sets, several places."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.data.dataset import Dataset, load
from headstart.data.frames import list_images
from headstart.data.given import Source, settle
from headstart.errors import DatasetError
from headstart.images.decode import decode

COLOURS = np.arange(12, dtype=np.uint8)
ARRAYS = np.stack([np.full((8, 9, 3), (n, 0, 2 * n), np.uint8) for n in COLOURS])
LABELS = ["ant" if n % 2 else "bee" for n in COLOURS]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    paths = [tmp_path / "photos" / f"{n}.png" for n in COLOURS]
    for path, pixels in zip(paths, ARRAYS, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def seen(dataset: Dataset) -> dict[int, str]:
    """The label of each image, by what it shows."""
    told = {int(decode(item.read())[0, 0, 0]): item.label for item in dataset.items}
    assert len(told) == len(dataset.items)
    return told


EXPECTED = dict(zip(map(int, COLOURS), LABELS, strict=True))


class Polars:
    """What is used of a frame of Polars."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.held = columns

    @property
    def columns(self) -> list[str]:
        return list(self.held)

    def iter_rows(self, *, named: bool) -> Iterator[dict[str, Any]]:
        assert named
        for row in zip(*self.held.values(), strict=True):
            yield dict(zip(self.held, row, strict=True))


class Image:
    """What is used of the column type of Hugging Face's data sets that it is called after."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class ClassLabel:
    names = ("bee", "ant")


class HuggingFace:
    """What is used of a data set of theirs: its images are decoded unless that is asked off."""

    def __init__(self, paths: list[Path], *, decode: bool = True) -> None:
        self.paths, self.decode = paths, decode
        self.features = {"picture": Image(decode), "kind": ClassLabel()}
        self.column_names = list(self.features)

    def cast_column(self, name: str, kind: Image) -> "HuggingFace":
        assert name == "picture"
        return HuggingFace(self.paths, decode=kind.decode)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert not self.decode
        for path in self.paths:
            number = LABELS.index("ant") if int(path.stem) % 2 else 0
            yield {"picture": {"bytes": path.read_bytes(), "path": path.name}, "kind": number}


def frames(files: list[Path]) -> dict[str, Any]:
    texts = list(map(str, files))
    return {
        "pairs": list(zip(files, LABELS, strict=True)),
        "pairs of texts": [list(pair) for pair in zip(texts, LABELS, strict=True)],
        "pairs of arrays": list(zip(ARRAYS, LABELS, strict=True)),
        "dict": {"image": [path.read_bytes() for path in files], "label": LABELS},
        "polars": Polars({"file": texts, "class": LABELS}),
        "polars bytes": Polars({"x": [path.read_bytes() for path in files], "label": LABELS}),
        "hugging face": HuggingFace(files),
    }


NAMES = (
    "pairs",
    "pairs of texts",
    "pairs of arrays",
    "dict",
    "polars",
    "polars bytes",
    "hugging face",
)


@pytest.mark.parametrize("name", NAMES)
def test_images_and_labels_together(name: str, files: list[Path]) -> None:
    assert seen(load(frames(files)[name])) == EXPECTED


@pytest.mark.parametrize("kind", ["array", "list", "paths", "bytes", "pil", "gray"])
def test_images_with_labels_beside_them(kind: str, files: list[Path]) -> None:
    from PIL import Image as Pillow

    images: Any = {
        "array": ARRAYS,
        "list": list(ARRAYS),
        "paths": files,
        "bytes": [path.read_bytes() for path in files],
        "pil": [Pillow.fromarray(pixels) for pixels in ARRAYS],
        "gray": ARRAYS[:, :, :, 0],
    }[kind]
    assert seen(load(settle(images, np.array(LABELS)))) == EXPECTED
    numbers = load(settle(images, np.array([label == "ant" for label in LABELS])))
    assert numbers.classes == ("False", "True")


def test_a_frame_of_pandas(files: list[Path]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"path": files, "species": pandas.Categorical(LABELS), "day": COLOURS})
    dataset = load(settle(frame, "species"), groups="day")
    assert seen(dataset) == EXPECTED
    assert dataset.items[3].group == "3"
    assert list_images(frame[["path"]]) == list(map(str, files))


def test_the_column_that_is_named_is_the_label_whatever_else_is_called_so(
    files: list[Path],
) -> None:
    table = {
        "image": files,
        "label": ["x"] * len(files),
        "species": LABELS,
        "test": [0] * len(files),
    }
    assert seen(load(settle(table, "species"))) == EXPECTED


def test_names_are_short_and_files_stay_where_they_are(files: list[Path]) -> None:
    nested = files[0].parent / "more" / "0.png"
    nested.parent.mkdir()
    shutil.copy(files[0], nested)
    dataset = load([(nested, "bee"), *zip(files, LABELS, strict=True)])
    assert [item.name for item in dataset.items[:2]] == ["more/0.png", "0.png"]
    assert dataset.items[0].path == nested
    arrays = load(settle(ARRAYS, LABELS))
    assert arrays.items[0].name == "image#1.png"


def test_several_classes_an_image() -> None:
    dataset = load(settle(ARRAYS, [("a", "b") if n % 2 else ["b"] for n in COLOURS]))
    assert dataset.task.multilabel
    assert dataset.items[1].labels == ("a", "b")


def test_the_same_is_kept_once_and_found_again(files: list[Path]) -> None:
    one, two = settle(ARRAYS, LABELS), settle(list(ARRAYS.copy()), LABELS)
    assert one == two
    assert one != settle(ARRAYS, LABELS[::-1])
    assert seen(load(str(one.place))) == EXPECTED  # as a run finds it again
    shutil.rmtree(one.place.parents[1])
    with pytest.raises(
        DatasetError, match="images that had been given in memory, found none in the"
    ):
        load(str(one.place))
    assert seen(load(settle(ARRAYS, LABELS))) == EXPECTED


def test_splits_by_name(files: list[Path]) -> None:
    pairs = list(zip(files, LABELS, strict=True))
    dataset = load({"train": pairs[:6], "valid": HuggingFace(files[6:8]), "test": pairs[8:]})
    counts = {split: sum(row.values()) for split, row in dataset.counts().items()}
    assert counts == {"train": 6, "validation": 2, "test": 4}
    assert dataset.split("test")[0].name == "test/8.png"
    asked = load({"train": pairs[:8], "test": pairs[8:]}, split=False)  # as evaluate does
    assert {split: sum(row.values()) for split, row in asked.counts().items()} == {
        "train": 8, "test": 4
    }  # fmt: skip
    tested = load({"train": pairs[:8], "test": pairs[8:]})
    assert sum(tested.counts()["validation"].values()) >= 1  # made of the training images


def test_folders_for_each_side(files: list[Path], tmp_path: Path) -> None:
    for number, path in enumerate(files):
        side = "apart" if number > 8 else "main"
        target = tmp_path / side / LABELS[number] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    source = settle(tmp_path / "main", validation=tmp_path / "apart")
    dataset = load(source)
    assert [item.name for item in dataset.split("validation")] == [
        "validation/ant/9.png", "validation/ant/11.png", "validation/bee/10.png"
    ]  # fmt: skip
    assert source.words == [str(tmp_path / "main"), "--validation", str(tmp_path / "apart")]
    assert Source.from_dict(source.to_dict()) == source
    for split in ("train", "val"):
        shutil.copytree(tmp_path / "main", tmp_path / "both" / split)
    with pytest.raises(
        DatasetError, match=r"one place for validation, found .*apart and images in"
    ):
        load(settle(tmp_path / "both", validation=tmp_path / "apart"))


@pytest.mark.parametrize(
    ("source", "labels", "text"),
    [
        (3, None, "expected a folder, .* found 3"),
        ([], None, "expected images, found none"),
        ({}, None, "expected a column 'image' or 'path', found none"),
        (["a.png", "b.png"], None, r"\(image, label\) as element 1, found 'a.png'"),
        (ARRAYS, None, r"\(image, label\) as element 1, found a value of type ndarray"),
        (ARRAYS, LABELS[:3], "found 3 labels of 12 images"),
        (ARRAYS / 255, LABELS, r"row 1 of image: .* found: expected a uint8 array, found fl"),
        ([b"secret" * 1000], None, "as element 1, found 6,000 bytes"),
        ([(b"secret" * 1000, {"a": 1})], None, "label of image 1 as a text, .*, found an object"),
        ([("a.png", "a"), ("b.png", "b")], None, "found none of the 2 files"),
        (ARRAYS, [*LABELS[:-1], None], "expected a label in line 12 of the images given in mem"),
        ("photos", LABELS, "expected images beside labels=, found the place 'photos'"),
        ({"image": [], "kind": []}, None, "expected a column 'label', found 'image', 'kind'"),
        ({"image": [], "label": []}, "kind", "expected a column 'kind', found 'image', 'label'"),
        ({"image": [], "label": []}, LABELS, "expected the name of a column as labels="),
        ({"image": [1], "label": [1]}, None, "expected an image in row 1 of image: bytes, a path"),
        ({"image": ["a.png"], "label": []}, None, "expected columns of one length, found 0, 1"),
        ({"train": [], "extra": []}, None, "found 'train', 'extra'"),
        ({"test": []}, None, "expected train, and perhaps validation and test, once each"),
        ({"train": [], "val": [], "valid": []}, None, "once each, found 'train', 'val', 'valid'"),
    ],
)  # fmt: skip
def test_what_is_no_source(source: Any, labels: Any, text: str) -> None:
    with pytest.raises(DatasetError, match=text) as error:
        load(settle(source, labels))
    assert "secretsecret" not in str(error.value)


def test_a_run_on_arrays_is_evaluated_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["red", "blue"] * 12)
    colours = np.where((labels == "red")[:, None], (200, 60, 60), (60, 60, 200))
    noise = rng.normal(0, 40, (24, 32, 32, 3))
    images = np.clip(colours[:, None, None] + noise, 0, 255).astype(np.uint8)
    monkeypatch.chdir(tmp_path)
    test = list(zip(images[16:], labels[16:], strict=True))
    run = headstart.train(images[:16], labels=labels[:16], test=test, cut="last", size=64)
    assert run.folder == Path("runs/images-1")
    assert run.record["images"]["test"] == 8
    assert run.source.test is not None
    assert headstart.evaluate(run, images[16:], labels=labels[16:])["all"].accuracy == 1
    table = {"image": list(images[:2])}
    assert [said.label for said in run.classifier.predict(table)] == ["red", "blue"]
    remedies = headstart.remedies(run, budget=0)
    assert remedies.tried[0].metrics.accuracy == 1
