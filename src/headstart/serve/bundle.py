"""A folder that serves a classifier anywhere: the code, the classifier, a Dockerfile, and the exact
versions of only what serving imports.

What training needs beside it (Keras, scikit-learn, Matplotlib, h5py) is not among them.
"""

import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import headstart
from headstart.classifier import load
from headstart.errors import HeadstartError, MissingExtra
from headstart.serve.models import RECORD
from headstart.system.atomic import folder_atomically

NEEDED = (
    "numpy", "openvino", "opencv-python-headless", "pillow", "pillow-heif", "simplejpeg",
    "safetensors", "pydantic", "typer", "rich", "fastapi", "uvicorn", "httptools", "uvloop",
    "python-multipart", "prometheus-client",
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """What was written. requirements: name==version each. size: bytes of the folder; installed: of
    the packages that will be installed beside it, as they are here.
    """

    folder: Path
    requirements: tuple[str, ...]
    size: int
    installed: int


def bundle(run: Path, out: Path) -> Bundle:
    """Write the folder, whole or not at all. Raises ClassifierError if there is no classifier, and
    HeadstartError if `out` is there already.
    """
    if out.exists():
        raise HeadstartError(f"expected a new folder, found {out}. Type: --out {out}-2")
    load(run)  # refused here, not when it is started
    name = re.sub(r"[^\w.-]", "-", run.resolve().name) or "classifier"
    packages = list_packages()
    requirements = tuple(f"{one}=={metadata.version(one)}" for one in packages)
    own = Path(headstart.__file__).parent
    whole = run / "classifier" if (run / "classifier" / RECORD).is_file() else run
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with folder_atomically(out) as folder:
        hidden = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(own, folder / "headstart", ignore=hidden)
        (folder / "models").mkdir()
        shutil.copytree(whole, folder / "models" / name, ignore=hidden)
        texts = {
            "requirements.txt": "\n".join(requirements) + "\n",
            "Dockerfile": _DOCKERFILE.format(python=version, name=name),
            "compose.yaml": _COMPOSE,
            "README.md": _README.format(python=version, name=name),
        }
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Bundle(out, requirements, size, sum(map(_size, packages)))


def list_packages() -> list[str]:
    """What serving needs, and what that needs in turn, by name. Raises MissingExtra where one of
    them is not installed here.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: set[str] = set()
    waiting = [Requirement(text) for text in NEEDED]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        asked = waiting.pop()
        name = str(canonicalize_name(asked.name))
        if (name, frozenset(asked.extras)) in seen:
            continue
        seen.add((name, frozenset(asked.extras)))
        found.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            raise MissingExtra("headstart export --to server", "serve") from None
        for text in needs:
            need = Requirement(text)
            extras = ["", *asked.extras]
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(need)
    return sorted(found)


def _size(package: str) -> int:
    files = metadata.files(package) or []
    places = [Path(str(file.locate())) for file in files]
    return sum(place.stat().st_size for place in places if place.is_file())


_DOCKERFILE = """\
FROM python:{python}-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --no-deps -r requirements.txt
COPY headstart headstart
COPY models models
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 HOME=/tmp
USER 65534:65534
EXPOSE 8000
HEALTHCHECK --interval=10s --start-period=10s CMD ["python", "-c", \
"import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "headstart", "serve", "models/{name}", "--host", "0.0.0.0"]
"""
_COMPOSE = """\
services:
  classifier:
    build: .
    ports: ["127.0.0.1:8000:8000"]
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    mem_limit: 4g
    stop_grace_period: 90s
    restart: unless-stopped
    # For others than this machine: write keys, one a line, into keys.txt, and
    # command: ["--api-key-file", "/run/secrets/keys"]
    # secrets: [keys]
# secrets:
#   keys: {file: keys.txt}
"""
_README = """\
# A server for {name}

    docker compose up --build

or without a container, with Python {python}:

    python -m venv venv
    venv/bin/pip install --no-deps -r requirements.txt
    PYTHONPATH=. venv/bin/python -m headstart serve models/{name}

Then

    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/v1/predict

`/` is a page to try it, `/openapi.json` says what else there is. Other machines reach it only if
`compose.yaml` says so; give keys then.
"""
