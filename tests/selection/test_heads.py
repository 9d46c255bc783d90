"""Heads compared: the rule by hand, heads averaged into one, the whole way."""

import itertools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import examples

import headstart
from headstart.errors import DatasetError, HeadError, RecipeError
from headstart.heads import linear
from headstart.heads.ensemble import average_heads
from headstart.heads.fit import fit_ensemble, fit_linear
from headstart.heads.head import Affine, Dense, Head
from headstart.recipe import load_recipe
from headstart.runs.studies import measure_heads
from headstart.selection import heads as head_selection
from headstart.selection.heads import (
    HeadScore,
    choose_simplest,
    recall_gain,
    score_head,
    select_head,
)
from headstart.system.progress import Silent

needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'headstart[tensorflow]'"
)


def features(count: int, classes: int, dimensions: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = rng.normal(size=(classes, dimensions))
    values = centres[labels] + rng.normal(0, 1.5, (count, dimensions))
    return values.astype("f4")[:, None], labels


def scored(name: str, losses: list[float], right: list[int] | None = None,
           **changes: Any) -> HeadScore:  # fmt: skip
    hits = np.array(right or [1] * len(losses), bool)
    return HeadScore(name, changes, 0.9, (0.8, 0.95), 0.9, hits, np.array(losses))


def test_within_one_standard_error_the_simplest_wins() -> None:
    labels = np.array([0, 0, 1, 1])
    noise = np.array([0.5, -0.5, 0.4, -0.4])
    simple = scored("linear", list(1.05 + noise))
    better = scored("neural", [1, 1, 1, 1])
    assert choose_simplest([simple, better], labels).name == "linear"
    assert choose_simplest([scored("linear", [2, 2.1, 2, 2.1]), better], labels).name == "neural"


def test_heads_of_too_few_groups_are_not_compared() -> None:
    values, labels = features(60, 2)
    two = np.arange(60) // 2 % 2
    with pytest.raises(DatasetError, match="3 groups or more to compare heads, found 2"):
        select_head(examples(values, labels, groups=two), load_recipe("quick"), Silent())
    with pytest.raises(HeadError, match="two groups or more, to choose by cross-validation"):
        linear.fit(examples(values, labels, groups=np.zeros(60, int)))


def test_class_weights_are_taken_where_rare_classes_gain_and_nothing_is_lost() -> None:
    labels = np.array([0] * 40 + [1] * 8)
    plain = scored("linear", [1.0] * 48, [1] * 40 + [0] * 6 + [1] * 2)
    gain = [1] * 39 + [0] + [1] * 7 + [0]  # five more of the rare class, one fewer of the other
    harm = [0] * 12 + [1] * 28 + [1] * 8
    weighed = scored("weights", [1.2] * 48, gain, balanced=True)
    harmful = scored("weights", [1.2] * 48, harm, balanced=True)
    assert choose_simplest([plain, weighed], labels) is weighed
    assert choose_simplest([plain, harmful], labels) is plain


def test_the_gain_in_recall_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    one, other = np.array([1, 1, 1, 1, 1, 0], bool), np.array([1, 1, 0, 0, 1, 0], bool)
    # class 0: differences 0 0 1 1, mean 1/2, variance 1/3; class 1: 0
    gain, error = recall_gain(one, other, labels)
    assert gain == pytest.approx(0.25)
    assert error == pytest.approx(np.sqrt(1 / 12) / 2)


def logits(head: Head, x: np.ndarray) -> np.ndarray:
    logs = np.log(head.probabilities(x))
    return logs - logs.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("hidden", [(), (6,), (6, 4)])
@pytest.mark.parametrize("scaled", [False, True])
def test_averaged_heads_have_the_mean_of_their_logits(
    hidden: tuple[int, ...], scaled: bool
) -> None:
    rng = np.random.default_rng(0)

    def head() -> Head:
        sizes = (5, *hidden, 3)
        layers: list[Any] = []
        if scaled:
            layers.append(Affine(*rng.normal(size=(2, 5)).astype("f4")))
        for place, (rows, columns) in enumerate(itertools.pairwise(sizes)):
            last = place == len(sizes) - 2
            name = "softmax" if last else "relu"
            layers.append(Dense(rng.normal(size=(rows, columns)).astype("f4"),
                                rng.normal(size=columns).astype("f4"), name))  # fmt: skip
            if scaled and not last:
                layers.append(Affine(*rng.normal(size=(2, columns)).astype("f4")))
        return Head(tuple(layers))

    heads = [head() for _ in range(3)]
    x = rng.normal(size=(7, 5)).astype("f4")
    expected = np.mean([logits(one, x) for one in heads], axis=0)
    assert logits(average_heads(heads), x) == pytest.approx(expected, abs=1e-4)


def test_scaling_alone_cannot_be_averaged() -> None:
    one = np.ones(3, "f4")
    heads = [
        Head((Affine(one * k, one, "relu"), Dense(np.eye(3, dtype="f4"), one, "softmax")))
        for k in (1, 2)
    ]
    with pytest.raises(HeadError, match="expected a Dense layer behind the first scaling"):
        average_heads(heads)


def test_an_ensemble_of_linear_heads_is_one_linear_head() -> None:
    values, labels = features(90, 3)
    recipe = load_recipe("quick", cut="last", ensemble=True)
    fit = linear.fit(examples(values, labels, 3))
    head = fit_linear(examples(values, labels, 3), recipe).head
    assert len(head.layers) == 1
    assert np.array_equal(head.layers[0].weight, fit.mean_of_folds[0])  # type: ignore[union-attr]
    single = fit.head().probabilities(values[:, 0])
    both = head.probabilities(values[:, 0])
    assert np.abs(single - both).max() < 0.2
    assert not np.array_equal(single, both)


def test_without_a_backend_that_trains_linear_heads_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_selection, "TRAINABLE", ())
    values, labels = features(120, 3)
    selection = select_head(
        examples(values, labels, 3), load_recipe("quick", head="auto"), Silent()
    )
    assert [scored.name for scored in selection.tried] == ["linear", "linear, mean of folds"]
    assert selection.recipe.head == "linear"
    assert selection.untried[0] == "neural 64 (needs pip install 'headstart[tensorflow]')"
    uneven = np.minimum(labels, 1)
    names = [
        name
        for name, _ in head_selection.list_candidates(selection.recipe, examples(values, uneven))
    ]
    assert "linear, class weights" in names


def test_heads_are_judged_on_images_that_nothing_in_them_has_seen() -> None:
    """Labels at random: whatever chooses among its own mistakes would look better than chance."""
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(240, 1, 60)).astype("f4"), rng.integers(0, 2, 240)
    recipe = load_recipe("quick", head="auto", budget=0)
    selection = select_head(examples(values, labels), recipe, Silent())
    assert len(selection.tried) == 1
    assert "neural 64" in selection.untried
    assert 0.38 < selection.chosen.accuracy < 0.62
    assert selection.chosen.log_loss > 0.68


@needs_tensorflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_neural_heads_are_trained_as_long_as_served(tmp_path: Path) -> None:
    values, labels = features(90, 3)
    given = examples(values, labels, 3)
    tried = score_head(
        "neural", {"head": "neural"}, given,
        load_recipe("quick", head="neural", epochs=4, patience=2, layers=["dense 8 relu"]),
        given.folds(3, 0),
    )  # fmt: skip
    assert tried.epochs is not None
    assert 1 <= tried.epochs <= 4
    assert tried.accuracy > 0.4
    recipe = load_recipe("quick", head="neural", epochs=3, layers=["batchnorm", "dense 8 relu"],
                         ensemble=True, folds=3)  # fmt: skip
    trained = fit_ensemble(given, recipe, tmp_path)
    assert trained.head.layers[0].weight.shape == (24, 24)  # type: ignore[union-attr]
    assert trained.out_of_fold is not None
    assert (trained.out_of_fold.argmax(axis=1) == labels).mean() > 0.4
    again = fit_ensemble(given, recipe, tmp_path, resume=True)
    assert np.array_equal(again.head.layers[0].weight, trained.head.layers[0].weight)  # type: ignore[union-attr]


def test_a_run_whose_head_is_measured(tiny: Path, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(head_selection, "TRAINABLE", ())
    run = headstart.train(tiny, out=tmp_path / "run", head="auto", size=64)
    assert run.recipe.head == "linear"
    heads = json.loads((run.folder / "run.json").read_text())["heads"]
    assert heads["chosen"] in [row["name"] for row in heads["tried"]]


def test_what_has_several_classes_has_linear_heads(tiny: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    files = sorted(path for path in tiny.rglob("*") if path.is_file())
    rows = [f"{path},{'a;b' if index % 2 else 'a'}" for index, path in enumerate(files)]
    table.write_text("path,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(DatasetError, match="expected one class an image to compare heads"):
        measure_heads(table, load_recipe("quick"), Silent())


def test_fresh_views_and_ensembles_do_not_go_together() -> None:
    with pytest.raises(RecipeError, match="ensemble = true needs a number of views"):
        load_recipe("classic", ensemble=True)
