"""Fixtures shared by all tests: the real images and weights, where they are present."""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from buckets import Store, wait_for

SHARED = Path(os.environ.get("HEADSTART_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's own cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and weights; tests that need it skip without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the real images in {SHARED} (set HEADSTART_SHARED to their folder)")
    return SHARED


@pytest.fixture(scope="session")
def photos(shared: Path) -> Path:
    """data/: cats_and_dogs_filtered, hymenoptera, clothing, sign_language_digits, odd_images."""
    return shared / "data"


@pytest.fixture(scope="session")
def inception_weights(shared: Path) -> Path:
    """InceptionV3 without its top in Keras 2 style HDF5."""
    return shared / "weights" / "inception_v3_notop.h5"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small labelled set: 24 red and 24 blue pictures with noise, 64x48, as PNG and JPEG."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    for index in range(48):
        label, colour = [("red", (200, 60, 60)), ("blue", (60, 60, 200))][index % 2]
        pixels = np.clip(np.array(colour) + rng.normal(0, 40, (48, 64, 3)), 0, 255)
        target = folder / label / f"{index}.{'png' if index % 3 else 'jpg'}"
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(target)
    return folder


CLUSTER = """
import sys, ray
options = dict(num_cpus=2, include_dashboard=False, log_to_driver=False)
print(ray.init("local", object_store_memory=100 * 2**20, **options).address_info["address"])
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def ray_cluster(own_cache: None) -> Iterator[dict[str, str]]:
    """The environment of commands that are to find a Ray cluster, of this computer alone."""
    pytest.importorskip("ray", reason="pip install 'headstart[ray]'")
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
           "RAY_USAGE_STATS_ENABLED": "0"}  # fmt: skip
    environment = {**os.environ, **own}
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], env=environment, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    try:
        yield {**environment, "RAY_ADDRESS": cluster.stdout.readline().strip(), "COLUMNS": "80"}
    finally:
        cluster.stdin.close()  # which ends it
        cluster.stdout.close()
        cluster.wait(60)


@pytest.fixture(scope="session")
def s3() -> Iterator[Store]:
    """An empty S3 on loopback, a process of its own; skips without moto or pyarrow."""
    for module in ("moto", "flask", "flask_cors", "pyarrow"):
        pytest.importorskip(module, reason="needs moto[s3], flask, flask-cors and pyarrow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
                   "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(port, server)
            yield Store(f"127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(10)
