"""onnxruntime-web, which runs the page's model in a browser: fetched once, kept in the cache."""

import tarfile
from pathlib import Path

from headstart.backbones.download import Progress, fetch
from headstart.errors import HeadstartError, WeightsError, cannot_read
from headstart.system.atomic import folder_atomically
from headstart.system.places import cache_folder

VERSION = "1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
NOTICE = f"ONNX Runtime Web {VERSION}, Copyright (c) Microsoft Corporation, MIT License"


def runtime_folder() -> Path:
    """Where it is kept."""
    return cache_folder() / "web-runtime" / VERSION


def fetch_runtime(progress: Progress | None = None) -> Path:
    """The folder with script and WASM, fetched from npm's registry if it is not there.

    Raises WeightsError where it cannot be fetched or is another file than expected.
    """
    folder = runtime_folder()
    if _is_whole(folder):
        return folder
    packed = folder.with_name(f"onnxruntime-web-{VERSION}.tgz")
    fetch(URL, packed, checksum=f"sha256:{SHA256}", progress=progress)
    try:
        with tarfile.open(packed) as archive, folder_atomically(folder) as made:
            for name in (SCRIPT, WASM):
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                (made / name).write_bytes(member.read())
    except (tarfile.TarError, KeyError, AssertionError) as error:
        advice = "Remove it and type: headstart fetch web-runtime"
        raise WeightsError(cannot_read(packed, error, "onnxruntime-web", advice)) from error
    packed.unlink(missing_ok=True)
    return folder


def read_runtime() -> tuple[bytes, bytes]:
    """Script and WASM. Raises HeadstartError if they have not been fetched."""
    folder = runtime_folder()
    if not _is_whole(folder):
        raise HeadstartError(
            f"expected onnxruntime-web {VERSION} in {folder}, found none: it runs the model in the "
            "browser. Type once, with a network: headstart fetch web-runtime"
        )
    return (folder / SCRIPT).read_bytes(), (folder / WASM).read_bytes()


def _is_whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (SCRIPT, WASM))
