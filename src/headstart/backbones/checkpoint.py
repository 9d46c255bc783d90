"""A restricted reader of old-format torch checkpoints: tensors out, no code run, no torch.

The format (torch.save before version 1.6): a magic number, a protocol number and a description
of the machine, each pickled; then the pickled state, in which every tensor names its storage by
a key; then the list of keys, and for each storage its length and its raw bytes.
"""

import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np

from headstart.errors import WeightsError, cannot_read

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8",
            "LongStorage": "<i8", "IntStorage": "<i4"}  # fmt: skip


class _Tensors(pickle.Unpickler):
    """Knows three names and nothing else: whatever else a file asks for is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGES:
            return name
        raise WeightsError(
            f"expected a checkpoint of tensors only, found a reference to {module}.{name}: refused"
        )

    def persistent_load(self, pid: Any) -> Any:
        return pid  # ("storage", type, key, device, length, view)


def _tensor(
    storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Any:
    return storage, offset, size, stride


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of an old-format torch checkpoint by name.

    Raises WeightsError if the file is of another format, damaged, or asks for code to be run.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (OSError, pickle.UnpicklingError, ValueError, KeyError, EOFError, TypeError,
            struct.error, IndexError, AttributeError) as error:  # fmt: skip
        raise WeightsError(
            cannot_read(
                path, error, "a whole checkpoint of tensors",
                "Install the package that it came with again, or type: --weights FILE",
            )
        ) from error  # fmt: skip


def _read(file: IO[bytes]) -> dict[str, np.ndarray]:
    if _Tensors(file).load() != MAGIC:
        raise ValueError("wrong magic number")
    _Tensors(file).load()
    _Tensors(file).load()
    state = _Tensors(file).load()
    types = {reference[0][2]: reference[0][1] for reference in state.values()}
    storages = {}
    for key in _Tensors(file).load():
        (length,) = struct.unpack("<q", file.read(8))
        dtype = np.dtype(STORAGES[types[key]])
        content = file.read(length * dtype.itemsize)
        storages[key] = np.frombuffer(content, dtype)
        if len(storages[key]) != length:
            raise ValueError("cut short")
    tensors = {}
    for name, (storage, offset, size, stride) in state.items():
        # Kernels that came from TensorFlow are stored transposed: only the strides tell.
        numbers = storages[storage[2]]
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if min((offset, *stride, *size)) < 0 or last >= len(numbers):
            raise ValueError(f"{name} lies outside its storage")
        steps = [step * numbers.itemsize for step in stride]
        tensors[name] = np.lib.stride_tricks.as_strided(numbers[offset:], size, steps).copy()
    return tensors
