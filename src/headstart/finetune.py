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
from headstart.cache import FeatureCache
from headstart.errors import BackboneError, ClassifierError
from headstart.evaluation import Z, compare
from headstart.extractor import Extractor, layers, open_extractor
from headstart.features import Features, extract, open_space
from headstart.heads import linear, neural
from headstart.heads.stack import Dense, Stack
from headstart.keras_model import pooled
from headstart.progress import Silent
from headstart.recipe import Recipe
from headstart.scoring import standard_errors
from headstart.views import CachedViews

LARGEST = 8  # maps of at most so small a part of the input's side are boundaries of "auto"
BLOCKS = (2, 4, 7)  # unfrozen below the earliest cut, in the stages of boundary = "auto"
INNER = 5  # of so many folds one judges the stages and another one gives the verdict
WEIGHTS = "backbone.weights.h5"
PLAINLY = 2  # standard errors by which a stage loses after which no deeper one is tried
GAIN = 0.02  # share of the judged loss that a deeper stage must take off
DESCENT = 3 / 8  # of the time for the stages: once more on all images takes up to 5/3 of theirs


@dataclass(frozen=True)
class Stage:
    """One boundary: log loss and accuracy on the judging images, and whether it was kept."""

    boundary: str
    blocks: int
    epochs: int
    log_loss: float
    accuracy: float
    seconds: float
    kept: bool


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning gave. recipe: with the tuned weights; stack: the head on top of them.

    kept: whether it beats the linear head beyond the interval on images that neither saw; if not,
    recipe and stack are not to be used. text: this in words.
    """

    recipe: Recipe
    stack: Stack | None
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
    features: Features,
    labels: np.ndarray,
    classes: int,
    extractor: Extractor,
    recipe: Recipe,
    folder: Path,
    progress: Silent,
    *,
    groups: np.ndarray | None = None,
    resume: bool = False,
) -> Tuning:
    """Tune what lies above a boundary and say whether it pays.

    features, labels (N,): of the training images, from `extractor`, whose cuts the tuned network
    keeps. folder: of the run; stages are kept below it, so that a killed training goes on.
    Raises BackboneError for a boundary that does not lie below the earliest cut.
    """
    neural.backend()
    plan = boundaries(recipe, extractor.cuts)
    if not plan:
        text = f"Too little lies below {extractor.cuts[0]} to be tuned: the linear head is kept."
        progress.say(text)
        return Tuning(recipe, None, False, text)
    fold_of = linear.assign_folds(labels, groups, INNER, recipe.seed)
    judging, unseen, learning = (np.flatnonzero(part) for part in
                                 (fold_of == 0, fold_of == 1, fold_of > 1))  # fmt: skip
    if len(learning) == 0 or (groups is not None and len(np.unique(groups[learning])) < 2):
        # A head whose strength cannot be chosen would make any network look good.
        text = "Fine-tuning takes training images in four groups or more: the linear head is kept."
        progress.say(text)
        return Tuning(recipe, None, False, text, untried=tuple(name for name, _ in plan))
    some = None if groups is None else groups[learning]
    first = _linear(features.values[learning], labels[learning], classes, recipe, some)
    judged, before = (first.stack().probabilities(features.values[rows, 0])
                      for rows in (judging, unseen))  # fmt: skip
    tuner = _Tuner(features, labels, classes, extractor, recipe, folder, progress, resume)
    with progress.stage("finetune", len(plan) * recipe.tune_epochs, "epochs"):
        tuner.start(first, features.values[learning], labels[learning])
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
            head = _linear(features.values, labels, classes, recipe, groups)
            tuner.again(head, features.values)
    progress.say(verdict)
    tuned = recipe
    if kept:
        tuner.base.save_weights(folder / WEIGHTS)
        tuned = recipe.changed(weights=str((folder / WEIGHTS).absolute()), finetune=False)
    return Tuning(
        tuned, tuner.stack() if kept else None, kept, verdict, tuple(tuner.done),
        tuner.history if kept else {}, tuple(tuner.untried),
    )  # fmt: skip


def boundaries(recipe: Recipe, cuts: Sequence[str]) -> list[tuple[str, int]]:
    """(layer, blocks above it that are trained), the nearest to the head first. Raises
    BackboneError for a given one above the cut.

    "auto" leaves out layers near the input, and may find none: the activations of large maps take
    more memory and time than any other, for edges and colours that seldom need to be learned anew.
    """
    blocks = [layer.name for layer in layers(recipe) if layer.candidate and _separates(layer.name)]
    every = [layer.name for layer in layers(recipe)]
    earliest = min(every.index(cut.partition(":")[0]) for cut in cuts)
    below = [name for name in blocks if every.index(name) < earliest][::-1]
    if recipe.boundary != "auto":
        if recipe.boundary not in below:
            raise BackboneError(
                f"expected a boundary below the cut {every[earliest]}, found {recipe.boundary!r}. "
                f"There are {', '.join(below)}"
            )
        return [(recipe.boundary, below.index(recipe.boundary) + 1)]
    side = {layer.name: layer.shape[0] for layer in layers(recipe)}
    most = -(-recipe.geometry(backbone(recipe.backbone).size).height // LARGEST)
    below = [name for name in below if side[name] <= most]
    wanted = dict.fromkeys(min(count, len(below)) for count in BLOCKS if below)
    return [(below[count - 1], count) for count in wanted]


def _separates(name: str) -> bool:
    """Whether all that lies above sees only this layer; not so inside a residual block."""
    return not name.endswith(("depthwise_relu", "activation", "_sepconv2_act"))


def _linear(
    values: np.ndarray,
    labels: np.ndarray,
    classes: int,
    recipe: Recipe,
    groups: np.ndarray | None,
) -> linear.LinearHead:
    count, views, dimensions = values.shape
    groups = np.arange(count) if groups is None else groups
    return linear.fit(
        values.reshape(count * views, dimensions), np.repeat(labels, views), classes,
        groups=np.repeat(groups, views),
        class_weight="balanced" if recipe.balanced else None,
        folds=3, seed=recipe.seed,
    )  # fmt: skip


class _Tuner:
    """One Keras backbone and its head, trained in stages."""

    def __init__(
        self,
        features: Features,
        labels: np.ndarray,
        classes: int,
        extractor: Extractor,
        recipe: Recipe,
        folder: Path,
        progress: Silent,
        resume: bool,
    ) -> None:
        self.items, self.labels, self.classes = features.items, labels, classes
        self.cuts, self.recipe, self.progress = extractor.cuts, recipe, progress
        self.folder, self.resume = folder / "stages", resume
        self.started = time.perf_counter()
        self.done: list[Stage] = []
        self.untried: list[str] = []
        self.history: dict[str, list[float]] = {}
        self.heat = np.float32(1)  # what the logits are divided by
        self.before = np.empty(0)  # losses of the judging images before the stage

    def over(self, share: float = 1.0) -> bool:
        """Whether that share of the time is up."""
        return time.perf_counter() - self.started > share * self.recipe.tune_budget

    def start(self, head: linear.LinearHead, values: np.ndarray, labels: np.ndarray) -> None:
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
        heat = soft_temperature(
            scores, np.repeat(labels, values.shape[1]), self.recipe.label_smoothing
        )
        self.head.set_weights([head.weight / heat, head.bias / heat])

    def stack(self) -> Stack:
        """The head as plain arrays, calibrated on the judging images."""
        weight, bias = (np.asarray(v, np.float32) / self.heat for v in self.head.get_weights())
        return Stack((Dense(weight, bias, "softmax"),))

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
        self.before = own_losses(before, self.labels[judging])
        lowest = neural.judged(before, self.labels[judging])["val_loss"]
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
            probabilities, heat = _calibrated(probabilities, self.labels[judging])
            told = neural.judged(probabilities, self.labels[judging])
            pays = told["val_loss"] < lowest * (1 - GAIN)
            self.done.append(Stage(boundary, blocks, epochs, told["val_loss"],
                                   told["val_accuracy"], seconds, pays))  # fmt: skip
            if pays:
                lowest, self.heat = told["val_loss"], heat
                standing = _cooled(told_last, heat)
                self.before = own_losses(probabilities, self.labels[judging])
                continue
            self._restore(kept)
            if self._plainly_worse(probabilities, judging):
                self.untried += [name for name, _ in plan[number + 1 :]]
                break
        return standing

    def _plainly_worse(self, probabilities: np.ndarray, judging: np.ndarray) -> bool:
        """Than what was there before the stage: then deeper stages do not help."""
        losses = own_losses(probabilities, self.labels[judging])
        return standard_errors(losses, self.before) > PLAINLY

    def again(self, head: linear.LinearHead, values: np.ndarray) -> None:
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

        def calibrated() -> np.ndarray:
            assert judging is not None
            return _calibrated(probabilities(judging), self.labels[judging])[0]

        def over(_: int) -> bool:
            # Half-trained on all images it would not be what the verdict is about.
            return judging is not None and self.over(DESCENT)

        views = CachedViews(values, recipe.batch_size)
        history, kept = neural.run_epochs(
            model, lambda epoch, order: views(epoch, learning[order]), self.labels[learning],
            recipe, folder=folder, resume=self.resume, on_epoch=tell,
            judge=None if judging is None else (
                lambda: neural.judged(calibrated(), self.labels[judging])
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
        extractor = open_extractor(recipe)
        with FeatureCache() as cache:
            found = extract(
                self.items, extractor, open_space(extractor, cache, self.progress),
                augmentation=recipe.augmentation, views=recipe.cached_views, seed=recipe.seed,
            )  # fmt: skip
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


def upper(
    base: Any, head: Any, boundary: str, shape: tuple[int, ...], cuts: Sequence[str], recipe: Recipe
) -> Any:
    """The Keras model from flattened boundary activations to probabilities.

    Its layers are those of `base` and `head`: training it trains them.
    """
    import keras

    start = base.get_layer(boundary).output
    part = keras.Model(start, [base.get_layer(cut.partition(":")[0]).output for cut in cuts])
    for layer in base.layers:
        # In inference mode, its statistics stay what ImageNet made them.
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    flat = keras.Input((int(np.prod(shape)),), name="activations")
    maps = part(keras.layers.Reshape(shape)(flat))
    maps = maps if isinstance(maps, list | tuple) else [maps]
    vectors = [
        vector
        for cut, feature_map in zip(cuts, maps, strict=True)
        for vector in pooled(feature_map, cut, recipe.pooling)
    ]
    x = keras.layers.Concatenate()(vectors) if len(vectors) > 1 else vectors[0]
    return keras.Model(flat, head(x))


def compile_upper(model: Any, base: Any, recipe: Recipe) -> None:
    """AdamW whose rate is less for each block below the head."""
    import keras

    scales = _scales(base, recipe)

    class Discriminative(keras.optimizers.AdamW):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
            # On TensorFlow this is the raw variable: its place tells which one it is.
            path = self._trainable_variables[self._get_variable_index(variable)].path
            scale = scales.get(path, 1.0)
            return super().update_step(gradient, variable, learning_rate * scale)

    model.compile(
        optimizer=Discriminative(recipe.tune_learning_rate, weight_decay=recipe.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,  # XLA's convolutions are slow on a CPU
    )


def _scales(base: Any, recipe: Recipe) -> dict[str, float]:
    """By variable: the share of the head's learning rate."""
    outputs = {layer.name for layer in layers(recipe) if layer.candidate}
    outputs = {name for name in outputs if _separates(name)}
    found, scale = {}, 1.0
    for layer in reversed(base.layers):
        if layer.name in outputs:
            scale *= recipe.tune_decay
        for variable in layer.trainable_variables:
            found[variable.path] = scale
    return found


def _calibrated(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Probabilities at the temperature that serves them best, and that temperature."""
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1))
    heat = np.float32(linear.temperature(logits, labels))
    return _cooled(probabilities, heat), heat


def soft_temperature(scores: np.ndarray, labels: np.ndarray, smoothing: float) -> np.float32:
    """What (N, C) logits are divided by to serve smoothed labels best; never below 1."""
    z = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    # Smoothed labels p are smoothing / C, and 1 - smoothing more for the label's own class.
    own = z[np.arange(len(z)), labels].mean()
    wanted = smoothing * z.mean() + (1 - smoothing) * own  # mean of sum(p z)
    heats = np.geomspace(1, 100, 100)
    losses = [float(np.log(np.exp(z / heat).sum(axis=1)).mean() - wanted / heat) for heat in heats]
    return np.float32(heats[int(np.argmin(losses))])


def _cooled(probabilities: np.ndarray, heat: np.float32) -> np.ndarray:
    """Probabilities whose logits are divided by `heat`."""
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1)) / heat
    cooled: np.ndarray = np.exp(logits)
    return cooled / cooled.sum(axis=1, keepdims=True)


def own_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(M,) log losses of (M, C) probabilities."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses: np.ndarray = -np.log(np.clip(own, 1e-7, 1))
    return losses


def not_kept(done: Sequence[Stage], before: np.ndarray, labels: np.ndarray) -> str:
    """Why no stage was kept, in words. before: (M, C) of the judging images by the linear head."""
    if not done:
        return "No stage of the fine-tuning was finished: the linear head is kept."
    best = min(done, key=lambda stage: (np.isnan(stage.log_loss), stage.log_loss))
    told = neural.judged(before, labels)
    return (
        f"Fine-tuning does not pay here: of {len(done)} stages none took {GAIN:.0%} off the log "
        f"loss of {len(labels):,} training images that it had not seen ({told['val_loss']:.3f}, at "
        f"best {best.log_loss:.3f}; accuracy {told['val_accuracy']:.1%}, then {best.accuracy:.1%})."
        " The linear head is kept."
    )


def judge(after: np.ndarray, before: np.ndarray, labels: np.ndarray) -> tuple[str, bool]:
    """Whether the tuned network beats the linear head beyond the interval, in words."""
    paired = compare(after, before, labels)
    low, high = paired.difference_interval
    difference = own_losses(before, labels) - own_losses(after, labels)
    error = float(difference.std(ddof=1)) / len(labels) ** 0.5
    surer = float(difference.mean()) > Z * error > 0 and paired.difference >= 0
    kept = surer or paired.verdict == "the first is better"
    told = (
        f"accuracy {paired.difference:+.1%} ({low:+.1%} to {high:+.1%}), log loss "
        f"{-difference.mean():+.3f} on {len(labels):,} training images unseen by both"
    )
    if kept:
        return f"Fine-tuning pays: {told}.", True
    return f"Fine-tuning does not pay here: {told}. The linear head is kept.", False
