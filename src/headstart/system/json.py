"""JSON as its standard has it, for everything that is printed or written."""

import json
import math
from typing import Any


def dumps(content: Any, *, indent: int | None = None) -> str:
    """`content` as JSON text. JSON has neither nan nor infinity: null stands for them."""
    return json.dumps(_without_nan(content), indent=indent, ensure_ascii=False, allow_nan=False)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
