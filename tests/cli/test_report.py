"""headstart report and open."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstart

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "run"
    return headstart.train(tiny, out=out, cut="block1a_project_bn", size=64).folder


def test_the_page_is_made_again_and_shown(
    folder: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda place: shown.append(place) or True)
    run = shutil.copytree(folder, tmp_path / "copy")
    page = run / "report.html"
    page.unlink()
    assert call("open", run).out.strip() == str(page)  # made, for there was none
    page.unlink()
    assert call("report", run).out.strip() == str(page)
    assert page.is_file()
    assert shown == [page.as_uri()]
    call("report", run, "--open")
    assert len(shown) == 2


def test_where_there_is_no_browser_the_file_is_named(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda place: False)
    refused = call("open", folder)
    assert refused.code == 2
    assert f"expected a browser to show {folder / 'report.html'}" in refused.err


def test_what_is_no_run_is_refused(call: Call, tmp_path: Path) -> None:
    refused = call("report", tmp_path)
    assert refused.code == 2
    assert "expected" in refused.err
