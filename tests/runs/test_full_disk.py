"""A disk that is full at any moment of writing a run: one error that says how to go on, and then
the training ends as if nothing had happened.

The limit that the system sets to the size of any file stands for the disk.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import headstart

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no sizes")

SMALL: dict[str, Any] = {"cut": "block1a_project_bn", "size": 64}
NEURAL: dict[str, Any] = {
    **SMALL, "head": "neural", "layers": ["dense 64 relu"], "epochs": 3, "patience": 2,
}  # fmt: skip
TUNED: dict[str, Any] = {
    "cut": "block2a_project_bn", "size": 64, "finetune": True, "boundary": "block1a_project_bn",
    "tune_epochs": 1,
}  # fmt: skip

PROGRAM = """
import json, resource, sys
from pathlib import Path
import headstart

source, out, choices, limits = sys.argv[1], Path(sys.argv[2]), *map(json.loads, sys.argv[3:])

def limited(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

if "head" in choices or "finetune" in choices:  # TensorFlow's import is not what fills the disk
    from headstart.heads.neural import prepare_keras

    prepare_keras()
told = []
for limit in limits:
    folder = out / str(limit)
    limited(limit)
    try:
        headstart.train(source, out=folder, **choices)
        error = None
    except headstart.HeadstartError as raised:
        error = f"{type(raised).__name__}: {raised}"
    limited(resource.RLIM_INFINITY)
    left = sorted(str(p.relative_to(folder)) for p in folder.rglob(".*")) if folder.exists() else []
    if (folder / "started.json").exists():
        headstart.resume(folder)
    told.append((limit, error, left))
print(json.dumps(told))
"""


@pytest.mark.parametrize(
    "choices",
    [
        pytest.param(SMALL, id="linear"),
        *(
            pytest.param(
                choices,
                id=name,
                marks=pytest.mark.skipif(
                    importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow"
                ),
            )
            for name, choices in (("neural", NEURAL), ("tuned", TUNED))
        ),
    ],
)
def test_a_full_disk_is_one_error_and_the_training_goes_on(
    tiny: Path, tmp_path: Path, choices: dict[str, Any]
) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    whole = tmp_path / "whole"
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tiny)]

    def carry_out(out: Path, limits: list[int]) -> list[Any]:
        done = subprocess.run(
            [*command, str(out), json.dumps(choices), json.dumps(limits)],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: list[Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    assert carry_out(whole, [10**10]) == [[10**10, None, []]]
    unbroken = whole / str(10**10)
    drawn = (".png", ".svg", ".html")  # name the run: of another they have another size
    files = [path for path in unbroken.rglob("*") if path.is_file() and path.suffix not in drawn]
    sizes = sorted(path.stat().st_size for path in files)
    if choices is not SMALL:  # which has seen the small ones
        sizes = sizes[-2:]
    limits = sorted({size - 1 for size in sizes if size > 1} | {0, 10_000})
    fallen = resumed = 0
    for limit, error, left in carry_out(tmp_path, limits):
        folder = tmp_path / str(limit)
        assert left == [], (limit, left)
        if error is not None:
            fallen += 1
            assert error.startswith("StorageError: expected to write "), error
            # OpenVINO does not say what it was that failed.
            assert "found: File too large, " in error or "found: Input/output error" in error
            if (folder / "run.json").exists():  # it had begun, so the child has gone on with it
                assert error.endswith(f"Then type: headstart train --resume {folder}")
                resumed += 1
        if not folder.exists() or not (folder / "run.json").exists():
            continue
        # A tuned network's file also holds the numbers that Keras gives to layers in a process, by
        # which the extractor is another in classifier.json.
        told = () if choices is TUNED else ("classifier.json",)
        for name in ("head.safetensors", "model.bin", "model.xml", *told):
            expected = (unbroken / "classifier" / name).read_bytes()
            assert (folder / "classifier" / name).read_bytes() == expected, (limit, name)
    assert fallen >= resumed >= 2
    assert headstart.Run(unbroken).record["classes"] == ["blue", "red"]
