"""Epochs of a Keras model on batches of features, with checkpoints.

What an epoch does depends on the seed, the epoch and the weights alone (order, dropout and
learning rate are functions of them), so a training resumed from its last checkpoint ends with the
numbers of one that was never stopped.
Letters: N images, V views, D features, B images of a batch.
"""

import csv
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headstart.errors import ClassifierError
from headstart.heads.callbacks import Hooks
from headstart.heads.schedule import compute_learning_rate
from headstart.metrics.losses import CrossEntropy
from headstart.recipe import Recipe
from headstart.system.atomic import write_atomically
from headstart.system.json import dumps

SHARE = 0.05  # of the time that checkpoints may take
CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


class Batches(Protocol):
    """Where the features of an epoch come from, a batch at a time."""

    def __call__(self, epoch: int, order: np.ndarray, /) -> Iterator[np.ndarray]:
        """(B, D) float32 features of the images whose numbers `order` (N,) lists, in that order; B
        is the recipe's batch_size, fewer in the last batch. epoch, from 0, tells which views.
        """
        ...


def run_epochs(
    model: Any,
    batches: Batches,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    judge: Callable[[], dict[str, float]] | None,
    folder: Path,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    callbacks: Sequence[Any] = (),
    over: Callable[[int], bool] = lambda _: False,
) -> tuple[dict[str, list[float]], int]:
    """Train a compiled Keras model; its history, and the epoch, from 1, whose weights it has.

    judge: val_loss and val_accuracy of the model as it stands, asked after each epoch; with
    `patience` they decide when to stop and which epoch is kept, otherwise the last is. over: told
    how many epochs are done, whether no further one is to begin. callbacks: may end the training
    and put back an epoch's weights. The rest as in `fit`.
    """
    outputs = int(model.output_shape[-1])
    history: dict[str, list[float]] = {}
    checkpoint = _Checkpoint(folder, model)
    if resume:
        history = checkpoint.load()
        if checkpoint.kept_epoch is not None:
            return history, checkpoint.kept_epoch
    targets = encode_targets(labels, outputs)
    weights = _class_weights(labels, max(2, outputs)) if recipe.balanced else None
    shares = None if weights is None else weights[labels]
    hooks = Hooks(callbacks, model, recipe, steps=-(-len(labels) // recipe.batch_size))
    hooks.train_begin()
    for epoch in range(len(history.get("loss", [])), recipe.epochs):
        if _has_converged(history, recipe) or (history and over(epoch)):
            break
        started = time.perf_counter()
        hooks.epoch_begin(epoch)
        row = _train_epoch(model, batches, targets, shares, recipe, epoch, history, hooks)
        if judge is not None:
            row |= hooks.validate(judge)
        row["learning_rate"] = _to_float(model.optimizer.learning_rate)
        row["seconds"] = time.perf_counter() - started
        for name, value in row.items():
            history.setdefault(name, []).append(value)
        hooks.epoch_end(epoch, row)
        _write_history(folder / "history.csv", history)
        checkpoint.save(history, recipe, last=epoch + 1 == recipe.epochs)
        if on_epoch is not None:
            on_epoch({"epoch": epoch + 1, **row})
        if hooks.stopping:
            break
    kept_epoch = len(history["loss"])
    if recipe.patience and judge is not None:
        kept_epoch = _best_epoch(history["val_loss"]) + 1
        checkpoint.load_best()
    if callbacks:
        kept_epoch = hooks.train_end(kept_epoch)
        checkpoint.save(history, recipe, last=True, kept_epoch=kept_epoch)
    return history, kept_epoch


def _train_epoch(
    model: Any,
    batches: Batches,
    targets: np.ndarray,
    shares: np.ndarray | None,
    recipe: Recipe,
    epoch: int,
    history: dict[str, list[float]],
    hooks: Hooks,
) -> dict[str, float]:
    """One pass over the images, or up to where a callback ends it: mean loss and accuracy."""
    count, steps = len(targets), -(-len(targets) // recipe.batch_size)
    past_losses = history.get("val_loss", history.get("loss", []))
    _seed_dropout(model, recipe.seed, epoch)
    order = np.random.default_rng([recipe.seed, epoch]).permutation(count)
    loss = accuracy = 0.0
    seen = 0
    for step, batch in enumerate(batches(epoch, order)):
        chosen = order[seen : seen + len(batch)]
        hooks.set_rate(
            compute_learning_rate(
                recipe, epoch * steps + step, recipe.epochs * steps, past_losses
            )
        )  # fmt: skip
        hooks.batch_begin(step)
        model.reset_metrics()
        logs = model.train_on_batch(
            batch, targets[chosen], None if shares is None else shares[chosen], return_dict=True
        )
        loss += float(logs["loss"]) * len(batch) / count
        accuracy += float(logs["accuracy"]) * len(batch) / count
        seen += len(batch)
        hooks.batch_end(step, {"loss": loss * count / seen, "accuracy": accuracy * count / seen})
        if hooks.stopping:
            break
    if seen < count:
        loss, accuracy = loss * count / max(1, seen), accuracy * count / max(1, seen)
    return {"loss": loss, "accuracy": accuracy}


def _to_float(value: Any) -> float:
    import keras

    return float(keras.ops.convert_to_numpy(value))


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Dropout draws of an epoch depend on the seed and the epoch, not on what came before."""
    for number, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.array([(seed * 1000 + number) % 2**32, epoch], np.uint32))


def encode_targets(labels: np.ndarray, outputs: int) -> np.ndarray:
    """(N, outputs) float32 of (N,) class numbers: one-hot, or 0 and 1 for a single sigmoid."""
    if outputs == 1:  # one sigmoid for two classes
        return labels.astype(np.float32)[:, None]
    return np.eye(outputs, dtype=np.float32)[labels]


def _class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    counts = np.bincount(labels, minlength=classes)
    weights: np.ndarray = len(labels) / (classes * np.maximum(counts, 1))
    return weights.astype(np.float32)


def validation_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """val_loss and val_accuracy of (M, C) probabilities of images with (M,) class numbers."""
    losses = CrossEntropy().of_probabilities(probabilities, labels)
    right = probabilities.argmax(axis=1) == labels
    return {"val_loss": float(losses.mean()), "val_accuracy": float(right.mean())}


def _has_converged(history: dict[str, list[float]], recipe: Recipe) -> bool:
    """Whether `patience` epochs brought no better validation loss."""
    losses = history.get("val_loss", [])
    if not recipe.patience or not losses:
        return False
    return len(losses) - 1 - _best_epoch(losses) >= recipe.patience


def _best_epoch(losses: list[float]) -> int:
    """The epoch, from 0, of the lowest loss; nan, of one that diverged, is never it."""
    return int(np.nan_to_num(np.array(losses), nan=np.inf).argmin())


def _write_history(path: Path, history: dict[str, list[float]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["epoch", *history])
    for number, row in enumerate(zip(*history.values(), strict=True), 1):
        writer.writerow([number, *(f"{value:.6g}" for value in row)])
    write_atomically(path, buffer.getvalue().encode())


class _Checkpoint:
    """Weights, optimizer and history after an epoch: one file, replaced whole."""

    def __init__(self, folder: Path, model: Any) -> None:
        self.folder, self.model = folder, model
        self.saved, self.cost = time.perf_counter(), 0.0
        self.best: list[np.ndarray] | None = None
        self.unsaved_best = False
        self.kept_epoch: int | None = None

    def save(
        self,
        history: dict[str, list[float]],
        recipe: Recipe,
        *,
        last: bool,
        kept_epoch: int | None = None,
    ) -> None:
        """Keep the state, unless writing it would take too large a share of the time.

        kept_epoch: once callbacks have had the last word, what came of it: the training is over.
        """
        losses = history.get("val_loss", [])
        if recipe.patience and losses and _best_epoch(losses) == len(losses) - 1:
            self.best, self.unsaved_best = self.model.get_weights(), True
        if not last and time.perf_counter() - self.saved < self.cost / SHARE:
            return
        started = time.perf_counter()
        if self.unsaved_best and self.best is not None:
            arrays = {f"{i:04}": a for i, a in enumerate(self.best)}
            _save(self.folder / BEST, arrays, {})
            self.unsaved_best = False
        arrays = {f"w{i:04}": a for i, a in enumerate(self.model.get_weights())}
        arrays |= {f"o{i:04}": np.asarray(a) for i, a in enumerate(self._optimizer_values())}
        metadata = {"history": dumps(history)}
        if kept_epoch is not None:
            metadata["kept_epoch"] = dumps(kept_epoch)
        _save(self.folder / CHECKPOINT, arrays, metadata)
        self.saved = time.perf_counter()
        self.cost = self.saved - started

    def _optimizer_values(self) -> list[np.ndarray]:
        import keras

        return [keras.ops.convert_to_numpy(v) for v in self.model.optimizer.variables]

    def load(self) -> dict[str, list[float]]:
        """Put the kept state back; the history so far, empty if nothing was kept."""
        from safetensors import safe_open

        path = self.folder / CHECKPOINT
        if not path.is_file():
            return {}
        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata()
                history = {
                    name: [math.nan if value is None else value for value in values]
                    for name, values in json.loads(metadata["history"]).items()
                }
                names = sorted(file.keys())
                arrays = {name: file.get_tensor(name) for name in names}
        except Exception as error:
            raise ClassifierError(f"{path} is damaged: {error}. Train anew") from error
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.set_weights([arrays[name] for name in names if name[0] == "w"])
        state = [arrays[name] for name in names if name[0] == "o"]
        for variable, value in zip(self.model.optimizer.variables, state, strict=True):
            variable.assign(value.reshape(variable.shape))
        self.kept_epoch = json.loads(metadata.get("kept_epoch", "null"))
        return history

    def load_best(self) -> None:
        """Put the best epoch's weights into the model."""
        from safetensors.numpy import load_file

        if self.best is None and (self.folder / BEST).is_file():
            arrays = load_file(self.folder / BEST)
            self.best = [arrays[name] for name in sorted(arrays)]
        if self.best is not None:
            self.model.set_weights(self.best)


def _save(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    temporary = path.with_name(f".{path.name}")
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(whole, temporary, metadata=metadata)
    os.replace(temporary, path)


@dataclass(frozen=True)
class CachedViews:
    """Batches of (N, V, D) features; an image shows its views in turn over the epochs."""

    values: np.ndarray
    batch_size: int

    def __call__(self, epoch: int, order: np.ndarray) -> Iterator[np.ndarray]:
        """The (B, D) batches of an epoch, images in the given order."""
        views = self.values.shape[1]
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield self.values[chosen, (epoch + chosen) % views]
