"""By what content is known again."""

import hashlib


def digest(content: bytes) -> str:
    """SHA-256 of the content, in hexadecimal: other content has another, by chance or by design."""
    return hashlib.sha256(content).hexdigest()
