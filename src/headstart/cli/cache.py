"""headstart cache info, verify, prune."""

from typing import Annotated

import typer

from headstart.cli.app import app, command

cache = typer.Typer(help="The features kept on this computer.", no_args_is_help=True)
app.add_typer(cache, name="cache")


@cache.command(epilog="Example: headstart cache info")
@command
def info() -> None:
    """What is kept, by extractor, the most recently used first."""
    from datetime import datetime

    from headstart.features.cache import FeatureCache

    with FeatureCache() as found:
        rows = found.info()
        print(f"{found.folder}: {sum(row.bytes for row in rows) / 1e6:,.1f} MB")
    for row in rows:
        told = row.description
        what = f"{told.get('backbone', '')} {'+'.join(told.get('slices', {}))}".strip()
        count = "" if row.entries is None else f"{row.entries:,} vectors"
        used = datetime.fromtimestamp(row.last_used).strftime("%Y-%m-%d %H:%M")
        print(f"{row.name:<40}{what:<40}{count:>18}{row.bytes / 1e6:>10,.1f} MB  {used}")


@cache.command(epilog="Example: headstart cache verify")
@command
def verify() -> None:
    """Read everything that is kept. Exit code 1 if something is damaged."""
    from headstart.features.cache import FeatureCache

    with FeatureCache() as found:
        damaged = found.verify()
    for name, count in damaged.items():
        state = "cannot be read" if count < 0 else f"{count} damaged" if count else "whole"
        print(f"{name:<42}{state}")
    if any(damaged.values()):
        print("Damaged vectors are computed again when they are needed.")
        raise typer.Exit(1)


@cache.command(epilog="Example: headstart cache prune --max-mb 2000")
@command
def prune(
    max_mb: Annotated[
        float | None, typer.Option(help="Keep at most so many megabytes, the last used first.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(help="Remove what was not used for so many days.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
) -> None:
    """Remove kept features and extractors: they are made again when they are needed."""
    from headstart.errors import CacheError
    from headstart.features.cache import FeatureCache

    if max_mb is None and older_than is None and not everything:
        raise CacheError("expected what to remove. Type: --max-mb N, --older-than DAYS or --all")
    most = None if max_mb is None else int(max_mb * 1e6)
    with FeatureCache() as found:
        removed = found.prune(max_bytes=most, older_than=older_than, all=everything)
    freed = sum(row.bytes for row in removed) / 1e6
    print(f"removed {len(removed)} folders, {freed:,.1f} MB")
