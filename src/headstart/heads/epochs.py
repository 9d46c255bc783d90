"""Epochs of a Keras model on batches of features, with checkpoints.

What an epoch does depends on the seed, the epoch and the weights alone (order, dropout and
learning rate are functions of them), so a training resumed from its last checkpoint ends with the
numbers of one that was never stopped.
Letters: N images, V views, D features, B images of a batch.
"""

import csv
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import ClassifierError
from headstart.heads.schedule import learning_rate
from headstart.recipe import Recipe
from headstart.system.atomic import write_atomically

Batches = Callable[[int, np.ndarray], Iterator[np.ndarray]]


SHARE = 0.05  # of the time that checkpoints may take


CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


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
    how many epochs are done, whether no further one is to begin. The rest as in `fit`.
    """
    import keras

    outputs = int(model.output_shape[-1])
    logged = keras.callbacks.CallbackList(list(callbacks), model=model)
    history: dict[str, list[float]] = {}
    checkpoint = _Checkpoint(folder, model)
    if resume:
        history = checkpoint.load()
    targets = targets_of(labels, outputs)
    weights = _class_weights(labels, max(2, outputs)) if recipe.balanced else None
    steps = -(-len(labels) // recipe.batch_size)
    logged.on_train_begin()
    for epoch in range(len(history.get("loss", [])), recipe.epochs):
        if _finished(history, recipe) or (history and over(epoch)):
            break
        started = time.perf_counter()
        _seed_dropout(model, recipe.seed, epoch)
        order = np.random.default_rng([recipe.seed, epoch]).permutation(len(labels))
        logged.on_epoch_begin(epoch)
        loss = accuracy = 0.0
        for step, batch in enumerate(batches(epoch, order)):
            chosen = order[step * recipe.batch_size : step * recipe.batch_size + len(batch)]
            model.optimizer.learning_rate.assign(
                learning_rate(
                    recipe, epoch * steps + step, recipe.epochs * steps,
                    history.get("val_loss", history.get("loss", [])),
                )
            )  # fmt: skip
            shares = None if weights is None else weights[labels[chosen]]
            model.reset_metrics()
            logs = model.train_on_batch(batch, targets[chosen], shares, return_dict=True)
            loss += float(logs["loss"]) * len(batch) / len(labels)
            accuracy += float(logs["accuracy"]) * len(batch) / len(labels)
        row = {"loss": loss, "accuracy": accuracy}
        if judge is not None:
            row |= judge()
        row["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        row["seconds"] = time.perf_counter() - started
        for name, value in row.items():
            history.setdefault(name, []).append(value)
        logged.on_epoch_end(epoch, row)
        _write_history(folder / "history.csv", history)
        checkpoint.save(history, recipe, last=epoch + 1 == recipe.epochs)
        if on_epoch is not None:
            on_epoch({"epoch": epoch + 1, **row})
    logged.on_train_end()
    kept = len(history["loss"])
    if recipe.patience and judge is not None:
        kept = _lowest(history["val_loss"]) + 1
        checkpoint.load_best()
    return history, kept


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Dropout draws of an epoch depend on the seed and the epoch, not on what came before."""
    for number, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.array([(seed * 1000 + number) % 2**32, epoch], np.uint32))


def targets_of(labels: np.ndarray, outputs: int) -> np.ndarray:
    if outputs == 1:  # one sigmoid for two classes
        return labels.astype(np.float32)[:, None]
    return np.eye(outputs, dtype=np.float32)[labels]


def _class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    counts = np.bincount(labels, minlength=classes)
    weights: np.ndarray = len(labels) / (classes * np.maximum(counts, 1))
    return weights.astype(np.float32)


def judged(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """val_loss and val_accuracy of (M, C) probabilities."""
    own = np.clip(probabilities[np.arange(len(labels)), labels].astype(np.float64), 1e-7, 1)
    right = probabilities.argmax(axis=1) == labels
    return {"val_loss": float(-np.log(own).mean()), "val_accuracy": float(right.mean())}


def _finished(history: dict[str, list[float]], recipe: Recipe) -> bool:
    """Whether `patience` epochs brought no better validation loss."""
    losses = history.get("val_loss", [])
    if not recipe.patience or not losses:
        return False
    return len(losses) - 1 - _lowest(losses) >= recipe.patience


def _lowest(losses: list[float]) -> int:
    """The index of the lowest loss; nan, of a training that diverged, is never it."""
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

    def save(self, history: dict[str, list[float]], recipe: Recipe, *, last: bool) -> None:
        """Keep the state, unless writing it would take too large a share of the time."""
        losses = history.get("val_loss", [])
        if recipe.patience and losses and _lowest(losses) == len(losses) - 1:
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
        _save(self.folder / CHECKPOINT, arrays, {"history": json.dumps(history)})
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
                history: dict[str, list[float]] = json.loads(file.metadata()["history"])
                names = sorted(file.keys())
                arrays = {name: file.get_tensor(name) for name in names}
        except Exception as error:
            raise ClassifierError(f"{path} is damaged: {error}. Train anew") from error
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.set_weights([arrays[name] for name in names if name[0] == "w"])
        kept = [arrays[name] for name in names if name[0] == "o"]
        for variable, value in zip(self.model.optimizer.variables, kept, strict=True):
            variable.assign(value.reshape(variable.shape))
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
