"""The page on very many images: its scripts run, its YAML is what Kubernetes and KubeRay read, its
table is what the model says of the points kept beside it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
sys.path.insert(0, str(ROOT / "bench"))
import scale_model  # noqa: E402


def read_blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)


def read_job(kind: str) -> dict[str, Any]:
    return next(job for job in map(yaml.safe_load, read_blocks("yaml")) if job["kind"] == kind)


@pytest.fixture
def shell(tiny: Path, tmp_path: Path) -> Any:
    """Runs a script where `headstart` is on the path and `photos` in the folder."""
    shutil.copytree(tiny, tmp_path / "photos")
    program = tmp_path / "bin" / "headstart"
    program.parent.mkdir()
    small = "--set cut=block1a_project_bn --size 64"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m headstart "$@" {small}\n')
    program.chmod(0o755)

    def run(script: str, **environment: str) -> None:
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path), **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return run


def count_rows(folder: Path) -> int:
    parquet = pytest.importorskip("pyarrow.parquet")
    return sum(parquet.ParquetFile(path).metadata.num_rows for path in folder.glob("*.parquet"))


def test_the_script_for_slurm_makes_every_part(shell: Any, tiny: Path, tmp_path: Path) -> None:
    script = read_blocks("sbatch")[0]
    assert "--array=1-64\n" in script
    assert "PARTS=64 " in script
    for number in ("1", "2"):
        shell(script.replace("PARTS=64", "PARTS=2"), SLURM_ARRAY_TASK_ID=number)
    assert count_rows(tmp_path / "features") == len(list(tiny.glob("*/*.*")))


def test_the_indexed_job_makes_every_part(shell: Any, tiny: Path, tmp_path: Path) -> None:
    job = read_job("Job")["spec"]
    assert job["completionMode"] == "Indexed"
    container = job["template"]["spec"]["containers"][0]
    assert container["command"] == ["sh", "-c"]
    (script,) = container["args"]
    assert f"/{job['completions']} " in script
    script = script.replace("s3://bucket/", "").replace(f"/{job['completions']} ", "/2 ")
    for number in ("0", "1"):
        shell(script, JOB_COMPLETION_INDEX=number)
    assert count_rows(tmp_path / "features") == len(list(tiny.glob("*/*.*")))


def test_the_job_of_kuberay_is_whole() -> None:
    job = read_job("RayJob")
    assert job["apiVersion"] == "ray.io/v1"
    spec = job["spec"]
    assert spec["entrypoint"].startswith("headstart features ")
    assert " --on ray " in spec["entrypoint"]
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = set()
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        images.add(container["image"])
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert container["envFrom"][0]["secretRef"]["name"]
    assert len(images) == 1
    assert f"ray:{cluster['rayVersion']}" in read_blocks("dockerfile")[0]


def test_the_table_is_what_the_model_says() -> None:
    for line in scale_model.tell(scale_model.POINTS, [1e6, 1e8, 1e9]):
        assert line in PAGE


def test_a_line_is_found_through_points_on_it() -> None:
    images = np.array([500.0, 1000.0, 20000.0])
    assert scale_model.fit(images, 3 + images / 400) == pytest.approx((3, 1 / 400))
    assert scale_model.check(images, 3 + images / 400) == pytest.approx(0)


def test_what_begins_below_nothing_is_a_line_through_it() -> None:
    images = np.array([100.0, 200.0])
    start, each = scale_model.fit(images, np.array([10.0, 30.0]))
    assert start == 0
    assert 0.1 < each < 0.15
