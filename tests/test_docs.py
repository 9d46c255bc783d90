"""README and docs: every console block runs as it stands or says why not; the site is whole and
needs no network; the README is short.
"""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart import recipe
from headstart.cli.app import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- not run: ([^>]+) -->\n)?^ *```console\n(.*?)^ *```", re.M | re.S)
EARLY = {"cut": ["block2b_add"], "size": 64}  # what `quick` stands for here: seconds are spared


def read_blocks(page: Path) -> list[str]:
    """The lines of each block that is to be run: those after "$ ", or all."""
    blocks = []
    for why, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        typed = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
        if not why:
            blocks.append("\n".join(typed or text.splitlines()))
    return blocks


@pytest.fixture(scope="module")
def stage(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that has what the pages name: photos of ants and bees (drawn), labelled and not, a
    table of several classes, two runs (which a page that begins with a training has to make).
    """
    folder = tmp_path_factory.mktemp("stage")
    for old, new in (("red", "ants"), ("blue", "bees")):
        shutil.copytree(tiny / old, folder / "photos" / new)
    shutil.copy(folder / "photos" / "ants" / "4.png", folder / "new.jpg")
    for path in sorted((folder / "photos").glob("*/*"))[::12]:
        labelled = folder / "other_labelled_photos" / path.parent.name / path.name
        for target in (folder / "new_photos" / f"new_{path.name}", labelled):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes() + b" ")  # another file of the same picture
    shutil.copytree(folder / "new_photos", folder / "new")
    shutil.copytree(folder / "photos", folder / "sample")
    rows = [f"{path.relative_to(folder)},{path.parent.name}{';bees' if number % 5 == 0 else ''}"
            for number, path in enumerate(sorted((folder / "photos").glob("*/*")))]  # fmt: skip
    (folder / "several.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        table = recipe._table
        patch.setattr(recipe, "_table", lambda name: {
            **table(name), **(EARLY if str(name) == "quick" else {})
        })  # fmt: skip
        patch.setattr(webbrowser, "open", lambda address: True)
        patch.setenv("HEADSTART_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        for number, cut in enumerate(("block1a_project_bn", "block2a_project_bn"), 1):
            headstart.train("photos", out=f"runs/photos-{number}", cut=cut, size=64)
        yield folder


def type_line(line: str, patch: pytest.MonkeyPatch) -> int:
    """Run one line as a shell would; headstart in this process."""
    words = shlex.split(line, comments=True)
    if not words:
        return 0
    if words[0] != "headstart":
        return subprocess.run(
            [sys.executable if words[0] == "python" else words[0], *words[1:]], check=False
        ).returncode
    patch.setattr(sys, "argv", words)
    with redirect_stdout(StringIO()), pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if read_blocks(page)], ids=lambda page: page.stem
)
def test_what_a_page_types_runs(
    page: Path, stage: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    blocks = read_blocks(page)
    runs = [] if blocks[0].startswith("headstart train photos/") else ["runs"]
    for name in ("photos", "new_photos", "new", "other_labelled_photos", "sample", *runs):
        shutil.copytree(stage / name, tmp_path / name)
    for name in ("several.csv", "new.jpg"):
        shutil.copy(stage / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        for line in block.splitlines():
            assert type_line(line, monkeypatch) == 0, f"{line}\n{capsys.readouterr().err}"


def test_every_block_of_a_shell_is_one_that_is_run() -> None:
    for page in PAGES:
        assert not re.search(r"```(bash|sh|shell|powershell)\b", page.read_text(encoding="utf-8"))


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 1000


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra [docs]")
def test_the_site_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    """No link is broken, commands and public names stand in it, nothing is loaded elsewhere."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert len(pages) > 15
    loaded: list[Any] = []
    for text in pages.values():
        loaded += re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="?(https?:[^">\s]+)', text)
        loaded += re.findall(
            r'<link[^>]*rel="?(?:stylesheet|preconnect|icon)[^>]*https?:[^>]*', text
        )
    assert not loaded
    python = next(text for path, text in pages.items() if path.stem == "python")
    assert all(f">{name}<" in python for name in headstart.__all__)
    commands = next(text for path, text in pages.items() if path.stem == "commands")
    assert "headstart learning-curve" in commands
