"""The audit in brief within a training: told, kept, and left out where it would take too long."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import make_faulty

import headstart
from headstart.heads.fit import Trained
from headstart.recipe import load_recipe
from headstart.runs import review, steps
from headstart.runs.steps import Inputs, prepare, read_dataset
from headstart.system.progress import Progress, Silent


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


def examine(photos: Path, **choices: Any) -> tuple[Inputs, Inputs]:
    """What a training works on, before and after copies are held together."""
    recipe = load_recipe("quick", cut="block2b_add", size=64, validation_fraction=0.02, **choices)
    dataset = read_dataset(photos, recipe, Silent())
    inputs = prepare(dataset, recipe, Silent(), strict=False)
    examined = review.examine(inputs, Silent())
    assert examined is not None
    return inputs, examined.hold_together(inputs)


def test_images_that_show_the_same_are_in_one_fold(faulty: Path) -> None:
    inputs, held = examine(faulty)
    examples = held.examples()
    names = [f"{item.path.parent.name}/{item.path.name}" for item in inputs.features["train"].items]
    group = dict(zip(names, examples.groups.tolist(), strict=True))
    assert group["red/4.png"] == group["red/mirrored.png"]  # known to the audit alone
    assert group["red/2.png"] == group["red/copy.png"]  # of one content
    assert len(set(group.values())) == len(names) - 3
    fold = dict(zip(names, examples.folds(5, seed=0).tolist(), strict=True))
    assert fold["red/4.png"] == fold["red/mirrored.png"]
    assert held.examples("validation").groups is None


def test_a_training_trains_on_what_is_held_together(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    train_head = steps.train_head

    def watch(inputs: Inputs, *args: Any, **options: Any) -> Trained:
        seen.append(inputs)
        return train_head(inputs, *args, **options)

    monkeypatch.setattr(steps, "train_head", watch)
    headstart.train(faulty, out=tmp_path / "run", cut="block2b_add", size=64)
    assert seen[0].groups is not None


def test_groups_of_the_user_stay_whole(faulty: Path) -> None:
    inputs, held = examine(faulty, groups=r"(\d|copy|wrong|mirrored)\.")
    own, joined = inputs.examples().groups, held.examples().groups
    assert all(len(set(joined[own == number])) == 1 for number in np.unique(own))
    assert len(set(joined)) == len(set(own)) - 1  # the mirrored one is with the fours


def test_where_nothing_shows_the_same_nothing_is_held_together(tiny: Path) -> None:
    inputs, held = examine(tiny)
    assert held is inputs
