"""API keys: a file with one a line, of which only digests are kept in memory."""

import hmac
import os
import stat
from pathlib import Path

from headstart.errors import HeadstartError, cannot_read
from headstart.system.digest import digest
from headstart.system.files import read_regular

SHORT = 16  # letters: shorter ones can be guessed
MOST = 2**20  # bytes


class Keys:
    """Whose key is known; false where everybody may ask."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._digests: list[str] = []
        self._seen: tuple[int, int] | None = None
        if file is not None:
            self.refresh()

    def __bool__(self) -> bool:
        return self.file is not None

    def refresh(self) -> None:
        """Read the file again where it has changed. Raises HeadstartError if it holds no keys: then
        nobody's is known, for who takes keys away expects them to be gone.
        """
        try:
            self._read()
        except HeadstartError:
            self._digests, self._seen = [], None
            raise

    def _read(self) -> None:
        if self.file is None:
            return
        try:
            status = os.stat(self.file)
            seen = status.st_mtime_ns, status.st_size
            if seen == self._seen:
                return
            text = read_regular(self.file, MOST).decode("ascii")
        except OSError as error:
            expected = "a file with keys, one a line"
            raise HeadstartError(cannot_read(self.file, error, expected, _MAKE)) from error
        except UnicodeDecodeError:
            raise HeadstartError(
                f"expected keys of plain letters and digits in {self.file}, found others. {_MAKE}"
            ) from None
        lines = (line.strip() for line in text.splitlines())
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys or min(map(len, keys)) < SHORT:
            found = "one of fewer" if keys else "none"
            raise HeadstartError(
                f"expected keys of at least {SHORT} letters in {self.file}, one a line, found "
                f"{found}. {_MAKE}"
            )
        self._digests, self._seen = [digest(key.encode()) for key in keys], seen

    def is_open_to_others(self) -> bool:
        """Whether other users of this machine can read the file."""
        return self.file is not None and bool(os.stat(self.file).st_mode & stat.S_IROTH)

    def knows(self, key: str) -> bool:
        """Whether it is one of them; that takes as long for any."""
        found = digest(key.encode("utf-8", "replace"))
        return sum(hmac.compare_digest(found, known) for known in self._digests) > 0


_MAKE = "Type: python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > keys.txt"
