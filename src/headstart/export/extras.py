"""Packages that only some exports need, loaded at one place."""

import importlib
from typing import Any

from headstart.errors import MissingExtra


def import_extra(module: str, what: str, extra: str) -> Any:
    """The module. Raises MissingExtra naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"an export to {what}", extra) from error
