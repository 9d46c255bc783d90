"""Photos at addresses, from the command line: what is printed, noted and gone on with."""

import csv
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import Store
from packed import samples, write_tar
from web import serve

import headstart
from headstart.data import address as addresses
from headstart.data import web

pytest.importorskip("pyarrow")
Call = Callable[..., Any]
CHOICES = {"cut": "block2b_add", "size": 64, "precision": "f32"}
KEY = "kept-to-myself"


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    return headstart.train(tiny, out=out, progress=False, **CHOICES).folder


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_keys", {})


@pytest.fixture
def bucket(tiny: Path, s3: Store) -> Iterator[str]:
    name = f"b{secrets.token_hex(8)}"
    s3.put(tiny, f"{name}/all")
    yield name
    s3.files.delete_dir(name)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def test_a_store_is_predicted_as_its_folder_is(
    run: Path, tiny: Path, s3: Store, bucket: str, call: Call, tmp_path: Path
) -> None:
    there = call("predict", run, s3.address(f"{bucket}/all"), "--sort-into", "sorted", "--json")
    here = call("predict", run, tiny, "--json")
    assert (there.code, there.err) == (0, "")
    said = [[json.loads(line) for line in done.out.splitlines()] for done in (there, here)]
    for row, other in zip(*said, strict=True):
        assert row["image"].removeprefix(f"s3://{bucket}/all") == (
            other["image"].removeprefix(str(tiny))
        )
        assert row["probabilities"] == other["probabilities"]
    copies = [path.read_bytes() for path in sorted((tmp_path / "sorted").rglob("*.*g"))]
    assert sorted(copies) == sorted(path.read_bytes() for path in tiny.rglob("*.*"))
    shown = call("predict", run, s3.address(f"{bucket}/all/red"))
    assert "\n10.png  red" in shown.out  # by the name below what was asked for


def test_a_store_that_goes_ends_it_and_what_is_done_is_kept(
    run: Path, tiny: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TRIES", 1)
    with serve(tiny) as (address, asked):
        places = [f"{address}/{p.parent.name}/{p.name}?key={KEY}" for p in tiny.rglob("*.*")]
        places.insert(3, f"{address}/red/gone.jpg?key={KEY}")
        listed = tmp_path / "list.txt"
        listed.write_text("\n".join([*places[:40], f"{address}/busy.jpg?key={KEY}"]))
        done = call("predict", run, listed, "--out", "labels.csv")
        assert done.code == 2
        assert "busy.jpg, found: HTTP Error 503" in done.err
        kept = rows_of(tmp_path / "labels.csv")
        assert "40 images are in labels.csv: to go on, type the same with --resume" in done.err
        assert len(kept) == 40
        listed.write_text("\n".join(places))
        before = len(asked)
        done = call("predict", run, listed, "--out", "labels.csv", "--resume")
        assert len(asked) - before == 49 - len(kept)  # what has its row is not fetched again
    rows = rows_of(tmp_path / "labels.csv")
    assert [row["image"] for row in rows] == [place.partition("?")[0] for place in places]
    assert [row["error"] for row in rows if row["error"]] == ["cannot be read: no such image"]
    for path in tmp_path.iterdir():
        assert path == listed or KEY not in path.read_text()


def test_an_archive_that_breaks_off(run: Path, call: Call, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "short.tar", samples(20))
    with serve(tmp_path) as (address, _):
        whole = call("predict", run, f"{address}/whole.tar?key={KEY}", "--out", "none.csv")
        assert (whole.code, "whole.tar, found: no such file" in whole.err) == (2, True)
        (tmp_path / "part.tar").write_bytes(path.read_bytes()[:-15_000])
        done = call("predict", run, f"{address}/part.tar", "--out", "labels.csv")
    assert done.code == 2
    assert "expected a whole tar archive" in done.err
    assert not (tmp_path / "labels.csv").exists()


def test_a_server_that_does_not_answer(
    run: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(web, "TRIES", 2)
    monkeypatch.setattr(web, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/1.jpg"
        done = call("predict", run, address)
        assert (done.code, done.out) == (2, "")
        assert f"expected to read {address}, found: timed out" in " ".join(done.err.split())


@pytest.mark.parametrize("command", ["train", "evaluate", "audit", "learning-curve", "features"])
def test_no_key_is_told_or_noted(
    command: str, run: Path, s3: Store, bucket: str, call: Call, tmp_path: Path
) -> None:
    source = s3.address(f"{bucket}/all").replace("s3://", f"s3://testing:{KEY}@")
    early = ["--cut", "block2b_add", "--size", "64"]
    words = early if command in ("train", "features") else []
    out = ["--to" if command == "features" else "--out"] if command != "evaluate" else []
    where = [run] if command == "evaluate" else []
    done = call(command, *where, source, *words, *([*out, "new"] if out else []))
    assert done.code == 0, done.err
    others = [source.replace("/all", "/none"), f"{source}&odd={KEY}"]
    wrong = [call(command, *where, other, *words, *([*out, "other"] if out else []))
             for other in others]  # fmt: skip
    assert [one.code for one in wrong] == [2, 2]
    assert all(KEY not in one.out + one.err for one in [done, *wrong])
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
