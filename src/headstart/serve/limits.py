"""What a request may cost: everything that is bounded is bounded here."""

from dataclasses import dataclass

MB = 2**20


@dataclass(frozen=True)
class Limits:
    """Too large is answered with 413, too slow with 408, no room with 503 and Retry-After. How many
    pixels an image may have is the decoder's to say (images.size): 50 million and fewer."""

    body: int = 32 * MB  # bytes of a request; larger ones are refused before they are read
    bodies: int = 256 * MB  # bytes of all requests held at once
    images: int = 64  # of one request
    waiting: int = 256  # images accepted and not yet answered
    connections: int = 2048
    upload: float = 30.0  # seconds in which headers and body must have come
    decoding: float = 5.0  # seconds an image may take
    deadline: float = 30.0  # seconds from a request's last byte to its answer
    closing: float = 60.0  # seconds to finish what was accepted when the server is stopped


RETRY_AFTER = 1  # seconds: a full queue is worked off in about that time
