"""The layers of a whole Keras model as a table that a page holds: blocks folded, what is locked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A layer, or several of one block that follow each other. shape: of its output, without the
    batch. locked: whether no training changes it; None where it has no weights.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    weights: int
    locked: bool | None


def list_parts(layers: Sequence[Any]) -> list[Part]:
    """Every layer of a Keras model."""
    return [
        Part(layer.name, type(layer).__name__, tuple(layer.output.shape[1:]),
             layer.count_params(), not layer.trainable if layer.count_params() else None)
        for layer in layers
    ]  # fmt: skip


def fold(parts: Sequence[Part], cut: int) -> list[Part]:
    """The first `cut` of them, the backbone, folded to its blocks; those after it as they are.

    A block is what its layers are called by (block6 of block6a_add and block6b_add). Layers that
    are called by their kind alone (conv2d_12) belong to the block that they lead to.
    """
    folded: list[Part] = []
    names: list[str] = []
    block = ""
    for part in reversed(parts[:cut]):
        if part.kind == "InputLayer":
            names.append(part.name)
            continue
        block = block if _is_nameless(part) and block else _block(part.name)
        names.append(block)
    names.reverse()
    for name, part in zip(names, parts[:cut], strict=True):
        last = folded[-1] if folded else None
        if last is not None and last.name == name and part.kind != "InputLayer":
            count = int(last.kind.split()[0]) + 1 if last.kind.endswith(" layers") else 2
            locked = part.locked if last.locked is None else last.locked
            mixed = None not in (part.locked, last.locked) and part.locked != last.locked
            folded[-1] = Part(name, f"{count} layers", part.shape, last.weights + part.weights,
                              False if mixed else locked)  # fmt: skip
        else:
            folded.append(Part(name, part.kind, part.shape, part.weights, part.locked))
    return [*folded, *parts[cut:]]


def _block(name: str) -> str:
    found = re.match(r"[a-z]+_?\d+", name)
    return found.group() if found else name.partition("_")[0]


def _is_nameless(part: Part) -> bool:
    """Whether a layer has only the name that Keras gives by itself: conv2d_12 of Conv2D."""
    return re.sub(r"_\d+$", "", part.name).replace("_", "") == part.kind.lower()
