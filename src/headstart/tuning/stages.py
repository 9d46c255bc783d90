"""Fine-tuning that a CPU can afford: layers above a boundary, from cached boundary activations.

The network below the boundary stays frozen, so its output for a view never changes: the extractor
computes it once, fast, and Keras trains only what lies above. Stage by stage the boundary moves
down (gradual unfreezing, Howard & Ruder 2018, https://arxiv.org/abs/1801.06146), each stage from
the weights of those before it that paid, by images that take no part in the training. Whether all
of it pays is told by yet others, on which nothing was chosen.
Batch normalisation stays in inference mode; each block below the head learns more slowly.
Letters: N images, V views, D features, C classes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.item import Item
from headstart.features.extractor import Extractor
from headstart.heads import linear, neural
from headstart.heads.calibration import calibrate, smoothing_temperature
from headstart.heads.epochs import CachedViews, run_epochs, validation_scores
from headstart.heads.examples import Examples, Labels
from headstart.heads.head import Head
from headstart.recipe import Recipe
from headstart.system.atomic import file_atomically
from headstart.system.progress import Progress
from headstart.tuning.boundaries import Boundary, compute_activations, plan_descent
from headstart.tuning.descent import Descent, Trial, descend, repeat_stages
from headstart.tuning.judge import (
    Parts,
    Stage,
    Verdict,
    can_choose,
    judge,
    judge_without_gain,
    part_images,
)
from headstart.tuning.upper import Network, State, build_network, build_upper, compile_upper

WEIGHTS = "backbone.weights.h5"
PER_ARRAY = 4096  # bytes that HDF5 takes to describe one, and more
DESCENT = 3 / 8  # of the time for the stages: once more on all images takes up to 5/3 of theirs
PREDICTED = 64  # images at a time


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning gave. recipe: with the tuned weights; head: the head on top of them.

    kept: whether it beats the linear head beyond the interval on images that neither saw; if not,
    recipe and head are not to be used. text: this in words.
    """

    recipe: Recipe
    head: Head | None
    kept: bool
    text: str
    stages: tuple[Stage, ...] = ()
    history: dict[str, list[float]] = field(default_factory=dict)
    untried: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "kept": self.kept,
            "verdict": self.text,
            "stages": [asdict(stage) for stage in self.stages],
            "untried": list(self.untried),
        }


@dataclass(frozen=True)
class Setting:
    """What all stages of a tuning share. folder: for what a killed one goes on from."""

    items: Sequence[Item]
    examples: Examples
    extractor: Extractor
    recipe: Recipe
    folder: Path
    progress: Progress
    resume: bool


def finetune(
    items: Sequence[Item],
    examples: Examples,
    extractor: Extractor,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    *,
    resume: bool = False,
) -> Tuning:
    """Tune what lies above a boundary and say whether it pays.

    items, examples: the N training images and their features from `extractor`, whose cuts the tuned
    network keeps. folder: of the run; stages are kept below it, so that a killed training goes on.
    Raises BackboneError for a boundary that does not lie below the earliest cut.
    """
    neural.prepare_keras()
    plan = plan_descent(recipe, extractor.cuts)
    parts = part_images(examples, recipe.seed)
    refusal = _refuse(plan, parts, examples, extractor)
    if refusal:
        progress.say(refusal)
        return Tuning(recipe, None, False, refusal, untried=tuple(one.layer for one in plan))
    setting = Setting(items, examples, extractor, recipe, folder / "stages", progress, resume)
    head = _fit_linear(examples.take(parts.learning), recipe)
    with progress.stage("finetune", len(plan) * recipe.tune_epochs, "epochs"):
        descent, verdict = _descend_and_judge(setting, plan, parts, head)
        if verdict.pays:
            progress.say("once more with all training images")
            network, state = _train_once_more(setting, descent)
    progress.say(verdict.text)
    if not verdict.pays:
        return Tuning(recipe, None, False, verdict.text, descent.stages, {}, descent.untried)
    network.load(state)
    room = sum(weight.nbytes + PER_ARRAY for weight in network.base.get_weights())
    with file_atomically(folder / WEIGHTS, room) as temporary:
        network.base.save_weights(temporary)
    return Tuning(
        recipe.changed(weights=str((folder / WEIGHTS).absolute()), finetune=False),
        state.plain_head(), True, verdict.text, descent.stages, descent.history, descent.untried,
    )  # fmt: skip


def _refuse(plan: Sequence[Boundary], parts: Parts, labels: Labels, extractor: Extractor) -> str:
    """Why there is nothing to tune or nothing to judge by, in words; empty where there is both."""
    if not plan:
        return f"Too little lies below {extractor.cuts[0]} to be tuned: the linear head is kept."
    if not can_choose(labels, parts):
        # A head whose strength cannot be chosen would make any network look good.
        return "Fine-tuning takes training images in four groups or more: the linear head is kept."
    return ""


def _descend_and_judge(
    setting: Setting, plan: tuple[Boundary, ...], parts: Parts, head: linear.LinearFit
) -> tuple[Descent, Verdict]:
    """Trained on the learning images from their linear head, chosen by the judging ones; the
    verdict by the unseen.
    """
    examples, recipe = setting.examples, setting.recipe
    judging, unseen = (head.head().probabilities(examples.values[rows, 0])
                       for rows in (parts.judging, parts.unseen))  # fmt: skip
    judging_targets = examples.targets[parts.judging]
    started = time.perf_counter()

    def over() -> bool:
        return time.perf_counter() - started > DESCENT * recipe.tune_budget

    network, start = _start(head, examples.take(parts.learning), recipe)
    descent = descend(
        plan, start, judging, judging_targets, partial(_try_stage, setting, network, parts, over),
        over=over, progress=setting.progress,
    )  # fmt: skip
    if over():
        left = f", and {', '.join(descent.untried)} was not tried" if descent.untried else ""
        setting.progress.say(
            f"the time for measuring how far down it pays is up{left}. With more of it: "
            f"--budget {max(60, 2 * recipe.tune_budget):.0f}s"
        )
    if descent.unseen is None:
        return descent, judge_without_gain(descent.stages, judging, judging_targets)
    return descent, judge(descent.unseen, unseen, examples.targets[parts.unseen])


def _train_once_more(setting: Setting, descent: Descent) -> tuple[Network, State]:
    """The stages that paid, for the epochs that served them best, on all images, from their
    linear head.
    """
    examples, recipe = setting.examples, setting.recipe
    network, start = _start(_fit_linear(examples, recipe), examples, recipe)
    rows = np.arange(len(examples))

    def train(state: State, stage: Stage) -> State:
        activations = descent.activations
        if activations is None or stage is not descent.kept[-1]:
            activations = compute_activations(setting.items, stage.boundary, recipe)
        network.load(state)
        model = _compile(setting, network, stage.boundary)
        _train(setting, model, stage.boundary, activations, rows, epochs=stage.epochs)
        return network.state()

    return network, repeat_stages(descent, start, train, setting.progress)


def _fit_linear(examples: Examples, recipe: Recipe) -> linear.LinearFit:
    return linear.fit(examples, folds=3, seed=recipe.seed)


def _start(head: linear.LinearFit, examples: Examples, recipe: Recipe) -> tuple[Network, State]:
    """The backbone as it comes, and on top of it the linear head of these training images.

    A head that is surer of them than smoothed labels would have it is cooled first: otherwise
    the first steps do nothing but push its numbers together, and the network's with them.
    """
    logits = examples.rows() @ head.weight + head.bias
    temperature = smoothing_temperature(
        logits, examples.repeat(examples.targets), recipe.label_smoothing
    )
    network = build_network(recipe, head.weight / temperature, head.bias / temperature)
    return network, network.state()


def _try_stage(
    setting: Setting,
    network: Network,
    parts: Parts,
    over: Callable[[], bool],
    state: State,
    boundary: Boundary,
) -> Trial:
    """From a state of the network, the layers above a boundary trained on the learning images."""
    begun = time.perf_counter()
    activations = compute_activations(setting.items, boundary.layer, setting.recipe)
    network.load(state)
    model = _compile(setting, network, boundary.layer)
    targets = setting.examples.targets[parts.judging]

    def score_now() -> dict[str, float]:
        probabilities, _ = calibrate(_predict(model, activations, parts.judging), targets)
        return validation_scores(probabilities, targets)

    history, epochs = _train(
        setting, model, boundary.layer, activations, parts.learning, score_now=score_now, over=over
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    judging, unseen = (_predict(model, activations, rows)
                       for rows in (parts.judging, parts.unseen))  # fmt: skip
    return Trial(network.state(), judging, unseen, epochs, seconds, history, activations)


def _compile(setting: Setting, network: Network, boundary: str) -> Any:
    """What lies above the boundary, ready to be trained."""
    model = build_upper(network, boundary, setting.extractor.cuts, setting.recipe)
    compile_upper(model, network.base, setting.recipe)
    return model


def _train(
    setting: Setting,
    model: Any,
    boundary: str,
    activations: np.ndarray,
    rows: np.ndarray,
    *,
    epochs: int | None = None,
    score_now: Callable[[], dict[str, float]] | None = None,
    over: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, list[float]], int]:
    """Train on some of the images; the history, and the epoch, from 1, whose weights the model has.

    epochs: as many and no other, or the recipe's, of which the best by `score_now` is kept.
    """
    progress = setting.progress
    folder = setting.folder / f"{boundary}-{'judged' if epochs is None else 'whole'}"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = setting.recipe.changed(
        finetune=False, epochs=epochs or setting.recipe.tune_epochs, schedule="cosine",
        learning_rate=setting.recipe.tune_learning_rate,
        # The rate falls to the end, and only then is it seen what a stage is worth: none is
        # stopped before, but the best epoch is kept.
        patience=0 if epochs else setting.recipe.tune_epochs,
    )  # fmt: skip

    def tell(row: dict[str, float]) -> None:
        progress.advance()
        accuracy = f", judged {row['val_accuracy']:.1%}" if "val_accuracy" in row else ""
        progress.say(f"{boundary} epoch {row['epoch']}/{recipe.epochs}  loss "
                     f"{row['loss']:.4f}{accuracy}  ({row['seconds']:.1f} s)")  # fmt: skip

    views = CachedViews(activations, recipe.batch_size)
    return run_epochs(
        model, lambda epoch, order: views(epoch, rows[order]), setting.examples.targets[rows],
        recipe, judge=score_now, folder=folder, resume=setting.resume, on_epoch=tell,
        over=lambda _: over(),
    )  # fmt: skip


def _predict(model: Any, activations: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(M, C) probabilities of some of the images as they are, without augmentation."""
    batches = [rows[start : start + PREDICTED] for start in range(0, len(rows), PREDICTED)]
    return np.concatenate(
        [np.asarray(model.predict_on_batch(activations[batch, 0])) for batch in batches]
    )
