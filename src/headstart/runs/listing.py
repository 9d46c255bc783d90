"""The runs in a folder, one line each: read from their records alone, however many there are."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from headstart.data.item import natural_key
from headstart.errors import ClassifierError, HeadstartError
from headstart.runs.folder import Run, started

SPLITS = ("test", "validation", "cross_validation", "train")  # what tells most of new images first
MARKS = ("run.json", "started.json", "recipe.toml", "metrics.json", "classifier")


@dataclass(frozen=True)
class RunEntry:
    """A run as a list shows it.

    state: "finished"; "unfinished", which is still training or was stopped; or "damaged", and
    `reason` says why. source: the images as they were given. images: all that were used. split:
    of which images the accuracy is. changed: seconds since 1970.
    """

    folder: Path
    state: Literal["finished", "unfinished", "damaged"]
    changed: float
    source: str | None = None
    images: int | None = None
    classes: int | None = None
    split: str | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "folder": str(self.folder)}


def list_runs(folder: "str | os.PathLike[str]" = "runs") -> list[RunEntry]:
    """The runs that lie in `folder`, or in its folder `runs`, by name in natural order.

    A run that cannot be read is listed with the reason. Raises ClassifierError if there is no
    such folder.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ClassifierError(
            f"expected a folder of runs, found no folder {place}. Type: headstart runs FOLDER, or "
            "headstart train PHOTOS for a first one"
        )
    runs = [path for path in place.iterdir() if _is_run(path)]
    if not runs and (place / "runs").is_dir():
        runs = [path for path in (place / "runs").iterdir() if _is_run(path)]
    return [read_entry(path) for path in sorted(runs, key=lambda path: natural_key(path.name))]


def read_entry(folder: Path) -> RunEntry:
    """One run as a list shows it, whatever state it is in."""
    changed = folder.stat().st_mtime
    try:
        if not (folder / "run.json").is_file():
            begun = started(folder)
            changed = (folder / "started.json").stat().st_mtime
            return RunEntry(folder, "unfinished", changed, source=begun["source"])
        changed = (folder / "run.json").stat().st_mtime
        run = Run(folder)
        record = run.record
        images = sum(count for split, count in record["images"].items() if split != "unreadable")
        split, accuracy, interval = _telling(run)
        return RunEntry(folder, "finished", changed, record["source"], images,
                        len(record["classes"]), split, accuracy, interval)  # fmt: skip
    except (HeadstartError, OSError) as error:
        reason = str(error).replace(f"{folder}{os.sep}", "")
        return RunEntry(folder, "damaged", changed, reason=reason)


def _telling(run: Run) -> tuple[str | None, float | None, tuple[float, float] | None]:
    """Split, accuracy and interval of the images that tell most of new ones."""
    for split in SPLITS:
        measured = run.metrics.get(split)
        if measured is not None and measured.accuracy is not None:
            return split, measured.accuracy, measured.accuracy_interval
    return None, None, None


def _is_run(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in MARKS)
