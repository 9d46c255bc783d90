"""JSON files that headstart wrote, read back: what does not fit is told by its field.

A file's fields are declared as a `Written`. Fields that are not declared are let through: a later
version of the same format may have more.
"""

import json
import reprlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from headstart.errors import ClassifierError, cannot_read
from headstart.system.json import loads

_NEWER = "newer_format"


def _different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("different names")
    return names


Names = Annotated[list[str], Field(min_length=2), AfterValidator(_different)]  # of classes
Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Table = dict[str, Any]  # of which nothing is asked


class Written(BaseModel):
    """The fields of a JSON object in a file: nothing is converted, no number is nan or infinite."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)


def format_up_to(newest: int) -> Any:
    """The type of a field `format`; declared first, it is what a newer file is known by."""

    def no_newer(number: int) -> int:
        if number > newest:
            raise PydanticCustomError(_NEWER, f"this one reads up to {newest}")
        return number

    return Annotated[int, Field(ge=1), AfterValidator(no_newer)]


def read_object(file: Path, content: bytes, shape: type[Written], advice: str) -> dict[str, Any]:
    """The JSON object that `file` holds as `content`, in plain types, once it fits `shape`.

    Raises ClassifierError that names the field, what was expected of it and what was found,
    followed by `advice`, whatever else the bytes may be: not JSON, not UTF-8, nested too deep.
    """
    try:
        table: dict[str, Any] = loads(content)
        # Names of files may hold bytes that are no letters: pydantic takes no such text.
        shape.model_validate_json(json.dumps(table, ensure_ascii=False).encode(errors="replace"))
        return table
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    except (ValueError, RecursionError) as error:
        raise ClassifierError(cannot_read(file, error, "a whole object in JSON", advice)) from error
    kind, value, message = first["type"], first["input"], first["msg"]
    if kind == _NEWER:
        raise ClassifierError(
            f"{file} was written by a newer headstart (format {reprlib.repr(value)}, {message}). "
            "Type: pip install --upgrade headstart"
        )
    expected, found = "a whole object in JSON", type(value).__name__
    field = ".".join(repr(part).strip("'") for part in first["loc"])
    if kind == "missing":
        expected, found = f"a field {field}", "none"
    elif field:
        message = message.removeprefix("Input should be ").removeprefix("Value error, ")
        expected, found = f"{field} to be {message}", reprlib.repr(value)
    raise ClassifierError(cannot_read(file, found, expected, advice))
