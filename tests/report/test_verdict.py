"""Verdicts on overfitting, by hand."""

import numpy as np
import pytest

from headstart.metrics.classification import Metrics, evaluate
from headstart.recipe import load_recipe
from headstart.report.verdict import Regularisation, Verdict, verdict
from headstart.runs.record import _regularisation

FALLING = [0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01]
RISING = [0.5, 0.4, 0.35, 0.36, 0.45, 0.55, 0.7, 0.9]  # after the third epoch
FLAT = [0.5, 0.4, 0.3, 0.25, 0.2, 0.2, 0.2, 0.2]


def measured(right: int, n: int) -> Metrics:
    """`right` of `n` images of two classes right."""
    labels = np.zeros(n, int)
    labels[: n // 2] = 1
    probabilities = np.full((n, 2), 0.1, "f4")
    probabilities[np.arange(n), labels] = 0.9
    probabilities[right:] = probabilities[right:, ::-1]
    return evaluate(probabilities, labels, ["a", "b"])


def judged(
    train: tuple[int, int], validation: tuple[int, int], losses: list[float], **more: object
) -> Verdict:
    """Of so many right of so many, with these validation losses."""
    metrics = {"train": measured(*train), "validation": measured(*validation)}
    found = verdict(metrics, {"loss": FALLING, "val_loss": losses}, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_gap_beyond_the_interval_is_overfitting() -> None:
    judgement = judged((999, 1000), (850, 1000), RISING)
    assert judgement.kind == "overfitting"
    assert judgement.since == 5
    assert "since epoch 5" in judgement.text
    assert "14.9% better on images it has seen" in judgement.text
    assert judged((999, 1000), (850, 1000), FLAT).kind == "overfitting"  # by its size alone


@pytest.mark.parametrize("losses", [RISING, FLAT])
def test_a_gap_that_does_not_matter_is_slight(losses: list[float]) -> None:
    """98% right on 1,000 new images, all right on those seen: nothing need be done."""
    judgement = judged((1000, 1000), (980, 1000), losses)
    assert judgement.kind == "fitting"
    # Wilson's one-sided lower end of 980 of 1,000 is 97.1%.
    assert "slight overfitting: 2.0% better on images it has seen, at most 2.9%" in judgement.text


def test_a_gap_without_a_loss_since_the_best_epoch_is_slight() -> None:
    """94% on 1,000 new images, and the validation loss has not risen."""
    assert "slight" in judged((999, 1000), (940, 1000), FLAT).text
    assert judged((999, 1000), (940, 1000), RISING).kind == "overfitting"


def test_what_came_after_the_epoch_that_was_kept_is_no_harm() -> None:
    assert "slight" in judged((999, 1000), (940, 1000), RISING, kept_epoch=3).text


def test_too_few_images_to_tell_is_said() -> None:
    """11 of 12: nothing or 27 points may be lost; even all 12 may hide 18."""
    judgement = judged((97, 100), (11, 12), FLAT)
    assert judgement.kind == "unclear"
    assert "Too few validation images to tell" in judgement.text
    # Wilson's one-sided lower end of 11 of 12 is 69.9%.
    assert "up to 27.1% better on images it has seen, or not at all" in judgement.text
    assert judged((100, 100), (12, 12), FLAT).kind == "unclear"


def test_a_gap_of_30_points_needs_no_more_than_12_images() -> None:
    assert judged((100, 100), (8, 12), FLAT).kind == "overfitting"


def test_a_small_gap_is_fitting_and_says_what_can_be_excluded() -> None:
    """Wilson's one-sided lower end of 190 of 200 is 91.8%."""
    judgement = judged((955, 1000), (190, 200), FLAT)
    assert judgement.kind == "fitting"
    assert "With 200 validation images more than 3.7% can be excluded" in judgement.text


def test_noise_of_a_small_validation_set_is_not_overfitting() -> None:
    noisy = [0.5, 0.3, 0.34, 0.3, 0.33, 0.29, 0.33, 0.3]
    assert judged((95, 100), (46, 50), noisy).kind == "unclear"


def test_a_head_that_has_not_learned_its_images_underfits() -> None:
    history = {"loss": [0.69, 0.68, 0.68], "val_loss": [0.69, 0.69, 0.68]}
    judgement = verdict({"train": measured(60, 100), "validation": measured(58, 100)}, history)
    assert judgement is not None
    assert judgement.kind == "underfitting"
    assert "Try more epochs, a higher learning rate or a wider head." in judgement.text
    history = {"loss": [0.69, 0.68, 0.68], "val_loss": [0.69, 0.69, 0.68]}
    judgement = verdict({"train": measured(60, 100), "validation": measured(520, 1000)}, history)
    assert judgement is not None
    assert judgement.kind == "underfitting"  # though it is better on images it has seen


def test_what_the_recipe_has_is_not_advised() -> None:
    def advice(has: Regularisation, tuned: bool = False) -> str:
        text = judged((999, 1000), (850, 1000), RISING, has=has, tuned=tuned).text
        return text[text.index("Try") :]

    assert advice(Regularisation()) == ("Try more photos, augmentation, dropout or a smaller head.")
    assert advice(Regularisation(True, 0.2, 256)).startswith(
        "Try more photos, more dropout or a smaller head."
    )
    assert advice(Regularisation(True, 0.5, 64)) == "Try more photos."
    assert advice(Regularisation(), tuned=True) == "Try more photos or more augmentation."


SWINGING = [0.90, 0.80, 0.90, 0.86, 0.91, 0.88]  # by 4 points on average from the third on


def test_early_stopping_is_named_where_validation_swings_and_not_had() -> None:
    metrics = {"train": measured(955, 1000), "validation": measured(190, 200)}

    def text(accuracies: list[float], has: Regularisation | None = None) -> str:
        found = verdict(metrics, {"loss": FALLING[:6], "val_accuracy": accuracies}, has=has)
        assert found is not None
        return found.text

    assert text(SWINGING).endswith(
        "Validation accuracy swings by 4.0% from epoch to epoch: early stopping keeps the best one "
        "(--set patience=5)."
    )
    assert "patience" not in text(SWINGING, Regularisation(stops=True))
    assert "patience" not in text([0.6, 0.8, 0.9, 0.91, 0.9, 0.91])  # the first rise is no swing
    assert "patience" not in text(SWINGING[:4])  # too few epochs to tell


def test_what_a_recipe_has() -> None:
    classic = load_recipe("classic")
    assert _regularisation(classic) == Regularisation(True, 0.2, 1024)
    bare = classic.changed(views=1, layers=["batchnorm", "dense 32 relu", "dense 16", "dropout"],
                           dropout=0.0)  # fmt: skip
    assert _regularisation(bare) == Regularisation(False, 0.0, 32)
    assert _regularisation(classic.changed(patience=3)).stops
    own_rate = bare.changed(layers=["dropout 0.4"], views=3, augmentation="flip")
    assert _regularisation(own_rate) == Regularisation(True, 0.4, 0)


def test_nan_is_divergence_and_a_linear_head_has_no_verdict() -> None:
    metrics = {"train": measured(50, 100), "validation": measured(50, 100)}
    for losses in (
        {"loss": [0.7, float("nan")]}, {"loss": [0.7, float("inf")]},
        {"loss": [0.7, 0.6], "val_loss": [0.7, float("nan")]},
    ):  # fmt: skip
        judgement = verdict(metrics, losses)
        assert judgement is not None
        assert judgement.kind == "diverged"
    assert verdict(metrics, {}) is None
