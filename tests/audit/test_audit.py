"""The audit as a whole."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from faults import make_faulty

from headstart.audit.audit import Audit, audit
from headstart.audit.findings import KINDS, Finding
from headstart.data.decisions import HEADER, read_decisions
from headstart.data.item import Item
from headstart.errors import DatasetError


@pytest.fixture(scope="module")
def faulty(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small set with faults."""
    return make_faulty(tiny, tmp_path_factory.mktemp("faulty"))


def test_what_was_made_wrong_is_found(faulty: Path) -> None:
    found = audit(faulty, size=64)
    assert found.images == 52
    names = {kind: [[found.paths[i] for i in f.items] for f in found.of(kind)] for kind in KINDS}
    assert names["unreadable"] == [["red/broken.jpg"]]
    assert names["duplicate"] == [["blue/wrong.png", "red/8.png"], ["red/2.png", "red/copy.png"]]
    assert ["red/4.png", "red/mirrored.png"] in names["near_duplicate"]
    assert [finding.severity for finding in found.of("duplicate")] == ["error", "note"]


def test_flipped_labels_of_real_photos_are_listed(photos: Path, tmp_path: Path) -> None:
    folder = photos / "hymenoptera"
    files = sorted(path for path in folder.rglob("*.jpg"))
    wrong = set(np.random.default_rng(0).choice(len(files), 20, replace=False).tolist())
    other = {"ants": "bees", "bees": "ants"}
    rows = [
        f"{path},{other[path.parent.name] if i in wrong else path.parent.name}"
        for i, path in enumerate(files)
    ]
    (tmp_path / "photos.csv").write_text("path,label\n" + "\n".join(rows))
    found = audit(tmp_path / "photos.csv")
    flipped = {str(files[i]) for i in wrong}
    listed = [found.paths[finding.items[0]] for finding in found.of("label")]
    assert len(flipped & set(listed)) >= 14
    assert found.labels is not None
    assert found.labels.share == pytest.approx(len(flipped & set(listed)) / len(listed), abs=0.3)
    assert found.of("label")[0].details["suggested"] == other[found.of("label")[0].items[0].label]


@pytest.mark.parametrize(("suggested", "kind"), [("b", "relabel"), ("", "drop")])
def test_the_draft_of_decisions_can_be_read(tmp_path: Path, suggested: str, kind: str) -> None:
    """Also of an image in several classes whose one label is the doubted one."""
    item = Item(Path("1.jpg"), ("a",), None, "1.jpg", b"1")
    finding = Finding("label", "warning", (item,), 1.0, "", "", {"suggested": suggested})
    rows = [HEADER, *Audit(1, (finding,), {item: "1.jpg"}).suggest()]
    (tmp_path / "draft.csv").write_text("\n".join(map(",".join, rows)))
    (decision,) = read_decisions(tmp_path / "draft.csv")
    assert decision.kind == kind


def test_one_usable_image_is_none_to_look_through(tiny: Path, tmp_path: Path) -> None:
    for name in ("red/1.png", "red/2.png", "blue/1.png", "blue/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())  # no image
    shutil.copy(next((tiny / "red").iterdir()), tmp_path / "red")
    with pytest.raises(DatasetError, match=r"two usable images or more in .*, found 1"):
        audit(tmp_path, size=64)
