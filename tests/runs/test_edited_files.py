"""Files of runs that hands have edited: read, or refused by the product's own error. Never else."""

import random
import shutil
from pathlib import Path

import pytest
from mutate import edits_of_json
from run_files import OF_FILE, OLD, RUNS, held, list_edits, say_all

import headstart

MOST = 150  # edits of one file of one run: every one is tried by bench/attack


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("file", [file for file in OF_FILE if file != "started.json"])
def test_an_edited_file_is_read_or_refused(name: str, file: str, tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / name, tmp_path / name)
    edits = list_edits(folder / file)
    if len(edits) > MOST:
        edits = random.Random(0).sample(edits, MOST)
    assert len(edits) > 30
    fallen: list[str] = []
    for what, edited in edits:
        (folder / file).write_bytes(edited)
        fallen += held(OF_FILE[file], folder, what)
    assert not fallen, f"{len(fallen)} of {len(edits)}:\n" + "\n".join(fallen[:40])


def test_an_edited_beginning_is_read_or_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / "stopped", tmp_path / "stopped")
    fallen: list[str] = []
    for what, edited in list_edits(folder / "started.json"):
        (folder / "started.json").write_bytes(edited)
        fallen += held(OF_FILE["started.json"], folder, what)
    assert not fallen, "\n".join(fallen[:40])


LATER = {
    "run.json": {"", "cache", "seconds"},
    "metrics.json": {"validation", "validation.classes.0"},
    "classifier/classifier.json": {"", "geometry", "head.layers.0"},
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("file", LATER)
def test_what_a_later_version_adds_is_passed_over(name: str, file: str, tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / name, tmp_path / name)
    seen = set()
    for what, edited in edits_of_json((folder / file).read_bytes()):
        place = what.removesuffix("one more").removesuffix(": ")
        if what.endswith("one more") and place in LATER[file]:
            (folder / file).write_bytes(edited)
            seen.add(place)
            say_all(folder)
            headstart.load(folder)
    assert seen == LATER[file]
