"""Images sorted into a folder for each class: links or copies, nothing overwritten."""

import filecmp
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.classifier import NONE_OF_THESE, NOT_SURE, Prediction
from headstart.data.item import Held, Item
from headstart.predictions.about import compare_about, write_about
from headstart.system.atomic import cannot_write, sibling
from headstart.system.text import shorten

NONE = "none"  # where an image may be in several classes: those in none of them
ABOUT = "about.json"  # in the folder: who sorted into it
LONGEST = 200  # bytes of a folder's name, and of a file's that gets a longer one
_REFUSED = re.compile(r'[/\\:*?"<>|\x00-\x1f]')  # by one file system or another


class Sorter:
    """Puts images below `folder`, in a folder for each class, one for those it is not sure of and
    one for none of these. A class with a name that no folder can have gets the nearest one.

    copies: whether files are copied; else links to them are made.
    """

    def __init__(self, folder: Path, classes: Sequence[str], *, copies: bool = False) -> None:
        self.folder, self.copies = folder, copies
        own = [NOT_SURE, NONE_OF_THESE, NONE]
        names = name_folders([*own, *classes])
        self.silences = dict(zip(own, names[:3], strict=True))
        self.classes = dict(zip(classes, names[3:], strict=True))

    def claim(self, about: dict[str, Any]) -> None:
        """Note in the folder who sorts into it, asked what: another would put an image into a
        second class.

        Raises HeadstartError if another has sorted into it, StorageError.
        """
        about = {**about, "copies": self.copies}
        note = self.folder / ABOUT
        if note.exists():
            compare_about(self.folder, note, about)
        else:
            write_about(note, about)

    def place(self, item: Item, prediction: Prediction) -> None:
        """Put an image where its prediction says; one that could not be used is left alone.

        Raises StorageError.
        """
        if prediction.error is not None:
            return
        if prediction.silence is not None:
            places = [self.silences[prediction.silence]]
        elif prediction.labels is not None:
            places = [self.classes[label] for label in prediction.labels] or [self.silences[NONE]]
        else:
            places = [self.classes[str(prediction.label)]]
        for name in places:
            try:
                self._put(item, self.folder / name)
            except OSError as error:
                raise cannot_write(self.folder / name / item.file_name, 0, error) from error

    def _put(self, item: Item, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        source, held = item.path.absolute(), isinstance(item, Held)
        # An unpacked archive may be gone tomorrow; what came over a network is at no place here.
        copied = self.copies or item.hold is not None or held
        own = item.content_hash if copied else hashlib.blake2b(os.fsencode(source)).digest()
        for name in (item.file_name, _lengthen(Path(item.file_name), own.hex()[:16])):
            target = folder / name
            if os.path.lexists(target):
                if _same(item, target, copied):
                    return
                continue  # another image of that name
            if copied:
                temporary = sibling(folder / "copy")  # its own name may be as long as names may be
                if held:
                    temporary.write_bytes(item.read())
                else:
                    shutil.copyfile(source, temporary)
                os.rename(temporary, target)
            else:
                os.symlink(source, target)
            return


def _lengthen(source: Path, more: str) -> str:
    """Its name with more in it, no longer than a name may be."""
    suffix = source.suffix if len(os.fsencode(source.suffix)) <= 16 else ""
    return f"{shorten(source.stem, LONGEST)}-{more}{suffix}"


def _same(item: Item, target: Path, copied: bool) -> bool:
    if not copied:
        return target.is_symlink() and os.readlink(target) == str(item.path.absolute())
    if isinstance(item, Held):
        return not target.is_symlink() and target.read_bytes() == item.read()
    return not target.is_symlink() and filecmp.cmp(item.path, target, shallow=False)


def name_folders(names: Sequence[str]) -> list[str]:
    """A folder's name for each, no two alike on any file system."""
    taken: set[str] = set()
    given = []
    for name in names:
        safe = _REFUSED.sub("_", name).rstrip(". ")
        safe = shorten(safe, LONGEST) or "_"
        safe = f"_{safe[1:]}" if safe.startswith(".") else safe
        number, folder = 1, safe
        while folder.casefold() in taken:
            number += 1
            folder = f"{safe}-{number}"
        taken.add(folder.casefold())
        given.append(folder)
    return given
