"""The engine: OpenVINO on the processor, one image a request, one thread a stream.

A batch of one in as many streams as there are cores is as fast as any batch size (measured: 750
images a second against 736 to 802 for batches of 16 on 2 cores) and makes an image's numbers
independent of its neighbours, of how many there are, and of the number of threads.
"""

import errno
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headstart.errors import EngineError
from headstart.system.atomic import cannot_write
from headstart.system.threads import cores

NODE = 600  # bytes of its XML that OpenVINO writes for each (about 500 in the networks here)


@lru_cache(maxsize=1)
def core() -> Any:
    """OpenVINO's runtime, started once."""
    import openvino

    return openvino.Core()


def version() -> str:
    """OpenVINO's version and build."""
    import openvino

    return str(openvino.get_version())


def resolve_precision(precision: str) -> str:
    """`auto` becomes bf16 where the processor computes in it, else f32; so does `int8`, in which
    a network is only once it is quantised.

    Raises EngineError if bf16 is asked of a processor that has none.
    """
    able = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision in ("auto", "int8"):
        return "bf16" if able else "f32"
    if precision == "bf16" and not able:
        raise EngineError("this processor does not compute in bf16. Type: --precision f32")
    return precision


def save_model(model: Any, path: Path) -> None:
    """Write a model as PATH.xml and PATH.bin. Raises StorageError if it cannot be written."""
    import openvino

    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:  # which says nothing of the disk
        size = sum(node.data.nbytes for _, node in list_constants(model))
        size += NODE * len(model.get_ops())
        full = shutil.disk_usage(path.parent).free < size
        number = errno.ENOSPC if full else errno.EIO
        raise cannot_write(path, size, OSError(number, os.strerror(number))) from error


def list_constants(model: Any) -> list[tuple[str, Any]]:
    """Every constant of a model by its name."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    return [(node.get_friendly_name(), node) for node in nodes]


class OpenVinoEngine:
    """A model with one uint8 image (1, H, W, 3) as input, compiled for this processor.

    model: path of an OpenVINO IR, or a model in memory. output: which of its outputs to give.
    Raises EngineError if the model cannot be read or compiled.
    """

    def __init__(
        self, model: Any, precision: str, *, output: int = 0, streams: int | None = None
    ) -> None:
        self.streams = streams or cores()
        options = {
            # Of what is not in 8 bits by the graph itself.
            "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else precision,
            "NUM_STREAMS": self.streams,
            "INFERENCE_NUM_THREADS": self.streams,
        }
        try:
            if isinstance(model, str | Path):
                model = core().read_model(str(model))
            self.compiled = core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise EngineError(
                f"expected a whole model that OpenVINO can compile for this processor, found: "
                f"{reason}. Train again, or restore the file"
            ) from error
        self.output = output

    def run(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """For each (H, W, 3) uint8 image its (D,) float32 vector, in order."""
        for request in self._finish(images):
            yield _copy(request.get_output_tensor(self.output))

    def run_all(self, images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """For each image what every output of the model says of it, float32, in order."""
        for request in self._finish(images):
            yield [_copy(tensor) for tensor in request.output_tensors]

    def request(self) -> Any:
        """For a thread of its own, which hands it to `infer`."""
        return self.compiled.create_infer_request()

    def infer(self, request: Any, image: np.ndarray) -> list[np.ndarray]:
        """What every output says of one image, as soon as one of the streams has computed it."""
        request.infer({0: image[None]}, share_inputs=False)
        return [_copy(tensor) for tensor in request.output_tensors]

    def _finish(self, images: Iterable[np.ndarray]) -> Iterator[Any]:
        """A request for each image, in order, computed; the next images may use it again."""
        # Two requests a stream: while one is computed the next one waits, ready.
        idle = [self.compiled.create_infer_request() for _ in range(2 * self.streams)]
        running: deque[Any] = deque()
        for image in images:
            if not idle:
                request = running.popleft()
                request.wait()
                yield request
                idle.append(request)
            request = idle.pop()
            request.start_async({0: image[None]}, share_inputs=False)
            running.append(request)
        for request in running:
            request.wait()
            yield request


def _copy(tensor: Any) -> np.ndarray:
    return np.array(tensor.data[0], np.float32)


class Engine(Protocol):
    """The one thing the rest of headstart asks of an engine."""

    def run(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """For each (H, W, 3) uint8 image its (D,) float32 vector, in the order of the images.

        Each image is computed on its own, so its numbers do not depend on its neighbours. The
        engine takes images only a few ahead of what it gives, so memory stays flat.
        """
        ...


class FakeEngine:
    """Features are the mean red, green and blue of the image, 0..1; no network, no OpenVINO."""

    def __init__(self) -> None:
        self.seen = 0

    def run(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The (3,) mean colour of each (H, W, 3) uint8 image."""
        for image in images:
            self.seen += 1
            yield (image.reshape(-1, 3).mean(axis=0) / 255).astype(np.float32)
