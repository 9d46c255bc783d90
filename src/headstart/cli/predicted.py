"""Predictions as a person reads them: a row an image under its short name, and the sum of all."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.cli.output import line_width, tell, tell_text

if TYPE_CHECKING:
    from headstart.classifier import Prediction
    from headstart.predictions.rows import Form
    from headstart.predictions.summary import Summary

WIDEST = 60  # letters of a name that others are put in line with


@dataclass(frozen=True)
class Listed:
    """Which images are told: names of the first of them, the folder that all are below, which a
    row leaves out, and whether all rows are there before one is told, the least sure first.
    """

    names: Sequence[str]
    common: str = ""
    sorts: bool = False

    def shorten(self, name: str) -> str:
        """The name below what was asked for."""
        return name.removeprefix(self.common) or name


def find_common(sources: Sequence[str]) -> str:
    """What the names of all images of folders, archives and files begin with, up to a slash; ""
    for patterns, and for tables and lists, whose names are their own.
    """
    from headstart.data.address import hide, read_address
    from headstart.data.archive import is_archive
    from headstart.data.item import to_printable
    from headstart.data.source import LISTS, STANDARD_INPUT, is_pattern
    from headstart.data.table import TABLES

    if any(map(read_address, sources)):
        return f"{hide(sources[0]).rstrip('/')}/" if len(sources) == 1 else ""
    places = []
    for source in sources:
        path = Path(os.path.expanduser(source))
        if source == STANDARD_INPUT or is_pattern(source):
            return ""
        whole = path.is_dir() or is_archive(path)
        if not whole and path.suffix.lower() in {*TABLES, *LISTS}:
            return ""
        places.append(str(path if whole else path.parent))
    try:
        common = to_printable(os.path.commonpath(places)) if places else ""
    except ValueError:  # some named from the root, some not
        return ""
    return common if common in ("", os.sep) else f"{common}/"


class Listing:
    """A row an image: its name, what it shows, how sure that is."""

    def __init__(self, form: "Form", listed: Listed) -> None:
        self.form, self.listed = form, listed
        names = map(listed.shorten, listed.names)
        self.width = min(WIDEST, max(map(len, names), default=0))
        self.waiting: list[Prediction] = []

    def write(self, prediction: "Prediction") -> None:
        """Told at once, or kept until all are there."""
        if self.listed.sorts:
            self.waiting.append(prediction)
        else:
            self._tell(prediction)

    def flush(self) -> None:
        """The rows that were kept, the least sure first."""
        from headstart.predictions.summary import measure_sureness

        for prediction in sorted(self.waiting, key=measure_sureness):
            self._tell(prediction)
        self.waiting.clear()

    def _tell(self, prediction: "Prediction") -> None:
        name, said = self.listed.shorten(prediction.name), describe(prediction, self.form.top_k)
        limit = line_width()
        if limit is not None and max(len(name), self.width) + 2 + len(said) > limit:
            tell(name)
            tell_text(f"    {said}", indent="    ")
        else:
            tell(f"{name:<{self.width}}  {said}")


def describe(prediction: "Prediction", top_k: int = 1) -> str:
    """What is said of one image, as `bees 98.2%`."""
    if prediction.error is not None:
        return f"left out: {prediction.error}"
    if prediction.labels is None:
        pairs = prediction.top(top_k)
    else:
        pairs = [(name, prediction.probabilities[name]) for name in prediction.labels]
    said = "  ".join(f"{name} {share:.1%}" for name, share in pairs or [("none", 0.0)])
    return said if prediction.silence is None else f"{prediction.silence} ({said})"


def tell_summary(summary: "Summary", listed: Listed) -> None:
    """How many images of which class; the least sure, where the rows do not begin with them."""
    tell(to=sys.stderr)
    tell_text(str(summary), indent="  ", to=sys.stderr)
    if listed.sorts:
        return
    rows = [(listed.shorten(p.name), describe(p)) for p in summary.least_sure]
    if rows:
        width = max(len(name) for name, _ in rows)
        tell_text("Least sure:", *(f"  {name:<{width}}  {said}" for name, said in rows),
                  indent="    ", to=sys.stderr)  # fmt: skip
