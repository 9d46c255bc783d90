"""Epochs of a Keras model on batches of features.

What an epoch does depends on the seed, the epoch and the weights alone (order, dropout and
learning rate are functions of them), so a training resumed from its last checkpoint ends with the
numbers of one that was never stopped.
Letters: N images, V views, D features, B images of a batch.
"""

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headstart.heads.callbacks import Hooks
from headstart.heads.checkpoint import Checkpoint, best_epoch
from headstart.heads.schedule import compute_learning_rate
from headstart.metrics.losses import CrossEntropy
from headstart.recipe import Recipe
from headstart.system.atomic import write_atomically


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
    checkpoint = Checkpoint(folder, model)
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
        kept_epoch = best_epoch(history["val_loss"]) + 1
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
    return len(losses) - 1 - best_epoch(losses) >= recipe.patience


def _write_history(path: Path, history: dict[str, list[float]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["epoch", *history])
    for number, row in enumerate(zip(*history.values(), strict=True), 1):
        writer.writerow([number, *(f"{value:.6g}" for value in row)])
    write_atomically(path, buffer.getvalue().encode())


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
