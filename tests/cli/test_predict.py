"""headstart predict at scale: files gone on with, class folders, watched folders, videos."""

import csv
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import headstart
from headstart.cli.predicted import find_common
from headstart.predictions import watch as watching

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale") / "run"
    return headstart.train(tiny, out=folder, cut="block2b_add", size=64).folder


@pytest.fixture
def table(tiny: Path, tmp_path: Path) -> Path:
    """7,000 rows of few images, one of them gone."""
    names = [f"red/{n}.jpg" for n in range(0, 48, 6)] + [f"blue/{n}.jpg" for n in range(3, 48, 6)]
    shutil.copytree(tiny, tmp_path / "photos")
    names += ["gone.jpg"]
    path = tmp_path / "photos" / "rows.csv"
    path.write_text("path\n" + "".join(f"{names[n % len(names)]}\n" for n in range(7000)))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_was_killed_is_gone_on_with_and_every_line_is_there_once(
    run: Path, table: Path, tmp_path: Path, call: Call
) -> None:
    command = [sys.executable, "-m", "headstart", "predict", run, "-", "--out", "labels.csv"]
    process = subprocess.Popen(
        list(map(str, command)), cwd=table.parent, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    lines = [f"{row['path']}\n".encode() for row in rows_of(table)]
    process.stdin.write(b"".join(lines[:6000]))  # and then it waits for more, as a slow pipe
    process.stdin.flush()
    out = table.parent / "labels.csv"
    patience = time.monotonic() + 60
    while (not out.exists() or out.stat().st_size < 40) and time.monotonic() < patience:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    begun = out.read_text()
    assert 1 < begun.count("\n") < 6001
    out.write_text(begun + "red/0.j")  # half a row
    done = call("predict", run, table, "--out", out, "--resume")
    assert done.code == 1
    assert f"and {begun.count(chr(10)) - 1:,} before" in done.out
    assert "411 of 7,000 images could not be used" in done.err
    assert out.read_text().startswith(begun)
    assert [row["image"] for row in rows_of(out)] == [row["path"] for row in rows_of(table)]
    whole = tmp_path / "whole.csv"
    call("predict", run, table, "--out", whole)
    assert whole.read_text() == out.read_text()
    assert rows_of(whole)[0]["label"] == "red"
    assert "cannot be read: No such file" in rows_of(whole)[16]["error"]


def test_options_combine_with_a_file(run: Path, tiny: Path, tmp_path: Path, call: Call) -> None:
    asked = ("--accuracy", 0.9, "--reject", 0.1, "--top-k", 2)
    done = call("predict", run, tiny / "red", "--out", "l.jsonl", "--explain", "why", *asked)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    assert len(rows) == len(list((tmp_path / "why").iterdir())) == 24
    assert {"answer", "typicality", "probabilities"} <= set(rows[0])
    assert "24 images, " in done.out
    assert "answered of 24" in done.err
    again = call("predict", run, tiny / "red", "--out", "l.jsonl", "--resume", *asked)
    assert "24 images, all there before" in again.out
    assert "answered of 24" in again.err
    other = call("predict", run, tiny / "red", "--out", "l.jsonl", "--resume", "--top-k", 2)
    assert (other.code, "accuracy 0.9, not None" in other.err) == (2, True)


def test_images_are_sorted_into_class_folders(
    run: Path, tiny: Path, tmp_path: Path, call: Call
) -> None:
    call("predict", run, tiny, "--sort-into", "sorted")
    for name in ("red", "blue"):
        links = sorted(path.resolve() for path in (tmp_path / "sorted" / name).iterdir())
        assert links == sorted(path.resolve() for path in (tiny / name).iterdir())
    done = call("predict", run, tiny, "--sort-into", "unsure", "--copy", "--accuracy", 0.999)
    assert done.code == 0, done.err
    assert len(list((tmp_path / "unsure" / "not sure").iterdir())) == 48


def test_a_folder_is_not_sorted_into_itself(tmp_path: Path, call: Call) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "sorted" / "in").mkdir(parents=True)
    for words in (
        "--watch in --sort-into in/sorted",
        "in --sort-into in/sorted",
        "in/** --explain in/sorted",
        "--watch sorted/in --sort-into sorted",
    ):
        done = call("predict", "run", *words.split())
        assert (done.code, done.out) == (2, "")
        assert "one in the other: what is put there would be predicted too" in done.err
        assert "Type: " in done.err
        assert done.err.rstrip().endswith((" sorted", " sorted/sorted"))


def test_rows_and_folders_are_of_one_call(
    run: Path, tiny: Path, tmp_path: Path, call: Call
) -> None:
    sources = (tiny / "red" / "0.jpg", "--out", "l.csv", "--resume")
    assert call("predict", run, *sources).code == 0
    added = call("predict", run, *sources, "--sort-into", "sorted")
    assert (added.code, "sort_into None, not" in added.err) == (2, True)
    assert call("predict", run, *sources).code == 0
    assert call("predict", run, tiny, "--sort-into", "s").code == 0
    other = call("predict", run, tiny, "--sort-into", "s", "--accuracy", 0.9)
    assert (other.code, other.out, "accuracy None, not 0.9" in other.err) == (2, "", True)


def test_a_watched_folder_until_it_is_stopped(
    run: Path, tiny: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(tiny / "red" / "0.jpg", tmp_path / "in" / "a.jpg")
    looks = 0

    def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            shutil.copy(tiny / "blue" / "1.png", tmp_path / "in" / "b.png")
        if looks == 6:
            raise KeyboardInterrupt

    clock = functools.partial(lambda: time.time() + 10 * looks)
    monkeypatch.setattr(watching, "watch", functools.partial(
        watching.watch, sleep=sleep, clock=clock))  # fmt: skip
    done = call("predict", run, "--watch", "in", "--out", "in.csv")
    assert done.code == 0, done.err
    assert [row["label"] for row in rows_of(tmp_path / "in.csv")] == ["red", "blue"]
    assert "2 images, " in done.out


def test_a_video(run: Path, tmp_path: Path, call: Call) -> None:
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48)
    )
    rng = np.random.default_rng(0)
    for colour in [(60, 60, 200)] * 3 + [(200, 60, 60)] * 3:
        writer.write(np.clip(colour + rng.normal(0, 40, (48, 64, 3)), 0, 255).astype(np.uint8))
    writer.release()
    done = call("predict", run, "--camera", "clip.avi", "--format", "csv")
    assert done.code == 0, done.err
    rows = list(csv.DictReader(done.out.splitlines()))
    assert [row["label"] for row in rows] == ["red"] * 3 + ["blue"] * 3
    assert rows[0]["image"].startswith("clip.avi#1 ")


@pytest.mark.parametrize(
    ("words", "text"),
    [("photos --watch photos", "expected one of PHOTOS, --watch and --camera, found PHOTOS and"),
     ("photos --resume", "expected the file to go on with, found none. Type: --out labels.csv"),
     ("photos --copy", "expected a folder for the copies, found none. Type: --sort-into DIR"),
     ("photos --json --format csv", "expected --json or --format csv, found both"),
     ("photos --json --out a.csv", "expected a format by the name of --out a.csv"),
     ("photos --out a.csv --format csv", "expected a format by the name of --out a.csv"),
     ("--camera 0 --sort-into x", "expected files to sort, found pictures of a camera"),
     ("--watch x --explain y", "expected images to explain that come in one call")],
)  # fmt: skip
def test_what_does_not_go_together_is_told(words: str, text: str, call: Call) -> None:
    done = call("predict", "run", *words.split())
    assert (done.code, done.out) == (2, "")
    assert text in done.err


def test_json_is_an_object_an_image(run: Path, tiny: Path, call: Call) -> None:
    first, second = (call("predict", run, tiny, *words).out
                     for words in (["--json"], ["--format", "jsonl"]))  # fmt: skip
    assert first == second
    assert len([json.loads(line) for line in first.splitlines()]) > 1


def test_names_and_rows_that_are_odd_are_rows(
    run: Path, tiny: Path, tmp_path: Path, call: Call
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(tiny / "red" / "0.jpg", tmp_path / "in" / ("r" * 246 + ".jpg"))
    (tmp_path / "in" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "rows.csv").write_text(f"path,n\nin/{'r' * 246}.jpg,1\n,2\n")
    done = call("predict", run, "in", "rows.csv", "--out", "l.csv", "--sort-into", "s", "--copy",
                "--explain", "why")  # fmt: skip
    assert done.code == 1, done.err
    assert "2 of 4 images could not be used" in done.err
    rows = rows_of(tmp_path / "l.csv")
    assert [row["label"] for row in rows] == ["", "red", "red", ""]
    assert "cannot be read: " in rows[0]["error"]
    assert rows[3]["image"] == "(no path in line 3 of rows.csv)"
    assert len(list((tmp_path / "why").iterdir())) == 2


def test_several_classes_an_image_cannot_keep_an_accuracy(tiny: Path, call: Call) -> None:
    old = Path(__file__).parents[1] / "data_of_old_runs" / "0.1.0" / "several_classes"
    done = call("predict", old, tiny, "--accuracy", 0.9)
    assert done.code == 2
    assert "found one of several" in done.err
    assert "linear head" not in done.err


def test_a_folder_is_told_in_short_names_the_least_sure_first(
    run: Path, tiny: Path, tmp_path: Path, call: Call
) -> None:
    photos = shutil.copytree(tiny, tmp_path / "new photos")
    (photos / "broken.jpg").touch()
    done = call("predict", run, photos)
    rows = [re.fullmatch(r"(\S+) +(.*)", line) for line in done.out.splitlines()]
    names, said = zip(*(row.groups() for row in rows if row), strict=True)
    assert (names[0], said[0]) == ("broken.jpg", "left out: empty file")
    assert {name.split("/")[0] for name in names[1:]} == {"red", "blue"}
    assert len(names) == 49
    shares = [float(text.split()[-1].rstrip("%")) for text in said[1:]]
    assert shares == sorted(shares)
    assert "49 images: 24 " in done.err
    assert "Least sure" not in done.err


def test_of_many_images_the_rows_come_as_they_are_done(
    run: Path, tiny: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.cli.predict.SORTED", 10)
    done = call("predict", run, tiny)
    listed = call("predict", run, tiny, "--format", "csv").out.splitlines()[1:]
    in_order = [line.split(",")[0].removeprefix(f"{tiny}/") for line in listed]
    assert [line.split()[0] for line in done.out.splitlines()] == in_order
    assert done.err.splitlines()[2] == "Least sure:"
    assert len(done.err.splitlines()) == 9
    assert f"Next: headstart predict {run} {tiny} --out labels.csv" in done.err


def test_one_image_has_one_line(run: Path, tiny: Path, call: Call) -> None:
    photo = next((tiny / "red").iterdir())
    done = call("predict", run, photo)
    assert re.fullmatch(rf"{photo.name}  red \d+\.\d%\n", done.out)
    assert done.err == ""


@pytest.mark.parametrize(
    ("sources", "common"),
    [
        (["new"], "new/"), (["new/a", "new/b"], "new/"), (["new/a/1.jpg"], "new/a/"),
        (["new", "old"], ""), (["new/*.jpg"], ""), (["-"], ""), (["list.csv"], ""),
        (["new", "/elsewhere"], ""), (["new/"], "new/"), (["."], ""),
    ],
)  # fmt: skip
def test_what_all_names_begin_with(
    sources: list[str], common: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("new/a", "new/b", "old"):
        Path(folder).mkdir(parents=True)
    for file in ("new/a/1.jpg", "list.csv"):
        Path(file).touch()
    assert find_common(sources) == common


def test_in_pieces(run: Path, tiny: Path, tmp_path: Path, call: Call) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'headstart[parquet]'")
    photos = Path(shutil.copytree(tiny, tmp_path / "photos"))
    (photos / "broken.jpg").write_bytes(b"no image")
    done = call("predict", run, "photos", "--shard", "1/1", "--out", "labels")
    assert done.code == 1
    assert re.match(r"49 images, [\d,]+ a second: 1 file of labels\n", done.out)
    assert "\n49 images: 24 blue, 24 red, 1 left out\n" in done.err
    assert "Least sure:" in done.err
    assert "1 of 49 images could not be used: their rows say why" in done.err
    again = call("predict", run, "photos", "--shard", "1/1", "--out", "labels", "--json")
    told = json.loads(again.out)
    assert (again.code, told["images"], told["new"], told["failed"]) == (1, 49, 0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "1/2"], "found none. Type: --out labels"),
        (["--on", "ray", "--out", "labels.csv"], "found labels.csv. Type: --out labels"),
        (["--shard", "3/2", "--out", "labels"], "expected --shard as 3/64"),
        (
            ["--shard", "1/2", "--out", "x", "--watch", "y", "--resume"],
            "found --resume and --watch",
        ),
        (["--on", "spark", "--out", "x"], "found 'spark'. Type: --on ray"),
    ],
)
def test_what_does_not_go_with_pieces(
    run: Path, tiny: Path, call: Call, options: list[str], message: str
) -> None:
    done = call("predict", run, tiny, *options)
    assert done.code == 2
    assert message in " ".join(done.err.split())
