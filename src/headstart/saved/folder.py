"""The folder of a classifier: written whole, and read back only if it is whole and of one piece.

classifier.json     class names, preprocessing, versions, and the digests of all of it
head.safetensors    what was trained
model.xml, .bin     OpenVINO, the whole way from one uint8 image to probabilities
abstention.safetensors    when not to answer; classifiers of earlier versions have none
"""

import re
import reprlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import ClassifierError, cannot_read
from headstart.features.engine import core, save_model
from headstart.heads.head import Head, from_arrays
from headstart.system.atomic import folder_atomically
from headstart.system.digest import digest, is_sealed, seal
from headstart.system.json import dumps, loads

FORMAT = 1
RECORD = "classifier.json"
PARTS = ("head.safetensors", "model.xml", "model.bin")
ABSTENTION = "abstention.safetensors"
_AGAIN = "Train again, or restore the folder"


@dataclass(frozen=True)
class Saved:
    """What a classifier's folder holds.

    record: the fields of classifier.json. head: what was trained. model: OpenVINO's. abstention:
    arrays by name, none of a version that had none.
    """

    record: Mapping[str, Any]
    head: Head
    model: Any
    abstention: Mapping[str, np.ndarray]


def write(
    folder: Path,
    record: Mapping[str, Any],
    head: Head,
    model: Any,
    abstention: Mapping[str, np.ndarray],
) -> None:
    """Write a classifier to `folder`, whole or not at all; an older one is replaced.

    Equal classifiers give equal files. Raises StorageError if there is no room.
    """
    from safetensors.numpy import save

    with folder_atomically(folder) as temporary:
        (temporary / "head.safetensors").write_bytes(save(head.arrays()))
        name_nodes(model)
        save_model(model, temporary / "model.xml")
        if abstention:
            (temporary / ABSTENTION).write_bytes(save(dict(abstention)))
        written = (*PARTS, ABSTENTION) if abstention else PARTS
        parts = {part: digest((temporary / part).read_bytes()) for part in written}
        whole = {"format": FORMAT, **record, "head": head.description(), "parts": parts}
        text = dumps(seal(loads(dumps(whole).encode())), indent=2) + "\n"
        (temporary / RECORD).write_text(text, encoding="utf-8")


def read(folder: Path) -> Saved:
    """The classifier in `folder`. Every file is read once: what was checked is what is used.

    Raises ClassifierError if there is none, if a newer headstart wrote it, or if its files are
    damaged or not those that were written together.
    """
    file = folder / RECORD
    if not file.is_file():
        raise ClassifierError(
            f"expected a run or a classifier, found no {RECORD} in {folder}. "
            "Give the folder that headstart train printed"
        )
    content = _content(file)
    record = _sealed(content)
    if record is None:
        record = _unsealed(file, content)
    try:
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(_read_parts, folder, record)
            core()  # OpenVINO takes longer to import than the files to be read and looked at
        return _fitting(folder, record, reading.result())
    except (KeyError, TypeError, AttributeError) as error:  # sealed by other hands
        found = f"{type(error).__name__}: {error}"
        raise ClassifierError(cannot_read(file, found, "a whole description", _AGAIN)) from error


def _sealed(content: bytes) -> dict[str, Any] | None:
    """The record if it is word for word what `write` wrote: then nothing need be asked of it."""
    try:
        record = loads(content)
        if isinstance(record, dict) and record.get("format") == FORMAT:
            return record if is_sealed(record) else None
    except (ValueError, RecursionError):
        pass
    return None


def _unsealed(file: Path, content: bytes) -> dict[str, Any]:
    """The record of an earlier version, which had no digests. Raises ClassifierError if it is none,
    naming the field that does not fit.
    """
    from headstart.saved.record import Record  # with pydantic, which takes 50 ms to import
    from headstart.system.reading import read_object

    record = read_object(file, content, Record, _AGAIN)
    if record.keys() & {"digest", "parts"}:
        raise _not_of_one_piece(
            file, "the classifier's description as it was saved", "one that was changed since"
        )
    return record


def _read_parts(folder: Path, record: Mapping[str, Any]) -> dict[str, bytes]:
    """Each file's bytes. Raises ClassifierError for one that is missing or not the record's own."""
    known = record.get("parts", ())
    names = (*PARTS, ABSTENTION) if ABSTENTION in known else PARTS
    parts = {part: _content(folder / part) for part in names}
    for part, content in parts.items():
        if "parts" in record and digest(content) != record["parts"][part]:
            raise _not_of_one_piece(
                folder / part, "the file that was saved with the rest of the classifier",
                "another: it is damaged, or of another classifier",
            )  # fmt: skip
    return parts


def _not_of_one_piece(file: Path, expected: str, found: str) -> ClassifierError:
    advice = f"Restore all of {file.parent} from one copy, or train again"
    return ClassifierError(cannot_read(file, found, expected, advice))


def _content(file: Path) -> bytes:
    found: object = f"no {file.name}"
    try:
        if file.is_file():  # a pipe would keep us waiting
            return file.read_bytes()
    except OSError as error:
        found = error
    raise ClassifierError(cannot_read(file.parent, found, "a whole classifier", _AGAIN))


def _fitting(folder: Path, record: Mapping[str, Any], parts: Mapping[str, bytes]) -> Saved:
    """Head and model, which fit the record and each other.

    Those of earlier versions are held together by nothing else: they had no digests.
    """
    from safetensors.numpy import load

    def refuse(part: str, expected: str, found: object) -> ClassifierError:
        return ClassifierError(cannot_read(folder / part, found, expected, _AGAIN))

    classes = record["classes"]
    try:
        arrays = load(parts["head.safetensors"])
    except Exception as error:  # SafetensorError is no more than an Exception
        raise refuse("head.safetensors", "a head's arrays", error) from error
    try:
        head = from_arrays(record["head"], arrays)
    except ClassifierError as error:
        raise ClassifierError(f"cannot read {folder / 'head.safetensors'}: {error}") from error
    try:
        model = core().read_model(parts["model.xml"], parts["model.bin"])
        # Not every model of OpenVINO's has one input and one output of a fixed shape.
        ports = [
            (port.element_type.get_type_name(), *port.shape)
            for port in (*model.inputs, *model.outputs)
        ]
        names = loads(model.get_rt_info(["headstart", "classes"]).astype(str).encode())
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1:]
        raise refuse("model.xml", "a classifier's model", "".join(reason) or error) from error
    geometry = record["geometry"]
    expected = [("u8", 1, geometry["height"], geometry["width"], 3), ("f32", 1, len(classes))]
    if ports != expected:
        raise refuse("model.xml", f"a model with the ports {expected}", f"{ports}")
    if names != classes:
        words = f"the classes of the model, {reprlib.repr(names)}"
        raise refuse(RECORD, words, reprlib.repr(classes))
    if head.outputs != len(classes):
        words = f"a head for {len(classes)} classes"
        raise refuse("head.safetensors", words, f"one for {head.outputs}")
    thresholds = record.get("thresholds")
    if thresholds is not None and len(thresholds) != len(classes):
        raise refuse(RECORD, f"{len(classes)} thresholds", len(thresholds))
    abstention = load(parts[ABSTENTION]) if ABSTENTION in parts else {}
    return Saved(record, head, model, abstention)


def name_nodes(model: Any) -> None:
    """Number the names that OpenVINO made up from 0: it counts on as long as a process lives, and
    two equal models would differ by them.
    """
    number = 0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", node.get_friendly_name()):
            node.set_friendly_name(f"{kind}_{number}")
            number += 1
