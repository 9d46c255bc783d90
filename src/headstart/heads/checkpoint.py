"""What a stopped training of a Keras model goes on from."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import ClassifierError, cannot_read
from headstart.recipe import Recipe
from headstart.system.atomic import file_atomically
from headstart.system.json import dumps, loads

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
        """Put the kept state back; the history so far, empty if nothing was kept.

        Raises ClassifierError if what was kept is damaged or of another model.
        """
        from safetensors import safe_open

        path = self.folder / CHECKPOINT
        if not path.is_file():
            return {}
        with _telling(path):
            with safe_open(path, "numpy") as file:
                metadata = file.metadata()
                names = sorted(file.keys())
                arrays = {name: file.get_tensor(name) for name in names}
            history = {
                str(name): [math.nan if value is None else float(value) for value in values]
                for name, values in loads(metadata["history"].encode()).items()
            }
            if len({len(values) for values in history.values()}) > 1:
                raise ValueError("columns of different lengths")
            kept_epoch = loads(metadata.get("kept_epoch", "null").encode())
            if kept_epoch is not None and not isinstance(kept_epoch, int):
                raise ValueError(f"{kept_epoch!r} as the epoch that was kept")
            self.model.optimizer.build(self.model.trainable_variables)
            self.model.set_weights([arrays[name] for name in names if name[0] == "w"])
            state = [arrays[name] for name in names if name[0] == "o"]
            for variable, value in zip(self.model.optimizer.variables, state, strict=True):
                variable.assign(value.reshape(variable.shape))
        self.kept_epoch = kept_epoch
        return history

    def load_best(self) -> None:
        """Put the best epoch's weights into the model. Raises as `load` does."""
        from safetensors.numpy import load_file

        path = self.folder / BEST
        with _telling(path):  # there is one if there is a checkpoint: it is written before
            if self.best is None:
                arrays = load_file(path)
                self.best = [arrays[name] for name in sorted(arrays)]
            self.model.set_weights(self.best)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Whatever the libraries make of a damaged file is told as one error."""
    try:
        yield
    except Exception as error:
        advice = (
            f"Remove {CHECKPOINT} and {BEST} there, to begin with the first epoch again, and type "
            "the same command"
        )
        raise ClassifierError(
            cannot_read(path, error, "the state of this training", advice)
        ) from error


def _save(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with file_atomically(path) as temporary:
        save_file(whole, temporary, metadata=metadata)


def best_epoch(losses: list[float]) -> int:
    """The epoch, from 0, of the lowest loss; nan, of one that diverged, is never it."""
    return int(np.nan_to_num(np.array(losses), nan=np.inf).argmin())
