"""Where headstart keeps what it can make or fetch again: $HEADSTART_CACHE or the system's own."""

import os
import sys
from pathlib import Path

# The folders in the cache folder, and what is in each. All of it counts and can be pruned.
KINDS = {
    "features": "what extractors say of images, a folder an extractor",
    "extractors": "compiled backbones, a folder each",
    "archives": "unpacked archives, a folder each",
    "files": "features as files that a training had made elsewhere, a folder each",
    "selections": "outcomes of searches for the best cut, a file each",
    "addresses": "where Keras publishes weights, a file a backbone",
    "weights": "fetched weights, a file each",
}


def cache_folder() -> Path:
    """The user's cache folder for headstart (not created here)."""
    chosen = os.environ.get("HEADSTART_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "headstart"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "headstart"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headstart"
