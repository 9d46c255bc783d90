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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.backbones.catalogue import backbone
from headstart.backbones.keras_builder import keras_backbone
from headstart.backbones.weights import resolve
from headstart.data.item import Item
from headstart.errors import ClassifierError
from headstart.features.extract import extract_features
from headstart.features.extractor import Extractor, open_extractor
from headstart.heads import linear, neural
from headstart.heads.calibration import apply_temperature, calibrate, smoothing_temperature
from headstart.heads.epochs import CachedViews, run_epochs, validation_scores
from headstart.heads.examples import Examples
from headstart.heads.folds import assign_folds
from headstart.heads.head import Dense, Head
from headstart.metrics.comparison import standard_errors
from headstart.metrics.losses import CrossEntropy
from headstart.recipe import Recipe
from headstart.system.progress import Progress
from headstart.tuning.boundaries import boundaries
from headstart.tuning.judge import GAIN, Stage, judge, not_kept
from headstart.tuning.upper import compile_upper, upper

INNER = 5  # of so many folds one judges the stages and another one gives the verdict
WEIGHTS = "backbone.weights.h5"
PLAINLY = 2  # standard errors by which a stage loses after which no deeper one is tried


DESCENT = 3 / 8  # of the time for the stages: once more on all images takes up to 5/3 of theirs


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
    plan = boundaries(recipe, extractor.cuts)
    if not plan:
        text = f"Too little lies below {extractor.cuts[0]} to be tuned: the linear head is kept."
        progress.say(text)
        return Tuning(recipe, None, False, text)
    groups, labels = examples.groups, examples.targets
    fold_of = assign_folds(labels, groups, INNER, recipe.seed)
    judging, unseen, learning = (np.flatnonzero(part) for part in
                                 (fold_of == 0, fold_of == 1, fold_of > 1))  # fmt: skip
    if len(learning) == 0 or (groups is not None and len(np.unique(groups[learning])) < 2):
        # A head whose strength cannot be chosen would make any network look good.
        text = "Fine-tuning takes training images in four groups or more: the linear head is kept."
        progress.say(text)
        return Tuning(recipe, None, False, text, untried=tuple(name for name, _ in plan))
    first = _fit_linear(examples.take(learning), recipe)
    judged, before = (first.head().probabilities(examples.values[rows, 0])
                      for rows in (judging, unseen))  # fmt: skip
    tuner = _Tuner(items, examples, extractor, recipe, folder, progress, resume)
    with progress.stage("finetune", len(plan) * recipe.tune_epochs, "epochs"):
        tuner.start(first, examples.values[learning], labels[learning])
        after = tuner.stages(plan, learning, judging, unseen, judged)
        if tuner.over(DESCENT):
            left = f", and {', '.join(tuner.untried)} was not tried" if tuner.untried else ""
            progress.say(
                f"the time for measuring how far down it pays is up{left}. With more of it: "
                f"--budget {max(60, 2 * recipe.tune_budget):.0f}s"
            )
        if after is None:
            verdict, kept = not_kept(tuner.done, judged, labels[judging]), False
        else:
            verdict, kept = judge(after, before, labels[unseen])
        if kept:
            progress.say("once more with all training images")
            tuner.again(_fit_linear(examples, recipe), examples.values)
    progress.say(verdict)
    tuned = recipe
    if kept:
        tuner.base.save_weights(folder / WEIGHTS)
        tuned = recipe.changed(weights=str((folder / WEIGHTS).absolute()), finetune=False)
    return Tuning(
        tuned, tuner.plain_head() if kept else None, kept, verdict, tuple(tuner.done),
        tuner.history if kept else {}, tuple(tuner.untried),
    )  # fmt: skip


def _fit_linear(examples: Examples, recipe: Recipe) -> linear.LinearFit:
    return linear.fit(examples, folds=3, seed=recipe.seed)


class _Tuner:
    """One Keras backbone and its head, trained in stages."""

    def __init__(
        self,
        items: Sequence[Item],
        examples: Examples,
        extractor: Extractor,
        recipe: Recipe,
        folder: Path,
        progress: Progress,
        resume: bool,
    ) -> None:
        self.items, self.labels = items, examples.targets
        self.classes = len(examples.task.classes)
        self.cuts, self.recipe, self.progress = extractor.cuts, recipe, progress
        self.folder, self.resume = folder / "stages", resume
        self.started = time.perf_counter()
        self.done: list[Stage] = []
        self.untried: list[str] = []
        self.history: dict[str, list[float]] = {}
        self.heat = 1.0  # what the logits are divided by
        self.before = np.empty(0)  # losses of the judging images before the stage

    def over(self, share: float = 1.0) -> bool:
        """Whether that share of the time is up."""
        return time.perf_counter() - self.started > share * self.recipe.tune_budget

    def start(self, head: linear.LinearFit, values: np.ndarray, labels: np.ndarray) -> None:
        """The backbone as it comes, and on top of it the linear head of these training images.

        A head that is surer of them than smoothed labels would have it is cooled first: otherwise
        the first steps do nothing but push its numbers together, and the network's with them.
        """
        import keras

        entry = backbone(self.recipe.backbone)
        weights = resolve(entry, self.recipe.weights)
        size = self.recipe.geometry(entry.size).height
        path = str(weights.path) if weights.path else None
        keras.utils.set_random_seed(0 if path is None else self.recipe.seed)
        self.base = keras_backbone(entry.name, size, path, weights.kind)
        self.head = keras.layers.Dense(self.classes, activation="softmax", name="predictions")
        self.head.build((None, len(head.weight)))
        rows = values.reshape(-1, values.shape[2])
        scores = rows @ head.weight + head.bias
        heat = smoothing_temperature(
            scores, np.repeat(labels, values.shape[1]), self.recipe.label_smoothing
        )
        self.head.set_weights([head.weight / heat, head.bias / heat])

    def plain_head(self) -> Head:
        """The head as plain arrays, calibrated on the judging images."""
        weight, bias = (np.asarray(v, np.float32) / self.heat for v in self.head.get_weights())
        return Head((Dense(weight, bias, "softmax"),))

    def stages(
        self,
        plan: list[tuple[str, int]],
        learning: np.ndarray,
        judging: np.ndarray,
        unseen: np.ndarray,
        before: np.ndarray,
    ) -> np.ndarray | None:
        """Go down the plan, keeping what pays on the judging images, whose probabilities by the
        linear head are `before`; (M, C) probabilities of the unseen ones by the network as it then
        stands, None where no stage was kept.
        """
        self.before = CrossEntropy().of_probabilities(before, self.labels[judging])
        lowest = validation_scores(before, self.labels[judging])["val_loss"]
        standing: np.ndarray | None = None
        for number, (boundary, blocks) in enumerate(plan):
            if self.over(DESCENT):
                self.untried += [name for name, _ in plan[number:]]
                break
            kept = self._weights()
            try:
                probabilities, told_last, epochs, seconds = self._stage(
                    boundary, blocks, learning, judging, unseen
                )
            except KeyboardInterrupt:
                self.progress.warn("the tuning is stopped: going on with the stages before")
                self._restore(kept)
                self.untried += [name for name, _ in plan[number:]]
                break
            probabilities, heat = calibrate(probabilities, self.labels[judging])
            told = validation_scores(probabilities, self.labels[judging])
            pays = told["val_loss"] < lowest * (1 - GAIN)
            self.done.append(Stage(boundary, blocks, epochs, told["val_loss"],
                                   told["val_accuracy"], seconds, pays))  # fmt: skip
            if pays:
                lowest, self.heat = told["val_loss"], heat
                standing = apply_temperature(told_last, heat)
                self.before = CrossEntropy().of_probabilities(probabilities, self.labels[judging])
                continue
            self._restore(kept)
            if self._plainly_worse(probabilities, judging):
                self.untried += [name for name, _ in plan[number + 1 :]]
                break
        return standing

    def _plainly_worse(self, probabilities: np.ndarray, judging: np.ndarray) -> bool:
        """Than what was there before the stage: then deeper stages do not help."""
        losses = CrossEntropy().of_probabilities(probabilities, self.labels[judging])
        return standard_errors(losses, self.before) > PLAINLY

    def again(self, head: linear.LinearFit, values: np.ndarray) -> None:
        """The stages that paid, for the epochs that served them best, on all images, from their
        linear head. If that is stopped, the network is what it was, which the verdict is about.
        """
        judged = self._weights()
        self.start(head, values, self.labels)
        rows = np.arange(len(self.labels))
        try:
            for stage in [stage for stage in self.done if stage.kept]:
                self._stage(stage.boundary, stage.blocks, rows, None, None, stage.epochs)
        except KeyboardInterrupt:
            self.progress.warn("stopped: keeping what was trained on three fifths of the images")
            self._restore(judged)

    def _stage(
        self,
        boundary: str,
        blocks: int,
        learning: np.ndarray,
        judging: np.ndarray | None,
        unseen: np.ndarray | None,
        epochs: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray, int, float]:
        """Probabilities of the judging images and of the unseen ones, epochs kept, seconds."""
        begun = time.perf_counter()
        folder = self.folder / f"{boundary}-{'judged' if epochs is None else 'whole'}"
        folder.mkdir(parents=True, exist_ok=True)
        values, shape = self._activations(boundary)
        model = upper(self.base, self.head, boundary, shape, self.cuts, self.recipe)
        compile_upper(model, self.base, self.recipe)
        recipe = self.recipe.changed(
            finetune=False, epochs=epochs or self.recipe.tune_epochs, schedule="cosine",
            learning_rate=self.recipe.tune_learning_rate,
            # The rate falls to the end, and only then is it seen what a stage is worth: none is
            # stopped before, but the best epoch is kept.
            patience=0 if epochs else self.recipe.tune_epochs,
        )  # fmt: skip

        def probabilities(rows: np.ndarray | None) -> np.ndarray:
            parts = [
                np.asarray(model.predict_on_batch(values[rows[start : start + 64], 0]))
                for start in range(0, len(rows), 64)
            ] if rows is not None else []  # fmt: skip
            return np.concatenate(parts) if parts else np.empty((0, self.classes))

        def tell(row: dict[str, float]) -> None:
            self.progress.advance()
            told = f", judged {row['val_accuracy']:.1%}" if "val_accuracy" in row else ""
            self.progress.say(f"{boundary} epoch {row['epoch']}/{recipe.epochs}  loss "
                              f"{row['loss']:.4f}{told}  ({row['seconds']:.1f} s)")  # fmt: skip

        def judged_now() -> np.ndarray:
            assert judging is not None
            return calibrate(probabilities(judging), self.labels[judging])[0]

        def over(_: int) -> bool:
            # Half-trained on all images it would not be what the verdict is about.
            return judging is not None and self.over(DESCENT)

        views = CachedViews(values, recipe.batch_size)
        history, kept = run_epochs(
            model, lambda epoch, order: views(epoch, learning[order]), self.labels[learning],
            recipe, folder=folder, resume=self.resume, on_epoch=tell,
            judge=None if judging is None else (
                lambda: validation_scores(judged_now(), self.labels[judging])
            ),
            over=over,
        )  # fmt: skip
        for name, column in history.items():
            if epochs is None:
                self.history.setdefault(name, []).extend(column)
        seconds = time.perf_counter() - begun
        return probabilities(judging), probabilities(unseen), kept, seconds

    def _activations(self, boundary: str) -> tuple[np.ndarray, tuple[int, ...]]:
        """(N, V, H * W * channels) activations at the boundary, each view computed once."""
        recipe = self.recipe.changed(cut=[f"{boundary}:flatten"])
        found = extract_features(self.items, open_extractor(recipe), recipe)
        if found.bad:
            item, reason = found.bad[0]
            raise ClassifierError(f"{item.name} changed while it was trained on: {reason}")
        shape = tuple(int(side) for side in self.base.get_layer(boundary).output.shape[1:])
        return found.values, shape

    def _weights(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        return self.base.get_weights(), self.head.get_weights()

    def _restore(self, weights: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
        self.base.set_weights(weights[0])
        self.head.set_weights(weights[1])
