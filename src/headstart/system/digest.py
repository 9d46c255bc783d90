"""By what content is known again."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def digest(content: bytes) -> str:
    """SHA-256 of the content, in hexadecimal: other content has another, by chance or by design."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """The same of a file's content, read some at a time. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_record(record: Mapping[str, Any]) -> str:
    """Of all fields but `digest` itself, in whatever order."""
    rest = {key: value for key, value in record.items() if key != "digest"}
    return digest(json.dumps(rest, sort_keys=True).encode())


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its digest, by which it is known to be whole. It holds plain JSON types."""
    return {**record, "digest": digest_of_record(record)}


def is_sealed(record: Any) -> bool:
    """Whether it is word for word what was sealed."""
    return isinstance(record, dict) and record.get("digest") == digest_of_record(record)
