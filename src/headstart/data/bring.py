"""What lies at an address, brought into the cache folder once and read there as if it had lain
here: a folder, an archive, a table, or the images that a table names by their addresses.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from headstart.data.address import file_name, hide, is_web, join, parent
from headstart.data.archive import (
    CONTENT,
    NOTE,
    Unpacked,
    is_outside,
    keep_unpacked,
    read_note,
    reopen,
)
from headstart.data.decisions import NAME as DECISIONS
from headstart.data.elsewhere import AGAIN, Entry, list_files, read_blocks
from headstart.data.folder import ARRANGE, PASSED_OVER, is_candidate
from headstart.data.item import Item, list_first
from headstart.data.remote import Remote
from headstart.data.samples import CLASSES, is_tar, read_classes
from headstart.data.table import TABLES
from headstart.errors import DatasetError, StorageError
from headstart.system.atomic import sibling
from headstart.system.lock import LOCK, Hold, held_alone
from headstart.system.places import cache_folder
from headstart.system.progress import Progress
from headstart.system.threads import map_ahead

READERS = 16  # files brought at a time
LISTING = "listing.json"  # beside the files: what was listed
SPARE = 2**28  # bytes that are left free on the disk


def bring(address: str, progress: Progress) -> tuple[Unpacked, Path]:
    """The files at an address, brought here unless they are, and the folder, archive or table that
    they are now. What has not changed since it was brought is not brought again; a bringing that
    was stopped is gone on with.

    Raises DatasetError where there is nothing, nobody answers or the disk has no room; CacheError.
    """
    if is_web(address) and not _is_shard(file_name(address)):
        raise DatasetError(
            f"expected a table ({', '.join(sorted(TABLES))}) or a tar archive at a web address, "
            f"found {hide(address)}. Nothing is fetched unasked. Type: headstart fetch "
            f"{hide(address)}"
        )
    entries, is_folder = list_files(address)
    entries, left_out = _choose(entries) if is_folder else (entries, [])
    if not entries:
        raise DatasetError(
            f"expected images at {hide(address)}, found other files alone. {ARRANGE}"
        )
    beside = [] if is_folder or not is_tar(file_name(address)) else _find_classes(address)
    kept = _keep(address, [*entries, *beside], left_out, progress)
    alone = not is_folder and len(entries) == 1
    return kept, kept.folder / entries[0].name if alone else kept.folder


def find_brought(address: str) -> tuple[Unpacked, Path]:
    """What was brought from there last, as it is here; nobody is asked.

    Raises DatasetError if it is here no more.
    """
    found = list(_list_kept(address))
    if not found:
        raise DatasetError(
            f"expected the images that had been brought from {hide(address)}, found them gone from "
            f"the cache folder. Bring them again: headstart train {hide(address)}"
        )
    latest = max(found, key=lambda folder: (folder / NOTE).stat().st_mtime)
    kept = reopen(latest / CONTENT)
    alone = kept.folder / file_name(address)
    return kept, alone if alone.is_file() else kept.folder


def bring_listed(
    table: Path, items: Sequence[Item], progress: Progress
) -> tuple[list[Item], list[str]]:
    """The images of a table, those at addresses brought here, and warnings. What was brought once
    for the same addresses is not asked for again.
    """
    remote = [item for item in items if isinstance(item, Remote)]
    entries = [
        Entry(f"{number:07}{_suffix(item.name)}", item.address, None, _digest(item.address))
        for number, item in enumerate(remote)
    ]
    kept = _keep(str(table.absolute()), entries, [], progress)
    places = {item.name: kept.folder / entry.name
              for item, entry in zip(remote, entries, strict=True)}  # fmt: skip
    there, gone = [], []
    for item in items:
        place = places.get(item.name)
        if place is None:
            there.append(item)
        elif place.exists():
            there.append(Item(place, item.name, item.labels, item.split, item.group, kept.hold))
        else:
            gone.append(item.name)
    if not there:
        raise DatasetError(
            f"expected images at the addresses in {table}, found none of the {len(gone):,}, such "
            f"as {gone[0]}. Correct the addresses"
        )
    return there, [_tell_gone(gone)] if gone else []


def _tell_gone(names: Sequence[str]) -> str:
    return f"{len(names):,} images are not at their addresses: {list_first(names)}"


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return suffix if suffix.isascii() and len(suffix) <= 8 else ""


# --- what is brought ----------------------------------------------------------------------
def _choose(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Images and what has been decided about them; where there is none, archives of samples or
    Parquet; and the names of what cannot be a file here.
    """
    shown = [entry for entry in entries if is_visible(entry.name)]
    images = [entry for entry in shown if is_candidate(Path(entry.name))]
    if images:
        chosen = [*images, *(entry for entry in shown if entry.name == DECISIONS)]
    else:
        chosen = [entry for entry in shown if _is_shard(entry.name) or entry.name in CLASSES]
    folders = {str(folder) for entry in chosen for folder in PurePosixPath(entry.name).parents}
    left_out = {entry.name for entry in chosen if entry.name in folders or not _fits(entry.name)}
    return [entry for entry in chosen if entry.name not in left_out], sorted(left_out)


def _find_classes(address: str) -> list[Entry]:
    """The names of classes that lie beside archives."""
    found = []
    for name in [] if is_web(address) else CLASSES:
        with suppress(DatasetError):
            found += list_files(join(parent(address), name))[0]
    return found


def read_classes_at(address: str) -> dict[str, str]:
    """What numbered classes are called, as is told beside an archive; nothing where it is not."""
    for entry in _find_classes(address)[:1]:
        return read_classes(b"".join(read_blocks(entry.address)), entry.name)
    return {}


def is_visible(name: str) -> bool:
    """Whether no folder of it, nor it itself, is one that is passed over."""
    return not any(part.startswith(".") or part.lower() in PASSED_OVER for part in name.split("/"))


def _fits(name: str) -> bool:
    parts = name.split("/")
    return not is_outside(name) and "\0" not in name and "" not in parts and all(
        len(os.fsencode(part)) <= 255 for part in parts)  # fmt: skip


def _is_shard(name: str) -> bool:
    return is_tar(name) or PurePosixPath(name).suffix.lower() in TABLES


# --- bringing -----------------------------------------------------------------------------
def _keep(source: str, entries: list[Entry], left_out: list[str], progress: Progress) -> Unpacked:
    """The files below the cache folder under their names; without those that are gone."""
    listing = "\n".join(f"{entry.name}\t{entry.state}" for entry in entries)
    identity = f"brought 1 {source}\n{listing}"  # "1" is the way they lie in their folder

    def fill(folder: Path) -> list[str]:
        with _arriving(source) as arriving:
            with suppress(OSError):
                _link_known(source, entries, arriving)
            missing = [entry for entry in entries if not (arriving / _key(entry)).exists()]
            gone = _bring_all(missing, arriving, progress)
            for entry in entries:
                if entry not in gone:
                    place = folder / entry.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    os.rename(arriving / _key(entry), place)
        states = {entry.name: entry.state for entry in entries if entry not in gone}
        (folder.parent / LISTING).write_text(json.dumps(states), encoding="ascii")
        return [*left_out, *(entry.name for entry in gone)]

    return keep_unpacked(identity, source, fill)


def _key(entry: Entry) -> str:
    """What a file is called on its way: by its address and its state."""
    return _digest(f"{entry.address}\n{entry.state}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


@contextmanager
def _arriving(source: str) -> Iterator[Path]:
    """Where files lie until all are there, of this bringing and of one that was stopped; named as
    what is unfinished is, so that it is removed when nobody goes on with it. Whoever finds another
    process at it has a folder of its own.
    """
    folder = cache_folder() / "archives" / f".{_digest(source)}.arriving.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOCK).touch()
    with held_alone(folder / LOCK) as alone:
        if alone:
            yield folder  # what is there stays, if this does not come to its end
            shutil.rmtree(folder, ignore_errors=True)
            return
        with TemporaryDirectory(dir=folder.parent, prefix=".", suffix=".tmp") as own:
            yield Path(own)


def _list_kept(source: str) -> Iterator[Path]:
    """The folders of what was brought from there before and is whole."""
    for note_file in (cache_folder() / "archives").glob(f"*/{NOTE}"):
        folder = note_file.parent
        with suppress(OSError, ValueError):
            if (folder / LISTING).is_file() and read_note(folder)["source"] == source:
                yield folder


def _link_known(source: str, entries: list[Entry], arriving: Path) -> None:
    """What was brought before and has not changed is taken from there, a second name for it."""
    for folder in _list_kept(source):
        hold = Hold(folder)
        states = json.loads((folder / LISTING).read_text(encoding="ascii"))
        for entry in entries:
            target = arriving / _key(entry)
            if states.get(entry.name) == entry.state and not target.exists():
                with suppress(OSError):
                    os.link(folder / CONTENT / entry.name, target)
        hold.release()


def _bring_all(entries: list[Entry], folder: Path, progress: Progress) -> set[Entry]:
    """Each as a file in the folder; those that are at their addresses no more.

    Raises DatasetError where there is no room, or nobody answers.
    """
    needed = sum(entry.size or 0 for entry in entries)
    free = shutil.disk_usage(folder).free - SPARE
    if needed > free:
        raise DatasetError(
            f"expected room for {needed / 1e9:,.1f} GB in {cache_folder()}, where the images are "
            f"brought, found {max(free, 0) / 1e9:,.1f} GB. Make room (headstart cache prune "
            "--max-mb 1000), set HEADSTART_CACHE to another disk, or train on features alone: see "
            "headstart features --help"
        )
    gone = set()
    with (
        progress.stage("bring", len(entries), "files"),
        ThreadPoolExecutor(READERS, "bring") as pool,
    ):
        for entry, there in map_ahead(pool, lambda one: _bring(one, folder), entries, 2 * READERS):
            progress.advance()
            if not there:
                gone.add(entry)
    return gone


def _bring(entry: Entry, folder: Path) -> tuple[Entry, bool]:
    """Whether the file was there to be brought."""
    place = folder / _key(entry)
    temporary = sibling(place)
    try:
        with temporary.open("wb") as target:
            for block in read_blocks(entry.address):
                target.write(block)
        size = temporary.stat().st_size
        if entry.size is not None and size != entry.size:
            raise DatasetError(
                f"expected {entry.size:,} bytes of {hide(entry.address)}, found {size:,}: it has "
                f"changed, or did not come to its end. {AGAIN}"
            )
        os.replace(temporary, place)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return entry, False
        raise DatasetError(str(error)) from error  # no fault of the cache folder
    finally:
        temporary.unlink(missing_ok=True)
    return entry, True
