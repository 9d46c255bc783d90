"""hf://datasets/...: a server as Hugging Face's is, on this computer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub import NAME, serve_hub

from headstart.data.dataset import load

pytest.importorskip("huggingface_hub", reason="pip install 'headstart[hub]'")
TOKEN = "hf_secret"
ASK = f"""
import json, sys
from headstart.data.dataset import load
from headstart.data.places import images_in
from headstart.data.source import stream_items
from headstart.errors import HeadstartError
source = "hf://datasets/{NAME}"
if sys.argv[1:] == ["refused"]:
    try:
        load(source)
    except HeadstartError as error:
        print(error)
    sys.exit()
items = [*load(source).items, *load(source + "/t.parquet").items]
streamed = [*stream_items([source + "/red"]), *stream_items([source + "/t.parquet"])]
print(json.dumps([[i.name, i.label, i.content_hash.hex()] for i in items]))
print(json.dumps([[i.name, i.label, i.bring().content_hash.hex()] for i in streamed]))
"""


def ask(endpoint: str, tmp_path: Path, token: str, *arguments: str) -> list[str]:
    """The lines of a process that has such an endpoint from its beginning."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_TOKEN": token,
                   "HF_HOME": str(tmp_path / "hf"), "HEADSTART_CACHE": str(tmp_path / "cache"),
                   "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", ASK, *arguments], env=environment, timeout=120,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_data_set_is_read_as_a_folder(tiny: Path, tmp_path: Path) -> None:
    import shutil

    import pyarrow
    from pyarrow import parquet

    photos = Path(shutil.copytree(tiny, tmp_path / "photos"))
    rows = [{"image": {"bytes": path.read_bytes(), "path": path.name}, "label": path.parent.name}
            for path in sorted(photos.rglob("*.*"))[::6]]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(rows), photos / "t.parquet")
    with serve_hub(photos, TOKEN) as endpoint:
        items, streamed = map(json.loads, ask(endpoint, tmp_path, TOKEN))
        (refused,) = ask(endpoint, tmp_path, "hf_other", "refused")
    here = [[i.name, i.label, i.content_hash.hex()]
            for place in (photos, photos / "t.parquet") for i in load(place).items]  # fmt: skip
    assert items == here
    hashes = {name: content for name, _, content in here}
    assert [content for *_, content in streamed] == [
        hashes[name.removeprefix(f"hf://datasets/{NAME}/")] for name, *_ in streamed
    ]
    assert len(streamed) == 24 + len(rows)
    assert refused.startswith(f"expected to list hf://datasets/{NAME}, found: ")
    assert "hf_" not in refused
    for path in (tmp_path / "cache").rglob("*"):
        assert path.is_dir() or b"hf_secret" not in path.read_bytes()
