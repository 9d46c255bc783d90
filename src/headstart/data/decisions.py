"""What a person decided about single images: a small table beside them that anybody can edit.

    path,decision,label
    ants/17.jpg,relabel,bees
    bees/3.jpg,drop,
    bees/9.jpg,keep,

path: relative to where the images are, as audit tells it. drop: the image is left out. relabel: it
is in the class of the last column (in several: a;b). keep: it is right as it is, and audit does not
ask again. No file is moved or changed.
"""

import csv
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.data.item import Item, list_first, natural_key, to_class_name, to_printable
from headstart.errors import DatasetError, cannot_read
from headstart.system.text import describe

NAME = "headstart-decisions.csv"
HEADER = ("path", "decision", "label")
KINDS = ("keep", "relabel", "drop")
CORRECT = "Correct the row, such as cats/1.jpg,relabel,dogs"


@dataclass(frozen=True)
class Decision:
    """About the image at `path`. kind: one of KINDS. labels: of a relabelled one."""

    path: str
    kind: str
    labels: tuple[str, ...] = ()


def decisions_file(source: Path) -> Path:
    """Where the decisions about a folder lie, or about what a table or an archive holds."""
    return (source if source.is_dir() else source.parent) / NAME


def locate(item: Item, source: Path) -> str:
    """An image's path below the folder that was given; else as its table or archive has it."""
    try:
        return to_printable(item.path.relative_to(source).as_posix())
    except ValueError:
        return item.name


def read_decisions(file: Path) -> list[Decision]:
    """The table's rows; none if there is no table. Of several about one image the last counts.

    Raises DatasetError for a file that cannot be read, another header, a decision that there is
    not, and a label where none may be or that is missing.
    """
    try:
        rows = list(csv.reader(file.read_text(encoding="utf-8-sig").splitlines()))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            cannot_read(file, error, "a table in UTF-8", "Save it anew, or remove it")
        ) from error
    header = tuple(cell.strip().lower() for cell in rows[0]) if rows else ()
    if header != HEADER:
        raise DatasetError(
            f"expected the columns {', '.join(HEADER)} in {file}, found "
            f"{', '.join(map(describe, header[:5])) or 'none'}. Make the first line: "
            f"{','.join(HEADER)}"
        )
    decisions = {}
    for line, row in enumerate(rows[1:], 2):
        if any(cell.strip() for cell in row):
            decision = _parse(row, f"line {line} of {file}")
            decisions[decision.path] = decision
    return list(decisions.values())


def _parse(row: Sequence[str], where: str) -> Decision:
    path, kind, label, *more = (*(cell.strip() for cell in row), "", "")
    labels = tuple(sorted({to_class_name(part.strip()) for part in label.split(";")} - {""},
                          key=natural_key))  # fmt: skip
    if any(more):
        raise DatasetError(
            f"expected {', '.join(HEADER)} in {where}, found more cells. Put quotes around a path "
            "with a comma"
        )
    if not path or kind.lower() not in KINDS:
        found = describe(kind) if path else "no path"
        raise DatasetError(
            f"expected a path and a decision among {', '.join(KINDS)} in {where}, found {found}. "
            f"{CORRECT}"
        )
    if (kind.lower() == "relabel") != bool(labels):
        found = describe(label) if label else "none"
        raise DatasetError(
            f"expected a label where the decision is relabel, and only there, in {where}, found "
            f"{found}. {CORRECT}"
        )
    return Decision(path, kind.lower(), labels)


def apply_decisions(
    items: Iterable[Item], decisions: Sequence[Decision], source: Path
) -> tuple[list[Item], list[Item], list[str]]:
    """The images as decided, those of them that are to be kept as they are, and warnings.

    Raises DatasetError for a class that no image is in.
    """
    by_path = {decision.path: decision for decision in decisions}
    items = list(items)
    classes = {name for item in items for name in item.labels}
    decided: list[Item] = []
    kept: list[Item] = []
    unused = dict(by_path)
    for item in items:
        decision = by_path.get(locate(item, source))
        if decision is None:
            decided.append(item)
            continue
        unused.pop(decision.path, None)
        if decision.kind == "drop":
            continue
        if decision.kind == "relabel":
            _check_classes(decision, classes)
            item = replace(item, labels=decision.labels)
        else:
            kept.append(item)
        decided.append(item)
    warnings = []
    counts = {kind: sum(d.kind == kind for d in decisions if d.path not in unused)
              for kind in ("relabel", "drop")}  # fmt: skip
    if any(counts.values()):
        warnings.append(
            f"{NAME}: {counts['relabel']:,} images relabelled, {counts['drop']:,} dropped"
        )
    lost = classes - {name for item in decided for name in item.labels}
    if lost:
        warnings.append(f"{NAME} leaves no image of {', '.join(sorted(lost, key=natural_key))}")
    if unused:
        warnings.append(
            f"{len(unused):,} rows of {NAME} are about no image here: {list_first(list(unused))}"
        )
    return decided, kept, warnings


def _check_classes(decision: Decision, classes: set[str]) -> None:
    for name in decision.labels:
        if name not in classes:
            near = difflib.get_close_matches(name, classes, n=1)
            hint = f" Near: {near[0]}." if near else ""
            raise DatasetError(
                f"expected a class that images are in for {decision.path} in {NAME}, found "
                f"{name!r}.{hint} {CORRECT}"
            )
