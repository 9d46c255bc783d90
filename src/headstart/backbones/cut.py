"""A cut: the layer whose output serves as features, and how its map becomes a vector."""

from dataclasses import dataclass
from typing import Literal, get_args

Pooling = Literal["avg", "max", "avg+max", "grid", "flatten"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
LAST, AUTO = "last", "auto"  # the network's last layer; whichever serves best, to be measured


@dataclass(frozen=True)
class Cut:
    """A layer by name, written `mixed7` or, with a pooling of its own, `mixed7:grid`.

    pooling: None stands for that of the recipe.
    """

    layer: str
    pooling: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Cut":
        """The cut that `text` names. Raises ValueError for a pooling that there is not."""
        layer, colon, pooling = text.partition(":")
        if not layer or (colon and pooling not in POOLINGS):
            raise ValueError(
                f"expected LAYER or LAYER:POOLING with one of {', '.join(POOLINGS)}, found {text!r}"
            )
        return cls(layer, pooling or None)

    def __str__(self) -> str:
        return f"{self.layer}:{self.pooling}" if self.pooling else self.layer
