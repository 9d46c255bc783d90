"""headstart cache info, add, verify, prune."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import parse_path
from headstart.cli.output import reporter, tell
from headstart.cli.usage import Commands, parse_number

if TYPE_CHECKING:
    from headstart.features.housekeeping import CacheEntry

TOGETHER = ("selections", "addresses")  # small files, shown as one line a kind

cache = typer.Typer(
    help="What is kept on this computer to be quick: features, extractors, archives, weights.",
    no_args_is_help=True,
    cls=Commands,
)
app.add_typer(cache, name="cache")


@cache.command(epilog="Example: headstart cache info")
@command
def info() -> None:
    """What is kept, the most recently used first. The sizes are those on disk and add up."""
    from headstart.features.housekeeping import list_entries, measure_usage
    from headstart.system.places import cache_folder

    entries, total = list_entries(), measure_usage()
    tell(f"{cache_folder()}: {total / 1e6:,.1f} MB")
    for entry in entries:
        if entry.kind not in TOGETHER:
            count = f"{entry.vectors:,} vectors" if entry.kind == "features" else ""
            _print_line(entry.name, _describe(entry), count, entry.bytes, entry.last_used)
    for kind in TOGETHER:
        files = [entry for entry in entries if entry.kind == kind]
        if files:
            size, used = sum(file.bytes for file in files), max(file.last_used for file in files)
            _print_line(kind, "", f"{len(files):,} files", size, used)
    rest = total - sum(entry.bytes for entry in entries)
    if rest:
        _print_line("other", "unfinished or unknown files, empty folders", "", rest, None)


def _describe(entry: "CacheEntry") -> str:
    facts = entry.description
    cuts = list(facts.get("slices", {}))
    shown = "+".join(cuts) if len(cuts) < 3 else f"{cuts[0]} and {len(cuts) - 1} more cuts"
    words = [facts.get("backbone", ""), shown, facts.get("source", "")]
    return " ".join(word for word in words if word)


def _print_line(name: str, what: str, count: str, size: int, used: float | None) -> None:
    from datetime import datetime

    date = "" if used is None else datetime.fromtimestamp(used).strftime("%Y-%m-%d %H:%M")
    tell(f"{name:<40}{what:<40}{count:>18}{size / 1e6:>10,.1f} MB  {date}".rstrip())


@cache.command(epilog="Example: headstart cache add stored")
@command
def add(
    features: Annotated[
        Path,
        typer.Argument(
            parser=parse_path, metavar="FEATURES", help="The folder that headstart features wrote."
        ),
    ],
) -> None:
    """Keep the features that headstart features wrote, so that headstart train on the photos
    computes none of them again.

    They must be what this computer would compute, in f32.
    """
    from headstart.data.given import settle
    from headstart.errors import DatasetError
    from headstart.store.keep import keep_features
    from headstart.store.store import find_store

    store = find_store(settle(features))
    if store is None:
        raise DatasetError(
            f"expected a folder of features, found none in {features}. Give the one that headstart "
            "features wrote, or train on the photos: their features are kept as they are computed"
        )
    progress = reporter(quiet=False, as_json=False)
    with progress.stage("features"):
        kept = keep_features(store, progress)
    tell(f"{kept.new:,} vectors put into {kept.space}, {kept.there:,} were there already")


@cache.command(epilog="Example: headstart cache verify")
@command
def verify() -> None:
    """Read everything that is kept. Exit code 1 if something is damaged.

    Features and the weights that Keras publishes are held against their checksums.
    """
    from headstart.features.housekeeping import verify as find_problems
    from headstart.system.places import cache_folder

    problems = find_problems()
    for name, problem in problems.items():
        tell(f"{name:<42}{problem or 'whole'}")
    damaged = [name for name, problem in problems.items() if problem]
    if any(name.startswith("features/") for name in damaged):
        tell("Damaged vectors are computed again when they are needed.")
    others = [cache_folder() / name for name in damaged if not name.startswith("features/")]
    if others:
        tell("Remove what is damaged, to be made (weights: fetched) again when it is needed:")
        tell(*(f"  {path}" for path in others))
    if damaged:
        raise typer.Exit(1)


@cache.command(epilog="Example: headstart cache prune --max-mb 2000")
@command
def prune(
    max_mb: Annotated[
        float | None,
        typer.Option(
            parser=parse_number,
            metavar="N",
            help="Keep at most so many megabytes, the last used first; weights stay.",
        ),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            parser=parse_number,
            metavar="N",
            help="Remove what was not used for so many days; weights stay.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove everything, fetched weights too.")
    ] = False,
) -> None:
    """Remove what is made again when it is needed: features, extractors, unpacked archives,
    outcomes of searches. What a running command uses stays. Fetched weights would need a network
    to come back: only --all removes them.
    """
    from headstart.errors import CacheError
    from headstart.features.housekeeping import list_entries
    from headstart.features.housekeeping import prune as remove_entries

    if max_mb is None and older_than is None and not everything:
        raise CacheError("expected what to remove. Type: --max-mb N, --older-than DAYS or --all")
    most = None if max_mb is None else max_mb * 1e6
    removed = remove_entries(max_bytes=most, older_than=older_than, everything=everything)
    freed, kinds = sum(entry.bytes for entry in removed) / 1e6, _count_kinds(removed)
    tell(f"removed {kinds}, {freed:,.1f} MB" if removed else "removed nothing")
    for entry in removed:
        if entry.kind == "weights":
            source = entry.description.get("backbone", "ADDRESS, or bring the file by hand")
            tell(f"For {entry.name} again, type: headstart weights fetch {source}")
    left = list_entries()
    if everything and left:
        tell(f"In use or not writable, so left: {', '.join(entry.name for entry in left)}")
    size = sum(entry.bytes for entry in left)
    if most is not None and size > most:
        tell(f"{size / 1e6:,.1f} MB are left, in use or weights, which "
              "only --all removes")  # fmt: skip


def _count_kinds(entries: Iterable["CacheEntry"]) -> str:
    from collections import Counter

    from headstart.system.places import KINDS

    counts = Counter(entry.kind for entry in entries)
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])
