"""headstart cache: what it prints and refuses, on a cache folder made by hand."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from spaces import open_space, put
from typer.testing import CliRunner

import headstart.cli.cache  # noqa: F401  (adds its commands to the app)
from headstart.cli.app import app
from headstart.features.housekeeping import measure_usage
from headstart.system.lock import Hold


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, with an extractor that lacks its model and whole things of other kinds."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    put(open_space(tmp_path), *range(40))
    address = {"url": "https://example.org/vgg16_notop.h5", "md5": None}
    slices = {"slices": {"a": [0, 1], "b": [1, 2], "c": [2, 3]}}
    for name, content in {
        "extractors/e/extractor.json": json.dumps(slices).encode(),
        "addresses/vgg16.json": json.dumps(address).encode(),
        "selections/1.json": b"{}",
        "selections/2.json": b"{}",
        "weights/vgg16_notop.h5": bytes(1_500_000),
        "weights/brought.h5": bytes(500_000),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["cache", *arguments])


def test_info_has_a_line_a_thing_and_sizes_that_add_up(folder: Path) -> None:
    first, *lines = call("info").stdout.splitlines()
    assert first == f"{folder}: {measure_usage(folder) / 1e6:,.1f} MB"
    sizes = {line.split()[0]: float(re.findall(r"([\d,.]+) MB", line)[0]) for line in lines}
    assert set(sizes) == {"features/abc", "extractors/e", "weights/vgg16_notop.h5",
                          "weights/brought.h5", "selections", "addresses", "other"}  # fmt: skip
    assert sum(sizes.values()) == pytest.approx(measure_usage(folder) / 1e6, abs=0.05 * len(sizes))
    text = "\n".join(lines)
    assert re.search(r"features/abc +lite0 +40 vectors", text)
    assert re.search(r"extractors/e +a and 2 more cuts ", text)
    assert re.search(r"weights/vgg16_notop.h5 +vgg16 ", text)
    assert re.search(r"selections +2 files", text)


def test_verify_names_what_is_damaged_and_what_to_do(folder: Path) -> None:
    shutil.rmtree(folder / "extractors" / "e")
    done = call("verify")
    assert done.exit_code == 0
    assert done.stdout.count("whole") == 6
    (folder / "selections" / "1.json").write_text("{")
    done = call("verify")
    assert done.exit_code == 1
    assert re.search(r"selections/1.json +cannot be read \(", done.stdout)
    assert f"Remove what is damaged, to be made (weights: fetched) again when it is needed:\n  " \
           f"{folder / 'selections/1.json'}" in done.stdout  # fmt: skip


def test_pruning_everything_says_how_to_get_weights_again(folder: Path) -> None:
    done = call("prune", "--all")
    assert "removed 1 features, 1 extractors, 2 selections, 1 addresses, 2 weights, " in done.stdout
    assert "vgg16_notop.h5 again, type: headstart weights fetch vgg16\n" in done.stdout
    assert "brought.h5 again, type: headstart weights fetch ADDRESS, or bring" in done.stdout
    assert "left" not in done.stdout
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_pruning_says_what_it_left(folder: Path) -> None:
    done = call("prune", "--max-mb", "1")
    assert "removed 1 features, 1 extractors, 2 selections, 1 addresses, " in done.stdout
    assert "2.0 MB are left, in use or weights, which only --all removes" in done.stdout
    hold = Hold(folder / "extractors" / "e")
    assert "so left: extractors/e\n" in call("prune", "--all").stdout
    hold.release()
    assert "removed 1 extractors, " in call("prune", "--all").stdout
    assert call("prune", "--all").stdout == "removed nothing\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-mb", "-1"], "expected a number of megabytes, 0 or more, found -1. "
         "Type: headstart cache prune --max-mb 2000. To remove everything: --all"),
        (["--max-mb", "nan"], "expected a number of megabytes, 0 or more, found nan"),
        (["--max-mb", "inf"], "expected a number of megabytes, 0 or more, found inf"),
        (["--older-than", "-3"], "expected a number of days, 0 or more, found -3. "
         "Type: headstart cache prune --older-than 30."),
        (["--older-than", "nan"], "expected a number of days, 0 or more, found nan"),
    ],
)  # fmt: skip
def test_a_limit_that_makes_no_sense_removes_nothing(
    folder: Path, arguments: list[str], message: str
) -> None:
    before = measure_usage(folder)
    done = call("prune", *arguments)
    assert done.exit_code == 2
    assert f"error: {message}" in done.stderr
    assert measure_usage(folder) == before
