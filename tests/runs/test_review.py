"""The audit in brief within a training: told, kept, and left out where it would take too long."""

import json
from pathlib import Path

import pytest
from faults import make_faulty

import headstart
from headstart.runs import review
from headstart.system.progress import Progress


class Listener(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def faulty(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small set with faults."""
    return make_faulty(tiny, tmp_path_factory.mktemp("faulty"))


def test_a_training_tells_what_is_wrong_and_keeps_it(faulty: Path, tmp_path: Path) -> None:
    listener = Listener()
    run = headstart.train(
        faulty, out=tmp_path / "run", cut="block2b_add+last", size=64, progress=listener
    )
    told = [line for line in listener.said if line.startswith("audit: ")]
    assert any("set of exact copies; blue/wrong.png = red/8.png: the same bytes, under 2 labels"
               in line for line in told), told  # fmt: skip
    kept = json.loads((run.folder / "audit.json").read_text())
    assert kept["images"] == 52
    kinds = {finding["kind"] for finding in kept["findings"]}
    assert {"unreadable", "duplicate", "near_duplicate"} <= kinds
    assert not any("unreadable" in line for line in told)  # told before, one by one


def test_too_many_images_are_left_to_the_command(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MOST", 10)
    listener = Listener()
    run = headstart.train(tiny, out=tmp_path / "run", cut="block2b_add", size=64, progress=listener)
    assert "48 images are not looked through here. Type: headstart audit" in listener.said
    assert not (run.folder / "audit.json").exists()
