"""Keras callbacks of the user's: which of them a training serves, and their hooks.

The hooks are called as `model.fit` calls them. What callbacks see as their model is the head alone,
from features to probabilities.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headstart.errors import RecipeError
from headstart.recipe import Recipe

REFUSED = {
    "BackupAndRestore": "a training that was stopped goes on by itself: headstart train --resume",
    "SwapEMAWeights": "it needs an optimizer with use_ema=True, which a recipe does not have",
}
SET_THE_RATE = ("LearningRateScheduler", "ReduceLROnPlateau")


def check_callbacks(callbacks: Sequence[Any], recipe: Recipe) -> None:
    """Raises RecipeError for callbacks that the recipe's training would not serve."""
    if not isinstance(callbacks, Sequence):
        raise RecipeError(
            f"callbacks: expected a list of Keras callbacks, found {_name(callbacks)}. "
            f"Type: callbacks=[{_name(callbacks)}(...)]"
        )
    if not callbacks:
        return
    check_epochs([_name(callback) for callback in callbacks], recipe)
    for callback in callbacks:
        _check_callback(callback, recipe)


def check_epochs(names: Sequence[str], recipe: Recipe) -> None:
    """Raises RecipeError where callbacks of these names have no epochs of one head to follow."""
    given = ", ".join(names)
    if recipe.head != "neural":
        tuned = " with finetune = true" if recipe.finetune else ""
        raise RecipeError(
            f"expected head = 'neural' for Keras callbacks ({given}), which follow its epochs, "
            f'found head = {recipe.head!r}{tuned}. Type: head="neural", or leave out callbacks'
        )
    if recipe.ensemble:
        raise RecipeError(
            f"expected ensemble = false for Keras callbacks ({given}), which follow the epochs of "
            "one head, found ensemble = true. Type: ensemble=False, or leave out callbacks"
        )


def _check_callback(callback: Any, recipe: Recipe) -> None:
    name = _name(callback)
    if not _is_a(callback, "Callback"):
        raise RecipeError(
            f"callbacks: expected keras.callbacks.Callback objects, found {name}. Type: "
            "class MyCallback(keras.callbacks.Callback)"
        )
    for refused, reason in REFUSED.items():
        if _is_a(callback, refused):
            raise RecipeError(f"callbacks: expected none of the kind {name}, found one: {reason}")
    if recipe.schedule != "constant" and any(_is_a(callback, kind) for kind in SET_THE_RATE):
        raise _two_rates(f"beside {name}, which sets the learning rate", recipe)


def _two_rates(beside: str, recipe: Recipe) -> RecipeError:
    return RecipeError(
        f"expected schedule = 'constant' {beside}, found schedule = {recipe.schedule!r}, which "
        "sets it at every step. Type: --set schedule=constant, or leave the callback out"
    )


def choose_by_validation(callbacks: Sequence[Any]) -> bool:
    """Whether callbacks let what is trained depend on the images that are looked at meanwhile, as
    EarlyStopping does: by what they monitor. ModelCheckpoint only writes files.
    """
    return any(
        str(getattr(callback, "monitor", "")).startswith("val_")
        and not _is_a(callback, "ModelCheckpoint")
        for callback in callbacks
    )


def _name(callback: Any) -> str:
    return type(callback).__name__


def _is_a(callback: Any, name: str) -> bool:
    """By the classes' names, so that nobody imports Keras only to be refused."""
    return any(base.__name__ == name for base in type(callback).__mro__)


class Hooks:
    """The hooks of a training, in Keras' order; none of them does anything without callbacks.

    train_begin, then for each epoch epoch_begin, batch_begin and batch_end, validate, epoch_end;
    train_end. After a batch or an epoch `stopping` says whether a callback wants to end it.
    """

    def __init__(self, callbacks: Sequence[Any], model: Any, recipe: Recipe, steps: int) -> None:
        import keras

        self.model, self.recipe = model, recipe
        self.callbacks = (
            keras.callbacks.CallbackList(
                list(callbacks), add_history=True, model=model,
                epochs=recipe.epochs, steps=steps, verbose=0,
            ) if callbacks else None
        )  # fmt: skip
        self.rate = self._rate() if callbacks else 0.0
        self.logs: dict[str, float] = {}
        self.last = 0
        self.epochs: dict[bytes, int] = {}  # digest of the weights after an epoch -> epoch, from 1

    @property
    def stopping(self) -> bool:
        """Whether a callback has ended the training."""
        return self.callbacks is not None and bool(self.model.stop_training)

    def set_rate(self, rate: float) -> None:
        """The schedule's learning rate, if it is not constant: then callbacks may set theirs.

        Raises RecipeError where a callback has set another one in the meantime.
        """
        if self.recipe.schedule == "constant":
            return
        if self.callbacks is not None and self._rate() != self.rate:
            raise _two_rates(f"beside a callback that set the learning rate to {self._rate():g}",
                             self.recipe)  # fmt: skip
        self.model.optimizer.learning_rate.assign(rate)
        if self.callbacks is not None:
            self.rate = self._rate()

    def _rate(self) -> float:
        import keras

        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def train_begin(self) -> None:
        """Before the first epoch."""
        if self.callbacks is not None:
            self.model.stop_training = False
            self.callbacks.on_train_begin()

    def epoch_begin(self, epoch: int) -> None:
        """Before an epoch, from 0."""
        if self.callbacks is not None:
            self.callbacks.on_epoch_begin(epoch)

    def batch_begin(self, step: int) -> None:
        """Before a batch, from 0."""
        if self.callbacks is not None:
            self.callbacks.on_train_batch_begin(step)

    def batch_end(self, step: int, logs: dict[str, float]) -> None:
        """After a batch: means over the epoch so far."""
        if self.callbacks is not None:
            self.callbacks.on_train_batch_end(step, logs)

    def validate(self, judge: Callable[[], dict[str, float]]) -> dict[str, float]:
        """What `judge` says, as a validation of one batch."""
        if self.callbacks is None:
            return judge()
        self.callbacks.on_test_begin()
        self.callbacks.on_test_batch_begin(0)
        scores = judge()
        logs = {name.removeprefix("val_"): score for name, score in scores.items()}
        self.callbacks.on_test_batch_end(0, logs)
        self.callbacks.on_test_end(logs)
        return scores

    def epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """After an epoch, with its figures."""
        if self.callbacks is not None:
            self.last = epoch + 1
            self.epochs[self._digest()] = self.last
            self.logs = dict(logs)
            self.callbacks.on_epoch_end(epoch, self.logs)

    def train_end(self, kept_epoch: int) -> int:
        """After all: the epoch, from 1, whose weights the model has now. A callback may have put
        back those of another than `kept_epoch`; weights of its own came after the last.
        """
        if self.callbacks is None:
            return kept_epoch
        before = self._digest()
        self.callbacks.on_train_end(self.logs)
        after = self._digest()
        return kept_epoch if after == before else self.epochs.get(after, self.last)

    def _digest(self) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        for value in self.model.get_weights():
            digest.update(np.ascontiguousarray(value).data)
        return digest.digest()
