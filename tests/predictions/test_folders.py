"""Class folders: their names, and that nothing is overwritten."""

from pathlib import Path

import pytest

from headstart.classifier import NONE_OF_THESE, NOT_SURE, Prediction
from headstart.data.item import Held, Item
from headstart.errors import HeadstartError
from headstart.predictions.folders import Sorter, name_folders

CLASSES = ("cats", "a/b", "a\\b", "not sure", "..", "Katze, große", "CATS")


def item(folder: Path, name: str, content: str = "x") -> Item:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return Item(path, name)


def listed(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def say(label: str | None, **more: object) -> Prediction:
    return Prediction("", label, {}, **more)  # type: ignore[arg-type]


def test_names_that_a_folder_cannot_have_are_changed_and_none_are_alike() -> None:
    assert name_folders(CLASSES) == [
        "cats", "a_b", "a_b-2", "not sure", "_", "Katze, große", "CATS-2"
    ]  # fmt: skip
    assert name_folders(["x" * 300, "x" * 301, ".git"]) == ["x" * 200, "x" * 200 + "-2", "_git"]


def test_links_go_where_the_prediction_says(tmp_path: Path) -> None:
    sorter = Sorter(tmp_path / "sorted", CLASSES)
    one, two = item(tmp_path / "1", "1.jpg"), item(tmp_path / "2", "1.jpg")
    for _ in range(2):  # again after a kill
        sorter.place(one, say("cats"))
        sorter.place(two, say("cats"))
        sorter.place(one, say(None, silence=NOT_SURE))
        sorter.place(one, say("not sure"))
        sorter.place(two, say(None, silence=NONE_OF_THESE, labels=()))
        sorter.place(two, say("cats;a/b", labels=("cats", "a/b")))
        sorter.place(two, say("", labels=()))
        sorter.place(two, say(None, error="cut short"))
    names = listed(tmp_path / "sorted")
    assert len([name for name in names if name.startswith("cats/1")]) == 2
    assert [name for name in names if not name.startswith("cats/")] == [
        "a_b/1.jpg", "none of these/1.jpg", "none/1.jpg", "not sure-2/1.jpg", "not sure/1.jpg"
    ]  # fmt: skip
    assert (tmp_path / "sorted" / "cats" / "1.jpg").resolve() == one.path


def test_a_copy_is_made_where_a_link_was(tmp_path: Path) -> None:
    one = item(tmp_path / "1", "1.jpg")
    for copies in (False, True):
        Sorter(tmp_path / "sorted", CLASSES, copies=copies).place(one, say("cats"))
    kinds = [path.is_symlink() for path in (tmp_path / "sorted" / "cats").iterdir()]
    assert sorted(kinds) == [False, True]


@pytest.mark.parametrize("copies", [False, True])
def test_names_as_long_as_names_may_be(tmp_path: Path, copies: bool) -> None:
    sorter = Sorter(tmp_path / "sorted", CLASSES, copies=copies)
    name = "é" * 125 + ".jpg"
    for folder in ("1", "2"):
        sorter.place(item(tmp_path / folder, name, folder), say("cats"))
    placed = list((tmp_path / "sorted" / "cats").iterdir())
    assert sorted(path.read_text() for path in placed) == ["1", "2"]
    assert {path.suffix for path in placed} == {".jpg"}


def test_one_classifier_sorts_into_a_folder(tmp_path: Path) -> None:
    Sorter(tmp_path, CLASSES).claim({"classifier": "x", "accuracy": None})
    Sorter(tmp_path, CLASSES).claim({"classifier": "x", "accuracy": None})
    for about, copies, told in (
        ({"classifier": "y", "accuracy": None}, False, "classifier x, not y"),
        ({"classifier": "x", "accuracy": 0.9}, False, "accuracy None, not 0.9"),
        ({"classifier": "x", "accuracy": None}, True, "copies False, not True"),
    ):
        with pytest.raises(HeadstartError, match=f"found {told}. Give another name"):
            Sorter(tmp_path, CLASSES, copies=copies).claim(about)


def test_copies_stay_as_they_are(tmp_path: Path) -> None:
    sorter = Sorter(tmp_path / "sorted", CLASSES, copies=True)
    sorter.place(item(tmp_path / "1", "1.jpg", "old"), say("cats"))
    sorter.place(item(tmp_path / "1", "1.jpg", "new"), say("cats"))
    folder = tmp_path / "sorted" / "cats"
    assert sorted(path.read_text() for path in folder.iterdir()) == ["new", "old"]
    assert (folder / "1.jpg").read_text() == "old"
    assert not (folder / "1.jpg").is_symlink()


def test_what_came_over_a_network_is_copied(tmp_path: Path) -> None:
    sorter = Sorter(tmp_path / "sorted", CLASSES)
    first, second = (Held(Path("elsewhere"), "s3://bucket/new/1.jpg", data=data)
                     for data in (b"1", b"2"))  # fmt: skip
    for _ in range(2):
        sorter.place(first, say("cats"))
        sorter.place(second, say("cats"))
    names = listed(tmp_path / "sorted")
    assert len(names) == 2
    assert names[1] == "cats/1.jpg"
    assert (tmp_path / "sorted" / "cats" / "1.jpg").read_bytes() == b"1"
