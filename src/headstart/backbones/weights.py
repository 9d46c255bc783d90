"""Where a backbone's weights come from: a package, a file, a fetched file, or nowhere."""

import importlib
import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from headstart.backbones.catalogue import CATALOGUE, Backbone
from headstart.errors import MissingExtra, WeightsError
from headstart.system.digest import digest_file

SUFFIXES = (".h5", ".hdf5", ".keras")


@dataclass(frozen=True)
class Weights:
    """Weights of one backbone; `digest` tells them from all others."""

    kind: str  # "package", "file" or "none"
    path: Path | None
    digest: str

    def check_unchanged(self) -> None:
        """Raises WeightsError if the file is no longer the one of the digest."""
        if self.path is not None and _digest_now(self.path) != self.digest:
            raise WeightsError(
                f"expected the weights in {self.path} to stay as they are while they are read, "
                "found others. Type the same command again"
            )


def resolve(entry: Backbone, choice: str = "default") -> Weights:
    """The weights that `choice` means for this backbone.

    choice: "default" (the package's, else ImageNet's), "imagenet", "none" (random, for tests) or
    a file (Keras 2 style HDF5, `.weights.h5`, `.keras`). Nothing is fetched here.
    Raises WeightsError where the file is not there, naming what to bring and where to put it.
    """
    if choice == "none":
        return Weights("none", None, "none")
    if choice not in ("default", "imagenet"):
        return _of_file(_given_file(choice))
    if entry.bundled:
        path = _package_file(entry)
        return Weights("package", path, _digest(path, path.stat().st_mtime_ns))
    return _of_file(_fetched_file(entry))


def _of_file(path: Path) -> Weights:
    return Weights("file", path, _digest(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=16)
def _digest(path: Path, _modified: int) -> str:
    return _digest_now(path)


def _digest_now(path: Path) -> str:
    return digest_file(path)[:32]


def _given_file(choice: str) -> Path:
    path = Path(os.path.expanduser(choice))
    if not path.is_file():
        raise WeightsError(
            f"expected weights 'default', 'imagenet', 'none' or a file, found {choice!r}, "
            "which is no file. Type: --weights FILE with an existing file"
        )
    if path.suffix not in SUFFIXES:
        raise WeightsError(
            f"expected weights in a .h5, .weights.h5 or .keras file, found {path.name!r}. "
            "Type: --weights FILE with one of these"
        )
    return path


def _package_file(entry: Backbone) -> Path:
    try:
        package = importlib.import_module(entry.package)
    except ImportError as error:
        raise MissingExtra(f"the weights of {entry.name}", "lite") from error
    (file,) = (Path(package.__file__ or "").parent / "models").glob("*.pth")
    return file


def may_be_here(entry: Backbone) -> bool:
    """Whether the backbone's default weights can be on this computer, without asking Keras for
    their name, which takes seconds.
    """
    return entry.bundled or any(folder.is_dir() and any(folder.iterdir()) for folder in _folders())


def list_at_hand() -> dict[str, str]:
    """Weights on this computer and where they are ("bundled" or a file), by backbone, or by the
    name of the file where nobody knows whose they are.
    """
    from headstart.backbones.download import known_files
    from headstart.system.places import cache_folder

    found = {}
    for entry in CATALOGUE.values():
        if entry.bundled and importlib.util.find_spec(entry.package) is not None:
            found[entry.name] = "bundled"
    known = known_files(cache_folder())
    for folder in filter(Path.is_dir, _folders()):
        for path in sorted(folder.iterdir()):
            if path.suffix in SUFFIXES and path.is_file():
                name, _ = known.get(path.name, (path.name, None))
                found.setdefault(name, str(path))
    return found


def _folders() -> list[Path]:
    """Ours, and that in which Keras keeps what it once fetched: no need to fetch it again."""
    from headstart.backbones.download import default_weights_folder

    keras_home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    return [default_weights_folder(), keras_home / "models"]


def _fetched_file(entry: Backbone) -> Path:
    from headstart.backbones.download import address, file_name

    url, _ = address(entry.name)
    name = file_name(url)
    places = [folder / name for folder in _folders()]
    for place in places:
        if place.is_file():
            return place
    raise WeightsError(
        f"the ImageNet weights of {entry.name} are not on this computer. "
        f"Type: headstart weights fetch {entry.name}. "
        f"Without a network, bring the file {name} and put it at {places[0]} "
        f"or name it: --weights {name}"
    )
