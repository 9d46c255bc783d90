"""What a stopped training of a Keras model goes on from."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import ClassifierError
from headstart.recipe import Recipe
from headstart.system.json import dumps

SHARE = 0.05  # of the time that checkpoints may take
CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


class Checkpoint:
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
        if recipe.patience and losses and best_epoch(losses) == len(losses) - 1:
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


def best_epoch(losses: list[float]) -> int:
    """The epoch, from 0, of the lowest loss; nan, of one that diverged, is never it."""
    return int(np.nan_to_num(np.array(losses), nan=np.inf).argmin())
