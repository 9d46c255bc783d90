"""What a person decided about single images holds, and is read strictly."""

from pathlib import Path

import pytest

from headstart.data.dataset import load
from headstart.data.decisions import NAME
from headstart.errors import DatasetError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("ants/1.jpg", "ants/2.jpg", "ants/3.jpg", "bees/4.jpg", "bees/5.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def decide(folder: Path, *rows: str) -> None:
    (folder / NAME).write_text("\n".join(["path,decision,label", *rows]))


def test_decisions_hold_and_change_the_fingerprint(photos: Path) -> None:
    before = load(photos)
    decide(photos, "ants/1.jpg,relabel,bees", "bees/5.jpg,Drop,", "ants/2.jpg,keep,", "")
    after = load(photos)
    assert {item.name: item.label for item in after.items} == {
        "ants/1.jpg": "bees", "ants/2.jpg": "ants", "ants/3.jpg": "ants", "bees/4.jpg": "bees",
    }  # fmt: skip
    assert after.fingerprint() != before.fingerprint()
    assert after.kept == {photos / "ants/2.jpg"}
    assert after.warnings[0] == f"{NAME}: 1 images relabelled, 1 dropped"
    decide(photos, "ants/2.jpg,keep,")
    assert load(photos).fingerprint() == before.fingerprint()


def test_rows_about_no_image_are_told(photos: Path) -> None:
    decide(photos, "ants/7.jpg,drop,")
    assert load(photos).warnings[0] == f"1 rows of {NAME} are about no image here: ants/7.jpg"


def test_a_table_has_its_decisions_beside_it(photos: Path) -> None:
    rows = [f"ants/{i}.jpg,ants" for i in (1, 2, 3)] + [f"bees/{i}.jpg,bees" for i in (4, 5)]
    (photos / "all.csv").write_text("\n".join(["path,label", *rows]))
    decide(photos, "ants/1.jpg,relabel,bees;ants")
    assert {item.label for item in load(photos / "all.csv").items} == {"ants", "bees", "ants;bees"}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("ants/1.jpg,relabl,bees", "decision among keep, relabel, drop in line 2"),
        (",drop,", "found no path"),
        ("ants/1.jpg,relabel,", "expected a label where the decision is relabel"),
        ("ants/1.jpg,drop,bees", "only there, in line 2"),
        ("ants/1.jpg,relabel,bes", "found 'bes'. Near: bees. Correct the row"),
        ("ants/1.jpg,drop,,x", "found more cells"),
    ],
)
def test_what_cannot_be_read_is_an_error(row: str, text: str, photos: Path) -> None:
    decide(photos, row)
    with pytest.raises(DatasetError) as error:
        load(photos)
    assert text in str(error.value)


def test_another_table_of_that_name_and_dropping_all_are_errors(photos: Path) -> None:
    (photos / NAME).write_text("image;label\n")
    with pytest.raises(DatasetError, match="Make the first line: path,decision,label"):
        load(photos)
    decide(photos, *(f"ants/{i}.jpg,drop," for i in (1, 2, 3)),
           *(f"bees/{i}.jpg,drop," for i in (4, 5)))  # fmt: skip
    with pytest.raises(DatasetError, match="expected images that are not dropped"):
        load(photos)


def test_a_class_that_is_decided_away_is_told(photos: Path) -> None:
    (photos / "wasps").mkdir()
    (photos / "wasps" / "6.jpg").write_text("6")
    decide(photos, "wasps/6.jpg,drop,")
    assert f"{NAME} leaves no image of wasps" in load(photos).warnings


def test_a_cell_without_end_is_refused(photos: Path) -> None:
    decide(photos, "x" * 200_000 + ",drop,")
    with pytest.raises(DatasetError, match=r"expected a table in UTF-8, found: field larger"):
        load(photos)
