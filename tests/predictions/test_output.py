"""Files of predictions: their rows, and what is left of them when the process is killed."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headstart.classifier import NOT_SURE, Prediction
from headstart.errors import HeadstartError
from headstart.predictions import output
from headstart.predictions.output import open_output
from headstart.predictions.rows import Form

AWKWARD = 'a;b, "c"\n\u202eé'
SAID = Prediction("1.jpg", AWKWARD, {AWKWARD: 0.75, "other": 0.25})
BAD = Prediction("bad,\n.jpg", None, {}, error="cut short")
SEVERAL = Prediction("2.jpg", "a;b", {"a": 0.9, "b": 0.8}, labels=("a", "b"))
FORMATS = ["csv", "jsonl", "parquet"]


@pytest.fixture(params=FORMATS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "parquet":
        pytest.importorskip("pyarrow", reason="pip install 'headstart[parquet]'")
    return tmp_path / f"new/labels.{request.param}"


def write(path: Path, *predictions: Prediction, **how: Any) -> list[tuple[str, str]]:
    form = how.pop("form", Form(top_k=2))
    with open_output(path, form, how.pop("about", {"classifier": "x"}), **how) as (file, rows):
        before = list(rows)
        for prediction in predictions:
            file.write(prediction)
    return before


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def test_rows_are_read_back_as_they_were_written(path: Path) -> None:
    write(path, SAID, BAD)
    first, second = read(path)
    assert first["image"] == "1.jpg"
    assert first["label"] == (AWKWARD if path.suffix == ".jsonl" else 'a;b, "c"\\n\\u202eé')
    assert float(first["probability"]) == 0.75
    assert second["error"] == "cut short"
    assert not second.get("label")
    assert write(path, resume=True) == [("1.jpg", "answered"), (second["image"], "failed")]
    assert read(path) == [first, second]


def test_several_classes_and_no_answer(path: Path) -> None:
    form = Form(asked=True, several=True)
    write(path, SEVERAL, replace(SEVERAL, label=None, labels=(), silence=NOT_SURE), form=form)
    first, second = read(path)
    assert (first["answer"], second["answer"]) == ("answered", NOT_SURE)
    assert first["label"] == "a;b"
    assert not second["label"]
    if path.suffix == ".jsonl":
        assert first["probabilities"] == {"a": 0.9, "b": 0.8}
    else:
        assert (first["probability"], second["probability"]) in (
            ("0.900000;0.800000", ""), ("0.900000;0.800000", None)
        )  # fmt: skip
        assert (second["label_1"], float(second["probability_1"])) == ("a", pytest.approx(0.9))
    if path.suffix != ".csv":
        assert first["labels"] == ["a", "b"]
    if path.suffix == ".parquet":
        assert first["probabilities"] == pytest.approx([0.9, 0.8])


def test_no_probability_is_told_without_its_class() -> None:
    silent = replace(SAID, label=None, silence=NOT_SURE)
    form = Form(top_k=2, asked=True)
    assert dict(zip(form.columns, form.cells(silent), strict=True)) == {
        "image": "1.jpg", "answer": NOT_SURE, "label": None, "probability": None,
        "label_1": AWKWARD, "probability_1": 0.75, "label_2": "other", "probability_2": 0.25,
        "error": None,
    }  # fmt: skip
    form = Form(top_k=2, several=True)
    assert form.cells(SEVERAL) == [
        "2.jpg", "a;b", "0.900000;0.800000", "a", 0.9, "b", 0.8, None
    ]  # fmt: skip
    assert form.cells(replace(SEVERAL, label="", labels=()))[:5] == ["2.jpg", "", None, "a", 0.9]
    assert form.cells(BAD) == [BAD.name, *[None] * 6, BAD.error]


def test_what_is_there_is_not_overwritten_nor_mixed(path: Path) -> None:
    write(path, SAID)
    with pytest.raises(HeadstartError, match=r"expected a new file with --out.* Type: --resume"):
        write(path, SAID)
    with pytest.raises(HeadstartError, match=r"found classifier x, not y\. Give another name"):
        write(path, SAID, about={"classifier": "y"}, resume=True)
    path.with_name(path.name + ".about.json").unlink()
    with pytest.raises(HeadstartError, match="expected what is known of that file"):
        write(path, SAID, resume=True)
    assert len(read(path)) == 1


def test_only_one_process_writes(path: Path) -> None:
    with open_output(path, Form(), {}) as (file, _):
        file.write(SAID)
        if path.suffix == ".parquet":
            (path.parent / f"{path.name}.parts").mkdir(exist_ok=True)
        with pytest.raises(HeadstartError, match="another process that writes it"):
            write(path, SAID, about={}, form=Form(), resume=True)


@pytest.mark.parametrize("end", ["1.jpg,x", "1", '{"image": "a'])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_beginning_of_a_row_is_cut_off(tmp_path: Path, suffix: str, end: str) -> None:
    path = tmp_path / f"labels.{suffix}"
    write(path, SAID, BAD)
    whole = path.read_bytes()
    with path.open("a") as file:
        file.write(end)
    assert len(write(path, SAID, resume=True)) == 2
    assert path.read_bytes().startswith(whole)
    assert len(read(path)) == 3


def test_a_killed_header_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write(path, SAID)
    whole = path.read_bytes()
    path.write_bytes(whole[:4])
    assert write(path, SAID, resume=True) == []
    assert path.read_bytes() == whole


def test_parts_of_parquet_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'headstart[parquet]'")
    monkeypatch.setattr(output, "PART", 2)
    path = tmp_path / "labels.parquet"

    def some(first: int, last: int) -> Iterator[Prediction]:
        for number in range(first, last):
            yield replace(SAID, name=str(number))

    def killed() -> None:
        with open_output(path, Form(), {}) as (file, _):
            for prediction in some(0, 4):
                file.write(prediction)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert not path.exists()
    (tmp_path / "labels.parquet.parts" / ".00000002.parquet.tmp").write_bytes(b"half")
    before = write(path, *some(4, 7), form=Form(), about={}, resume=True)
    assert [name for name, _ in before] == ["0", "1", "2", "3"]
    assert [row["image"] for row in read(path)] == [str(n) for n in range(7)]
    assert len(write(path, *some(7, 8), form=Form(), about={}, resume=True)) == 7
    assert [row["image"] for row in read(path)] == [str(n) for n in range(8)]
    assert not (tmp_path / "labels.parquet.parts").exists()


def test_a_finished_file_stays_until_another_takes_its_place(path: Path) -> None:
    write(path, SAID, BAD)
    before = read(path)

    def fail(*predictions: Prediction) -> None:
        with open_output(path, Form(top_k=2), {"classifier": "x"}, resume=True) as (file, rows):
            list(rows)
            for prediction in predictions:
                file.write(prediction)
            raise KeyError

    for more in ([], [replace(SAID, name="more.jpg")]):  # as a table that ends badly
        with pytest.raises(KeyError):
            fail(*more)
        assert read(path)[:2] == before
    with pytest.raises(HeadstartError, match="not y"):
        write(path, SAID, resume=True, about={"classifier": "y"})
    assert read(path)[:2] == before
    names = [name for name, _ in write(path, replace(SAID, name="2.jpg"), resume=True)]
    assert names == ["1.jpg", before[1]["image"], "more.jpg"]
    assert [row["image"] for row in read(path)] == [*names, "2.jpg"]
    assert [name for name, _ in write(path, resume=True)] == [*names, "2.jpg"]
    assert {each.name for each in path.parent.iterdir()} == {path.name, f"{path.name}.about.json"}


def test_rows_of_others_are_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write(path, SAID)
    path.write_text(path.read_text() + "one,cell\n")
    with pytest.raises(HeadstartError, match=r"line 3 of .*expected a row of predictions"):
        write(path, resume=True)


def test_an_unknown_format_is_told(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match=r"ends in \.csv, .*Type: --out labels\.csv"):
        write(tmp_path / "labels.xlsx")
