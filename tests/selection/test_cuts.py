"""Measured choices: the rule by hand, the search on images whose answer is known."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import examples

import headstart
from headstart.backbones.cut import Cut
from headstart.data.dataset import load
from headstart.data.item import Item
from headstart.errors import RecipeError
from headstart.features.extract import Features
from headstart.metrics.task import MultiLabel
from headstart.recipe import load_recipe, seconds
from headstart.runs.steps import label
from headstart.selection import cuts as selection
from headstart.selection import score as scoring
from headstart.selection.cuts import Selection, select
from headstart.selection.score import CutScore, are_enough, cheapest, partners, sample, score_cut
from headstart.system.progress import Recorder


def scored(name: str, losses: list[float], cost: float = 1.0) -> CutScore:
    return CutScore((Cut.parse(name),), {}, cost, 10, 0.9, (0.8, 0.95), np.array(losses))


def test_standard_errors_by_hand() -> None:
    # differences 1, 1, 1, 3: mean 1.5, standard deviation 1, error 0.5
    assert scored("a", [1, 1, 1, 3]).loses_to(scored("b", [0, 0, 0, 0])) == pytest.approx(3)


def test_within_one_standard_error_the_earliest_wins() -> None:
    noise = np.array([0.5, -0.5, 0.4, -0.4])
    best = scored("late:avg", [1, 1, 1, 1])
    alike = scored("early:avg", list(1.05 + noise), cost=0.5)
    worse = scored("first:avg", [2, 2.1, 2, 2.1], cost=0.1)
    assert cheapest([best, alike, worse]) is alike
    assert cheapest([best, worse]) is best


def test_of_those_that_cost_the_same_the_best_wins() -> None:
    noise = np.array([0.5, -0.5, 0.4, -0.4])
    average = scored("a:avg", list(1.1 + noise), cost=0.5)
    grid = scored("a:grid", list(1.05 + noise), cost=0.5)
    next_one = scored("b:avg", list(1.01 + noise), cost=0.54)
    dearer = scored("c:avg", [1, 1, 1, 1], cost=0.56)
    assert cheapest([average, grid, next_one, dearer]) is next_one


def test_what_is_joined_sees_something_else() -> None:
    anchor = scored("last:avg", [1, 1])
    others = [
        scored("last:max", [1.1, 1.1]), scored("next:avg", [1.2, 1.2]),
        scored("far:avg", [1.3, 1.3]), scored("far:grid", [1.4, 1.4]),
    ]  # fmt: skip
    named = {"last:avg": 1.0, "last:max": 1.0, "next:avg": 0.97, "far:avg": 0.8, "far:grid": 0.8}
    depths = {Cut.parse(name): depth for name, depth in named.items()}
    assert partners([anchor, *others], anchor, depths) == [others[0], others[2]]


def test_a_sample_keeps_the_shares_of_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    chosen = sample(labels, 100)
    assert len(set(chosen)) == 100
    assert np.bincount(labels[chosen]).tolist() == [60, 30, 10]
    assert np.abs(np.bincount(labels[chosen[:50]]) - [30, 15, 5]).max() <= 1
    assert sorted(sample(labels, 5000)) == list(range(1000))


def test_images_in_several_classes_are_drawn_by_their_rarest() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]])
    assert MultiLabel(tuple("abc")).kinds(labels).tolist() == [1, 0, 2, 2, 3]
    rng = np.random.default_rng(0)
    many = (rng.random((4000, 12)) < 0.3).astype("f4")  # about a thousand combinations
    assert len(sample(MultiLabel(tuple("abcdefghijkl")).kinds(many), 800)) <= 800 + 6 * 13


def test_images_whose_fold_had_no_time_are_neither_right_nor_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring.linear, "WORK", 0)  # one fold
    labels = np.arange(200) % 2
    values = (labels[:, None, None] * 4.0 + np.zeros((200, 1, 3))).astype("f4")
    found = score_cut(examples(values, labels), (Cut("a"),), {}, 1.0, seed=0)
    assert found.accuracy == 1
    assert found.accuracy_interval[0] < 0.95  # of 40 images, not of 200


def test_one_group_tells_nothing() -> None:
    labels = np.arange(200) % 2
    values = np.empty((200, 1, 0))
    assert are_enough(examples(values, labels), 100)
    assert not are_enough(examples(values, labels, groups=np.zeros(200, int)), 100)


def test_a_rare_class_is_in_every_sample() -> None:
    labels = np.repeat([0, 1], [5000, 100])
    assert np.bincount(labels[sample(labels, 100)]).tolist() == [98, 6]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same disc on the left or on the right: an average over the picture hardly tells."""
    folder = tmp_path_factory.mktemp("sides")
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:64, :64]
    for index in range(180):
        label, x = [("left", 16), ("right", 48)][index % 2]
        pixels = rng.normal(120, 30, (64, 64, 3))
        inside = (across - x) ** 2 + (down - rng.integers(16, 48)) ** 2 < 60
        pixels[inside] += rng.normal(0, 50, 3)
        target = folder / label / f"{index}.png"
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(target)
    return folder


def chosen_on(folder: Path, **choices: object) -> tuple[Selection, Recorder]:
    dataset = load(folder)
    items = dataset.split("train")
    progress = Recorder()
    recipe = load_recipe("quick", **{"size": 96, **choices})
    return select(items, label(items, dataset.task, recipe), recipe, progress), progress


def test_where_the_place_tells_the_grid_wins(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    found, _ = chosen_on(sides)
    assert found.chosen is not None
    assert any(cut.endswith(":grid") for cut in found.recipe.cut)
    last = next(s for s in found.tried if s.name == "top_relu:avg")
    assert found.chosen.log_loss < last.log_loss
    assert found.recipe.size == 96  # the user's own choice stays
    tried = {scored.name for scored in found.tried}
    assert any("flip" in name for name in tried)
    assert not any("pad" in name for name in tried)  # these pictures are square


def test_without_time_there_is_an_answer_and_what_was_left_is_told(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    found, _ = chosen_on(sides, budget=0)
    assert (found.recipe.cut, found.tried) == (("last",), ())
    assert {"top_relu:avg", "block7a_project_bn:avg"} <= set(found.untried)
    chosen_on(sides, budget=60, cut="auto")
    found, _ = chosen_on(sides, budget=0)  # the features are there now: one is tried
    assert found.recipe.cut == ("top_relu:avg",)
    assert len(found.tried) == 1
    assert {"block7a_project_bn:avg", "views 2, augmentation flip"} <= set(found.untried)


def test_stopped_by_hand_it_goes_on_with_the_best_so_far(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = scoring.linear.cross_validate

    def stopping(*args: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(scoring.linear, "cross_validate", stopping)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    found, progress = chosen_on(sides)
    assert len(found.tried) == 3
    assert found.recipe.cut != ("auto",)
    assert any("stopped" in warning for warning in progress.warnings)
    assert not (tmp_path / "selections").exists()  # half a search is no answer for ever


def test_images_in_several_classes_are_measured_too(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    table = tmp_path / "table.csv"
    rows = [f"{path},{path.parent.name}{';seen' if int(path.stem) % 3 else ''}"
            for path in sorted(sides.glob("*/*.png"))]  # fmt: skip
    table.write_text("\n".join(["path,label", *rows]))
    run = headstart.train(table, out=tmp_path / "run", size=96)
    record = run.record["selection"]
    assert any(cut.endswith(":grid") for cut in run.recipe.cut)
    losses = {row["name"]: row["log_loss"] for row in record["tried"]}
    assert losses[record["chosen"].split(",")[0]] < losses["top_relu:avg"]


def test_what_plainly_loses_on_half_of_the_images_is_out(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    monkeypatch.setattr(selection, "HEAT", 60)
    found, _ = chosen_on(sides)
    cuts = [scored for scored in found.tried if not scored.changes]
    on_half = {scored.name for scored in cuts if scored.images == found.images // 2}
    on_all = {
        scored.name for scored in cuts if scored.images == found.images and len(scored.cuts) == 1
    }
    assert on_all < on_half
    assert "top_relu:avg" in on_half - on_all
    assert any(cut.endswith(":grid") for cut in found.recipe.cut)


def test_in_a_short_time_fewer_images_are_looked_at(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    real = selection.extract_features

    def slow(items: Sequence[Item], *arguments: Any, **options: Any) -> Features:
        return real(items[:120], *arguments, **options)  # as many as were reached

    monkeypatch.setattr(selection, "extract_features", slow)
    found, _ = chosen_on(sides)
    assert found.images == 120
    assert found.recipe.cut != ("last",)


def test_too_few_images_keep_the_default(tiny: Path) -> None:
    found, _ = chosen_on(tiny)
    assert (found.recipe.cut, found.chosen) == (("last",), None)


def test_a_cut_that_is_given_is_not_searched(sides: Path) -> None:
    found, _ = chosen_on(sides, cut="block3a_project_bn")
    assert found.recipe.cut == ("block3a_project_bn",)
    assert not found.tried


def test_the_run_keeps_what_was_chosen_and_why(sides: Path, tmp_path: Path) -> None:
    run = headstart.train(sides, out=tmp_path / "run", size=96)
    record = json.loads((run.folder / "run.json").read_text())["selection"]
    assert run.recipe.cut != ("auto",)
    assert record["chosen"].startswith(run.recipe.cut[0])
    assert {"name", "accuracy", "interval", "log_loss"} <= set(record["tried"][0])
    second = headstart.train(sides, out=tmp_path / "second", size=96)
    assert second.recipe == run.recipe  # measured before: known
    assert second.record["selection"] == record
    again = headstart.train(sides, run.folder / "recipe.toml", out=tmp_path / "again")
    assert again.metrics["validation"] == run.metrics["validation"]


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("60s", 60), ("5m", 300), ("1h", 3600)])
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match="expected a time such as 60s or 5m, found 'soon'"):
        seconds("soon")


@pytest.mark.parametrize("cut", ["a:middle", "auto+last"])
def test_cuts_that_make_no_sense_are_refused(cut: str) -> None:
    with pytest.raises(RecipeError, match="cut: expected"):
        load_recipe("quick", cut=cut)
