"""headstart explain and predict --explain, as they are typed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart

Call = Callable[..., Any]
OLD = Path(__file__).parents[1] / "data_of_old_runs" / "0.1.0"


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explained") / "run"
    return headstart.train(tiny, out=out, cut="block2b_add", size=64).folder


def pictures(folder: Path) -> list[str]:
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert np.asarray(image).std() > 10
    return sorted(path.name for path in folder.iterdir())


def test_it_says_and_draws(run: Path, tiny: Path, tmp_path: Path, call: Call) -> None:
    done = call("explain", run, tiny / "red" / "0.jpg", tiny / "blue" / "1.png")
    assert done.code == 0, done.err
    assert done.err == ""
    first, second, empty, added, where = done.out.splitlines()
    assert first.startswith(f"{tiny / 'red' / '0.jpg'}  red ")
    assert re.search(r"  looks like \d+\.(jpg|png) \(red, 0\.\d\d\), ", first)
    assert "blue" in second
    assert empty == ""
    assert added.startswith("2 maps: their places add up to the log odds; largest difference ")
    assert where == "Pictures: explanations"
    assert pictures(tmp_path / "explanations") == ["0.explained.png", "1.explained.png"]
    assert "explanations-2" in call("explain", run, tiny / "red" / "0.jpg").out


def test_one_object_an_image(run: Path, tiny: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    out = tmp_path / "pictures"
    images = [tiny / "red" / "0.jpg", tmp_path / "bad.jpg", tiny / "blue" / "1.png"]
    done = call("explain", run, *images, "--json", "--out", out, "--class", "blue")
    assert done.code == 1
    assert done.err == "1 of 3 images could not be used: their rows say why\n"
    red, bad, blue = (json.loads(line) for line in done.out.splitlines())
    assert bad["image"] == str(tmp_path / "bad.jpg")
    assert bad["label"] is None
    assert "not an image" in bad["error"]
    assert (red["label"], red["class"]) == ("red", "blue")
    assert red["logit"] < 0 < blue["logit"]
    for row in (red, blue):
        assert row["exact"]
        assert row["sum"] - row["logit"] == pytest.approx(row["difference"])
        assert abs(row["difference"]) < 1e-4
        assert len(row["nearest"]) == 5
        assert Path(row["picture"]).is_file()
    assert set(red["nearest"][0]) == {"image", "label", "distance"}
    assert pictures(out) == ["0.explained.png", "1.explained.png"]


def test_old_runs_have_no_nearest_images_and_say_so(tiny: Path, tmp_path: Path, call: Call) -> None:
    done = call("explain", OLD / "neural", tiny / "red" / "0.jpg", "--json")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith("without the nearest training images: no neighbours.safetensors in")
    row = json.loads(done.out)
    assert (row["exact"], row["difference"], row["nearest"]) == (False, None, [])
    assert not list(tmp_path.iterdir())  # no pictures unasked
    done = call("explain", OLD / "neural", tiny / "red" / "0.jpg")
    assert "1 map, by hiding places of the feature maps one by one" in done.out


def test_predict_explains_what_it_says(run: Path, tiny: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    images = [tiny / "red" / "0.jpg", tmp_path / "bad.jpg", tiny / "blue" / "0.png", tiny / "red"]
    images[2] = tiny / "blue" / "1.png"
    plain = call("predict", run, *images, "--format", "csv", "--tta", 2)
    done = call("predict", run, *images, "--format", "csv", "--tta", 2, "--explain", tmp_path / "p")
    assert done.out == plain.out
    assert done.code == 1
    assert done.err.splitlines()[0] == f"26 explained: pictures in {tmp_path / 'p'}"
    names = pictures(tmp_path / "p")
    assert len(names) == 26
    assert {"0.explained.png", "0-2.explained.png"} <= set(names)


def test_what_cannot_be_asked(run: Path, tiny: Path, tmp_path: Path, call: Call) -> None:
    done = call("explain", run, tiny / "red" / "0.jpg", "--class", "green")
    assert done.code == 2
    assert "expected --class with one of blue, red, found 'green'. Type: --class 'blue'" in done.err
    (tmp_path / "empty").mkdir()
    done = call("explain", run, tmp_path / "empty")
    assert done.code == 2
    assert f"found none. Type: headstart explain {run} PHOTOS" in done.err
    assert not (tmp_path / "explanations").exists()
