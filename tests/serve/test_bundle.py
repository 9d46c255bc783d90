"""A folder with what serving needs, and no more."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.errors import HeadstartError
from headstart.serve.bundle import bundle


def test_the_folder_serves_by_itself(run: Path, tmp_path: Path) -> None:
    made = bundle(run, tmp_path / "server")
    names = {text.partition("==")[0] for text in made.requirements}
    assert {"openvino", "numpy", "fastapi", "uvicorn", "httptools", "starlette"} <= names
    assert not names & {"keras", "scikit-learn", "matplotlib", "h5py", "jinja2", "scipy"}
    assert "models/colours" in (made.folder / "Dockerfile").read_text()
    with pytest.raises(HeadstartError, match="new folder"):
        bundle(run, tmp_path / "server")
    # Its own code, started as in the image, with the port it is given.
    process = subprocess.Popen(
        [sys.executable, "-m", "headstart", "serve", "models/colours", "--port", "0"],
        cwd=made.folder, env={**os.environ, "PYTHONPATH": str(made.folder)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    line = process.stderr.readline()
    process.terminate()
    rest = process.communicate(timeout=30)[1]
    assert re.search(r"Serving colours on http://127.0.0.1:\d+", line), line + rest
    assert process.returncode == 0
