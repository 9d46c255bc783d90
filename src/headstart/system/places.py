"""Where headstart keeps what it can make again: $HEADSTART_CACHE or the system's cache folder."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for headstart (not created here)."""
    chosen = os.environ.get("HEADSTART_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "headstart"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "headstart"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headstart"
