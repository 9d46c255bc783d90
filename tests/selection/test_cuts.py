"""Measured choices: the rule by hand, the search on images whose answer is known."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.data.dataset import load
from headstart.data.item import Item
from headstart.errors import RecipeError
from headstart.features.extract import Features
from headstart.recipe import load_recipe, seconds
from headstart.runs.steps import label
from headstart.selection import cuts as selection
from headstart.selection import score as scoring
from headstart.selection.cuts import Selection, select
from headstart.selection.rules import HEADS
from headstart.system.places import cache_folder
from headstart.system.progress import Recorder


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
    selection, _ = chosen_on(sides)
    assert selection.chosen is not None
    assert any(cut.endswith(":grid") for cut in selection.recipe.cut)
    last = next(s for s in selection.tried if s.name == "top_relu:avg")
    assert selection.chosen.log_loss < last.log_loss
    assert selection.recipe.size == 96  # the user's own choice stays
    tried = {scored.name for scored in selection.tried}
    assert any("flip" in name for name in tried)
    assert not any("pad" in name for name in tried)  # these pictures are square


def test_without_time_there_is_an_answer_and_what_was_left_is_told(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    selection, _ = chosen_on(sides, budget=0)
    assert (selection.recipe.cut, selection.tried) == (("last",), ())
    assert {"top_relu:avg", "block7a_project_bn:avg"} <= set(selection.untried)
    chosen_on(sides, budget=60, cut="auto")
    selection, _ = chosen_on(sides, budget=0)  # the features are there now: one is tried
    assert selection.recipe.cut == ("top_relu:avg",)
    assert len(selection.tried) == 1
    assert {"block7a_project_bn:avg", "views 2, augmentation flip"} <= set(selection.untried)


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
    selection, progress = chosen_on(sides)
    assert [score.averaged for score in selection.tried] == [True, False, False, False]
    assert selection.recipe.cut != ("auto",)
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
    assert losses[record["chosen"]] < losses["top_relu:avg"]


def test_what_plainly_loses_on_half_of_the_images_is_out(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    monkeypatch.setattr(selection, "HEAT", 60)
    outcome, _ = chosen_on(sides)
    cuts = [scored for scored in outcome.tried if not scored.changes and not scored.averaged]
    on_half = {scored.name for scored in cuts if scored.images == outcome.images // 2}
    on_all = {
        scored.name for scored in cuts if scored.images == outcome.images and len(scored.cuts) == 1
    }
    assert on_all < on_half
    assert len(on_all) <= HEADS[1] + 1
    assert "top_relu:avg" in on_all  # the default, to be told beside what is chosen
    assert outcome.worth is not None
    assert outcome.worth.default is not None
    assert any(cut.endswith(":grid") for cut in outcome.recipe.cut)


def test_in_a_short_time_fewer_images_are_looked_at(
    sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    real = selection.extract_features

    def slow(items: Sequence[Item], *arguments: Any, **options: Any) -> Features:
        return real(items[:120], *arguments, **options)  # as many as were reached

    monkeypatch.setattr(selection, "extract_features", slow)
    outcome, _ = chosen_on(sides)
    assert outcome.images == 120
    assert outcome.recipe.cut != ("last",)


def test_too_few_images_keep_the_default(tiny: Path) -> None:
    selection, _ = chosen_on(tiny)
    assert (selection.recipe.cut, selection.chosen) == (("last",), None)


def test_a_cut_that_is_given_is_not_searched(sides: Path) -> None:
    selection, _ = chosen_on(sides, cut="block3a_project_bn")
    assert selection.recipe.cut == ("block3a_project_bn",)
    assert not selection.tried


def test_the_run_keeps_what_was_chosen_and_why(sides: Path, tmp_path: Path) -> None:
    run = headstart.train(sides, out=tmp_path / "run", size=96)
    record = json.loads((run.folder / "run.json").read_text())["selection"]
    assert run.recipe.cut != ("auto",)
    assert record["chosen"].startswith(run.recipe.cut[0])
    assert {"name", "accuracy", "interval", "log_loss"} <= set(record["tried"][0])
    low, high = record["interval"]
    assert low < record["accuracy"] < high
    measured = {row["name"]: row["accuracy"] for row in record["tried"]}
    assert record["last"] == measured["top_relu:avg"]
    assert record["last"] < record["accuracy"] <= max(measured.values())
    second = headstart.train(sides, out=tmp_path / "second", size=96)
    assert second.recipe == run.recipe  # measured before: known
    assert second.record["selection"] == record
    again = headstart.train(sides, run.folder / "recipe.toml", out=tmp_path / "again")
    assert again.metrics["validation"] == run.metrics["validation"]
    for number, harm in enumerate(['{"recipe"', '{"recipe": {}, "selection": []}']):
        for outcome in (cache_folder() / "selections").iterdir():
            outcome.write_text(harm)
        third = headstart.train(sides, out=tmp_path / f"third-{number}", size=96)
        assert third.recipe == run.recipe  # damaged: measured again
        assert any("measured again, for it was dam" in text for text in third.record["warnings"])


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


def test_flattened_maps_are_not_averaged() -> None:
    assert selection.can_average(load_recipe("quick"))
    assert not selection.can_average(load_recipe("quick", pooling="flatten"))
