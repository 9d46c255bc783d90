"""What the product claims, each held against draws of which the truth is known.

A claim is a function registered by `@claim(name, target)`. It is given `Draws` and returns, by
configuration, the (N,) outcomes of N repeats, whose mean is what the claim is about: 1 where an
interval held the truth and 0 where it did not (coverage), 1 for a false alarm, or what a figure is
off by (bias). It uses the product's own functions, and draws everything from `draws.rng`.
A module of this folder is found by itself. `python bench/truth.py` runs the claims.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

COVERS = (0.93, 0.97)  # what a 95% interval is to do
FALSE_ALARMS = (0.0, 0.05)


@dataclass(frozen=True)
class Draws:
    """How many repeats of each configuration, where chance comes from, and where real sets lie."""

    repeats: int
    rng: np.random.Generator
    sets: Path


@dataclass(frozen=True)
class Claim:
    """repeats: unless others are asked for. slack: standard errors of the simulation, by which a
    configuration may lie outside its target and still be held to be in it: three by default, since
    of dozens of configurations some lie two outside by chance.
    """

    name: str
    outcomes: Callable[[Draws], Mapping[str, np.ndarray]]
    target: tuple[float, float]
    repeats: int
    slack: float


CLAIMS: dict[str, Claim] = {}
Outcomes = Callable[[Draws], Mapping[str, np.ndarray]]


def claim(
    name: str, target: tuple[float, float] = COVERS, *, repeats: int = 1000, slack: float = 3.0
) -> Callable[[Outcomes], Outcomes]:
    """Register a function as the simulation of a claim."""

    def register(outcomes: Outcomes) -> Outcomes:
        CLAIMS[name] = Claim(name, outcomes, target, repeats, slack)
        return outcomes

    return register


def find_claims() -> dict[str, Claim]:
    """All claims by name, of all modules of this folder."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return CLAIMS
