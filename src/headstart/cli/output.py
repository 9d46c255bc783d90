"""What commands print and write: progress, tables, JSON, pictures, what to type next."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from headstart.system.text import escape, wrap

if TYPE_CHECKING:
    from headstart.recipe import Recipe
    from headstart.report.charts import Picture
    from headstart.runs.folder import Run
    from headstart.system.progress import Progress, Recorder

OPTIONS = ("backbone", "weights", "pooling", "size", "precision", "seed", "groups")  # of train
LEAST = 15  # letters that a name has room for, however narrow the terminal


def reporter(
    quiet: bool, as_json: bool, verbose: bool = False, *, talks: bool = True
) -> "Recorder":
    """What tells the user how the work goes, and notes the warnings for what is printed. talks:
    whether it tells anything beside bars.
    """
    from headstart.system.progress import Recorder, Terminal

    return Recorder(None if quiet or as_json else Terminal(verbose, talks))


def tell(*lines: object, end: str = "\n", to: TextIO | None = None) -> None:
    """Print lines, at once; what a terminal would obey in names and saved texts is escaped."""
    shown = (escape(str(line), lines=True) for line in lines)
    print(*shown, sep="\n", end=end, file=to, flush=True)


def tell_text(*lines: str, indent: str = "", to: TextIO | None = None) -> None:
    """Print sentences, broken between words at the terminal's width; in a pipe one a line."""
    width = line_width(to)
    if lines:
        tell(*(wrap(escape(line, lines=True), width, indent) for line in lines), to=to)


def tell_command(title: str, command: str, why: str = "", to: TextIO | None = None) -> None:
    """Print a command to type, as a shell takes it also where it needs several lines."""
    line = f"{title}{command}" + (f"  # {why}" if why else "")
    width = line_width(to)
    if width is None or len(line) <= width:
        tell(line, to=to)
        return
    lines = [title]
    for word in split_words(command):
        if len(lines[-1]) + len(word) + 2 > width and lines[-1].strip():
            lines[-1] += "\\"
            lines.append("  ")
        lines[-1] += f"{word} "
    lines = [line.rstrip() for line in lines]
    tell(*lines, *([f"{' ' * len(title)}# {why}"] if why else []), to=to)


def shorten_path(path: str | Path) -> str:
    """A path below the current folder as it is seen from there; any other as it is."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def split_words(command: str) -> list[str]:
    """The words of a command as they are written, quotes and all."""
    return [shlex.quote(word) for word in shlex.split(command)]


def percent(progress: "Progress") -> Callable[[int, int | None], None]:
    """What tells the progress each percent of a file."""
    shown = 0

    def advance(done: int, total: int | None) -> None:
        nonlocal shown
        if total:
            progress.advance(100 * done // total - shown)
            shown = 100 * done // total

    return advance


def print_json(content: Any) -> None:
    """One JSON object on one line; JSON has no nan, so null stands for it."""
    from headstart.system.json import dumps

    print(dumps(content))


def format_share(share: float | None) -> str:
    """A share such as 0.9634 as 96.3%; nothing where it cannot be told."""
    return "" if share is None else f"{share:.1%}"


def format_interval(interval: Sequence[float] | None, sign: str = "") -> str:
    """An interval of shares as (93.2% to 98.1%); with sign "+" one of differences."""
    return "" if interval is None else f"({interval[0]:{sign}.1%} to {interval[1]:{sign}.1%})"


@dataclass(frozen=True)
class Column:
    """One column of a table. width: letters at least. left: names are on the left, numbers not."""

    title: str
    width: int = 0
    left: bool = False

    def fit(self, cell: str) -> str:
        """The cell at its place in the column."""
        return cell.ljust(self.width) if self.left else cell.rjust(self.width)


NAME = Column("", left=True)
INTERVAL = Column("95% interval", len("(100.0% to 100.0%)"), left=True)


class Table:
    """Rows printed as they come, under one line of titles; the first column holds names.

    limit: letters that a line may have. Where they are few the columns move together, and a name
    that is longer than what is left of its column has a line of its own.
    """

    def __init__(self, columns: Sequence[Column], limit: int | None = None) -> None:
        columns = [replace(c, width=max(c.width, len(c.title))) for c in columns]
        self.gap = "  "
        if limit is not None and _line(columns, self.gap) > limit:
            self.gap = " "
            room = columns[0].width + limit - _line(columns, self.gap)
            least = max(LEAST, len(columns[0].title))
            columns[0] = replace(columns[0], width=min(columns[0].width, max(least, room)))
        self.columns = columns
        self.begun = False

    def row(self, *cells: str) -> None:
        """Print one row, at once: the next may take a while."""
        self._begin()
        if len(cells[0]) > self.columns[0].width:
            tell(cells[0])
            cells = ("", *cells[1:])
        self._print(cells)

    def note(self, name: str, text: str) -> None:
        """Print a row that has words in the place of numbers."""
        self._begin()
        tell(f"{self.columns[0].fit(name)}{self.gap}{text}")

    def _begin(self) -> None:
        if not self.begun and any(column.title for column in self.columns):
            self._print([column.title for column in self.columns])
        self.begun = True

    def _print(self, cells: Sequence[str]) -> None:
        fitted = [column.fit(cell) for column, cell in zip(self.columns, cells, strict=True)]
        tell(self.gap.join(fitted).rstrip())


def _line(columns: Sequence[Column], gap: str) -> int:
    return sum(column.width + len(gap) for column in columns) - len(gap)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """A table whose rows are all known: each column as wide as it must be."""
    rows = list(rows)
    columns = [replace(column, width=0) for column in columns]
    table = Table(fit_columns(columns, rows), line_width())
    for row in rows:
        table.row(*row)


def fit_columns(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[Column]:
    """The columns, wide enough for the rows."""
    return [
        replace(column, width=max([column.width, *(len(row[place]) for row in rows)]))
        for place, column in enumerate(columns)
    ]


def line_width(to: TextIO | None = None) -> int | None:
    """Letters in a line of the terminal; None where the output goes into a file or a pipe."""
    return shutil.get_terminal_size().columns if (to or sys.stdout).isatty() else None


def write_picture(
    out: Path | None, name: str, content: "bytes | Picture", folder: Path | None = None
) -> Path:
    """Write a picture where the user says (`out`), or as `name` into the run's `folder`, or into
    the current folder under a name that is free: nobody's picture is overwritten unasked. Charts
    are drawn in the form that the name says. Returns where it is.
    """
    from headstart.system.atomic import write_atomically

    path = out or (folder / name if folder is not None else claim_free(Path(name)))
    if path.is_dir():
        path = claim_free(path / name)
    if not isinstance(content, bytes):
        from headstart.report.plots import draw_picture

        content = draw_picture(content, path)
    write_atomically(path, content)
    return path


def claim_free(path: Path) -> Path:
    """`path`, or the first free one of NAME-2, NAME-3 ..., claimed by an empty file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, free = 1, path
    while True:
        try:
            free.open("xb").close()
            return free
        except FileExistsError:
            number += 1
            free = path.with_name(f"{path.stem}-{number}{path.suffix}")


def claim_free_folder(path: Path) -> Path:
    """A new folder: `path`, or the first free one of NAME-2, NAME-3 ..."""
    number, free = 1, path
    while True:
        try:
            free.mkdir(parents=True)
            return free
        except FileExistsError:
            number += 1
            free = path.with_name(f"{path.name}-{number}")


def train_command(photos: Any, recipe: "Recipe", base: str = "quick") -> str:
    """The command that trains with every choice of `recipe`, as a shell takes it."""
    from headstart.recipe import list_unheeded, load_recipe

    words = ["headstart", "train", str(photos)]
    if base != "quick":
        words += ["--recipe", base]
    unheeded = list_unheeded(recipe)
    for setting in recipe.settings(load_recipe(base)):
        key = setting.partition("=")[0]
        if key in unheeded:  # of what was measured beside it
            continue
        if key == "cut":
            words += ["--cut", "+".join(map(str, recipe.cut))]
        elif key in OPTIONS:
            words += [f"--{key}", str(getattr(recipe, key))]
        else:
            words += ["--set", setting]
    return shlex.join(words)


def print_metrics(run: "Run") -> None:
    """The curves of a training in epochs, the figures by split, the verdict."""
    from headstart.report.words import summary

    print_curves(run)
    tell_text(summary(run.metrics))
    if run.verdict:
        tell_text(f"\n{run.verdict}")


def print_curves(run: "Run") -> None:
    """By epoch, where a training had such, and which epoch's weights are used."""
    if not run.history:
        return
    from headstart.report.plots import curves_text
    from headstart.report.words import describe_epochs

    tell(curves_text(run.history))
    tell_text(describe_epochs(run.history, run.record.get("kept_epoch")))
    tell()


def run_to_dict(run: "Run") -> dict[str, Any]:
    """Everything a script needs to know of a run."""
    record = run.record
    return {
        "run": str(run.folder),
        "classes": record["classes"],
        "images": record["images"],
        "metrics": {split: metrics.to_dict() for split, metrics in run.metrics.items()},
        "cache": record["cache"],
        "seconds": record["seconds"],
        "history": record["history"],
        "verdict": run.verdict,
        "warnings": record["warnings"],
    }
