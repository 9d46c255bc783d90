"""JSON as its standard has it, for everything that is printed or written, and what is read back."""

import json
import math
import re
from typing import Any

from headstart.system.text import HIDDEN

# What JSON would let through raw: a file in UTF-8 cannot hold it, or a terminal obeys it.
_RAW = re.compile(f"[\x7f-\x9f{HIDDEN}]")


def dumps(content: Any, *, indent: int | None = None) -> str:
    """`content` as JSON text. JSON has neither nan nor infinity: null stands for them."""
    text = json.dumps(_without_nan(content), indent=indent, ensure_ascii=False, allow_nan=False)
    return _RAW.sub(lambda letter: f"\\u{ord(letter[0]):04x}", text)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def loads(content: bytes) -> Any:
    """What JSON text stands for. Raises ValueError for whatever else it is, and for JSON that is
    nested too deep to be read.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None
