"""headstart cache: what it prints and refuses, on a cache folder made by hand."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spaces import open_space, put

from headstart.features.housekeeping import measure_usage
from headstart.system.digest import seal
from headstart.system.lock import Hold

Call = Callable[..., Any]


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
        "selections/1.json": json.dumps(seal({})).encode(),
        "selections/2.json": json.dumps(seal({})).encode(),
        "weights/vgg16_notop.h5": bytes(1_500_000),
        "weights/brought.h5": bytes(500_000),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_info_has_a_line_a_thing_and_sizes_that_add_up(call: Call, folder: Path) -> None:
    first, *lines = call("cache", "info").out.splitlines()
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


def test_verify_names_what_is_damaged_and_what_to_do(call: Call, folder: Path) -> None:
    shutil.rmtree(folder / "extractors" / "e")
    done = call("cache", "verify")
    assert done.code == 0
    assert done.out.count("whole") == 6
    (folder / "selections" / "1.json").write_text("{")
    done = call("cache", "verify")
    assert done.code == 1
    assert re.search(r"selections/1.json +cannot be read \(", done.out)
    assert f"Remove what is damaged, to be made (weights: fetched) again when it is needed:\n  " \
           f"{folder / 'selections/1.json'}" in done.out  # fmt: skip


def test_pruning_everything_says_how_to_get_weights_again(call: Call, folder: Path) -> None:
    done = call("cache", "prune", "--all")
    assert "removed 1 features, 1 extractors, 2 selections, 1 addresses, 2 weights, " in done.out
    assert "vgg16_notop.h5 again, type: headstart weights fetch vgg16\n" in done.out
    assert "brought.h5 again, type: headstart weights fetch ADDRESS, or bring" in done.out
    assert "left" not in done.out
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_pruning_says_what_it_left(call: Call, folder: Path) -> None:
    done = call("cache", "prune", "--max-mb", "1")
    assert "removed 1 features, 1 extractors, 2 selections, 1 addresses, " in done.out
    assert "2.0 MB are left, in use or weights, which only --all removes" in done.out
    hold = Hold(folder / "extractors" / "e")
    assert "so left: extractors/e\n" in call("cache", "prune", "--all").out
    hold.release()
    assert "removed 1 extractors, " in call("cache", "prune", "--all").out
    assert call("cache", "prune", "--all").out == "removed nothing\n"


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
    call: Call, folder: Path, arguments: list[str], message: str
) -> None:
    before = measure_usage(folder)
    done = call("cache", "prune", *arguments)
    assert done.code == 2
    assert f"error: {message}" in done.err
    assert measure_usage(folder) == before
