"""Images sent back become a table that train reads."""

from pathlib import Path

import pytest
from serve.conftest import JPEG, ask

from headstart.data.table import read_table
from headstart.errors import HeadstartError
from headstart.serve.app import make_app
from headstart.serve.feedback import Feedback, write_table
from headstart.serve.guard import Guard
from headstart.serve.models import Models


def test_kept_once_with_the_newest_label(
    models: Models, red: bytes, blue: bytes, tmp_path: Path
) -> None:
    app = make_app(models, feedback=Feedback(tmp_path))
    for label, image in (("blue", red), ("green", red), ("blue", blue)):
        got = ask(app, "POST", f"/v1/feedback?label={label}", image, JPEG)
        assert got.json == {"kept": 1, "left_out": 0}, got.body
    assert ask(app, "POST", "/v1/feedback?label=red", b"no", JPEG).status == 422
    assert ask(app, "POST", "/v1/feedback", red, JPEG).status == 422
    assert ask(app, "POST", "/v1/feedback?label=%1b", red, JPEG).status == 422
    table = tmp_path / "table.csv"
    table.write_bytes(write_table(tmp_path))
    rows = read_table(table)
    assert [row.label for row in rows] == ["green", "blue"]
    assert [Path(row.path).read_bytes() for row in rows] == [red, blue]
    assert "path,label,predicted,model,received\n" in table.read_text()


def test_nothing_is_kept_unasked(app: Guard, red: bytes, tmp_path: Path) -> None:
    assert ask(app, "POST", "/v1/feedback?label=red", red, JPEG).status == 404
    with pytest.raises(HeadstartError, match="serve RUN --feedback"):
        write_table(tmp_path)
    (tmp_path / "feedback.sqlite").write_bytes(b"something else, which is no data base" * 40)
    with pytest.raises(HeadstartError, match="cannot read"):
        write_table(tmp_path)


def test_a_label_is_one_class_where_the_model_has_one(
    models: Models, red: bytes, tmp_path: Path
) -> None:
    app = make_app(models, feedback=Feedback(tmp_path))
    for label in ("%3B", "a%3B", "a%3Bb"):
        got = ask(app, "POST", f"/v1/feedback?label={label}", red, JPEG)
        assert got.status == 422, label
        assert "expected one class" in got.json["error"]


def test_images_of_several_models_are_not_mixed(tmp_path: Path) -> None:
    kept = Feedback(tmp_path)
    kept.keep(b"one", "cat", ("cat", 0.9, "pets", "v1"))
    kept.keep(b"two", "rose", ("rose", 0.9, "flowers", "v1"))
    with pytest.raises(HeadstartError, match=r"found those of flowers, pets\. Type: .*--model"):
        write_table(tmp_path)
    assert b",cat," in write_table(tmp_path, "pets")
    assert b"rose" not in write_table(tmp_path, "pets")
    with pytest.raises(HeadstartError, match="one of flowers, pets, found birds"):
        write_table(tmp_path, "birds")
