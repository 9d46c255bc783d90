"""Images without end: what is listed, in which order, and how much of it is held."""

import io
from pathlib import Path

import pytest

from headstart.data import source
from headstart.data.source import holds, outside, stream_items
from headstart.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images in two folders, and what is no image."""
    for place in ("a", "b/deep", ".hidden"):
        (tmp_path / place).mkdir(parents=True)
    for name in (
        "a/10.jpg",
        "a/2.jpg",
        "a/notes.txt",
        "b/deep/x y.png",
        "b/1.JPG",
        ".hidden/3.jpg",
    ):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(*sources: object, given: bytes = b"") -> list[str]:
    items = stream_items([str(one) for one in sources], io.BytesIO(given))
    return [item.path.as_posix() for item in items]


def below(folder: Path, *sources: object, given: bytes = b"") -> list[str]:
    return [name.removeprefix(f"{folder}/") for name in names(*sources, given=given)]


def test_a_folder_in_natural_order(folder: Path) -> None:
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "b" / "deep" / "z.jpg").symlink_to("z.jpg")
    found = ["a/2.jpg", "a/10.jpg", "b/1.JPG", "b/deep/x y.png", "b/deep/z.jpg"]
    assert below(folder, folder) == found
    assert below(folder, folder / "b" / "deep" / "*" / "none") == []


def test_of_a_large_folder_few_names_are_held(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "SORTED", 1)
    assert sorted(below(folder, folder)) == ["a/10.jpg", "a/2.jpg", "b/1.JPG", "b/deep/x y.png"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("a/*.jpg", ["a/2.jpg", "a/10.jpg"]),
     ("**/*.jpg", ["a/2.jpg", "a/10.jpg"]),
     ("**/*.[Jj]*", ["a/2.jpg", "a/10.jpg", "b/1.JPG"]),
     ("*/deep", ["b/deep/x y.png"]),
     ("?/1*", ["a/10.jpg", "b/1.JPG"]),
     (".*/*", [".hidden/3.jpg"]),
     ("none*", [])],
)  # fmt: skip
def test_patterns(folder: Path, pattern: str, found: list[str]) -> None:
    assert below(folder, folder / pattern) == found


def test_a_file_called_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "a" / "[1].jpg").write_bytes(b"")
    assert below(folder, folder / "a" / "[1].jpg") == ["a/[1].jpg"]


def test_tables_and_lists_name_paths_beside_themselves(folder: Path) -> None:
    (folder / "t.csv").write_text('id,image\n1,a/2.jpg\n2,"gone, or not.jpg"\n3,a/2.jpg\n')
    (folder / "t.jsonl").write_text('{"path": "a/2.jpg"}\n{"path": "a/10.jpg", "label": "x"}\n')
    (folder / "t.txt").write_text("a/2.jpg\r\n\n/abs.jpg\nb/1.JPG")
    assert below(folder, folder / "t.csv") == ["a/2.jpg", "gone, or not.jpg", "a/2.jpg"]
    assert below(folder, folder / "t.jsonl") == ["a/2.jpg", "a/10.jpg"]
    assert below(folder, folder / "t.txt") == ["a/2.jpg", "/abs.jpg", "b/1.JPG"]
    items = stream_items([folder / "t.csv"])
    assert next(items).name == "a/2.jpg"  # as the table has it


def test_a_parquet_table(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'headstart[parquet]'")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"path": ["a/2.jpg"] * 3}), folder / "t.parquet")
    assert below(folder, folder / "t.parquet") == ["a/2.jpg"] * 3


def test_a_table_is_read_as_it_is_asked_for(folder: Path) -> None:
    with (folder / "t.csv").open("w") as file:
        file.write("path\n")
        for number in range(100_000):
            file.write(f"{number}.jpg\n")
        file.write('""\nlast.jpg\n')
    items = stream_items([folder / "t.csv"])
    assert [next(items).name for _ in range(3)] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [item.name for item in items][-2:] == ["(no path in line 100002 of t.csv)", "last.jpg"]


def test_a_table_without_paths_is_told(folder: Path) -> None:
    (folder / "t.csv").write_text("picture,label\n1.jpg,x\n")
    with pytest.raises(DatasetError, match=r"expected a column 'path' in .*, found 'picture'"):
        names(folder / "t.csv")


def test_lines_on_standard_input_end_with_a_line_or_a_zero() -> None:
    assert names("-", given=b"a.jpg\nb \xe9.jpg\n") == ["a.jpg", "b \udce9.jpg"]
    assert names("-", given=b"a.jpg\0two\nlines.jpg\0") == ["a.jpg", "two\nlines.jpg"]


@pytest.mark.parametrize(
    ("source", "into", "inside"),
    [("a", "a/sorted", True), ("a", "a", True), ("a", "sorted", False), ("a", "ab", False),
     ("a/2.jpg", "a/sorted", False), ("a/*.jpg", "a/sorted", False), ("a/*", "a/sorted", True),
     ("**/*.jpg", "a/sorted", True), ("b/../a", "a/sorted", True), ("-", "a", False),
     ("*/deep", "b/deep/sorted", True)],
)  # fmt: skip
def test_a_folder_within_a_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, into: str, inside: bool
) -> None:
    monkeypatch.chdir(folder)
    assert holds(source, Path(into)) is inside
    assert not holds(source, outside(source, Path(into).name))


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(DatasetError, match="found nothing at nowhere"):
        names("nowhere")
