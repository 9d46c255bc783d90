"""Features made by a cluster: the same files, whoever computes otherwise told apart."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.data.item import Item
from headstart.errors import DatasetError, EngineError, HeadstartError, RecipeError, StorageError
from headstart.features.extractor import open_extractor
from headstart.recipe import Recipe
from headstart.store import on_ray
from headstart.store.file import Header
from headstart.store.folder import Folder
from headstart.store.job import Job, write_features
from headstart.store.on_ray import Node, check_place, choose_nodes
from headstart.store.pieces import Piece, Shard
from headstart.store.work import Made
from headstart.system import threads
from headstart.system.progress import Recorder

pytest.importorskip("ray")
EARLY = ["--cut", "block2b_add", "--size", "64", "--precision", "f32"]


def node(name: str, cpus: int = 1, canary: float = 1.0, why: str = "") -> Node:
    header = Header("e", {"precision": "f32"}, {}, np.array([canary, 1.0], "f4"), "f32")
    return Node(name, name, cpus, 0, why or header)


def choose(
    monkeypatch: pytest.MonkeyPatch, recipe: Recipe, *answers: list[Node]
) -> tuple[Recipe, list[str], list[str], list[str]]:
    """Recipe, names of those that work and of those that do not, and warnings."""
    left = list(answers)
    monkeypatch.setattr(on_ray, "find_nodes", lambda *_: left.pop(0))
    told = Recorder()
    chosen, _, alike, others = choose_nodes(None, recipe, "f32", told)
    assert not left
    return chosen, [n.name for n in alike], [n.name for n in others], told.warnings


def test_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("a"), node("b", canary=1 + 1e-6)]
    recipe, alike, others, warnings = choose(monkeypatch, Recipe(), nodes)
    assert (recipe, alike, others, warnings) == (Recipe(), ["a", "b"], [], [])


def test_precision_is_pinned_where_processors_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    bf16 = [node("a"), node("b", cpus=4, canary=1.01), node("c")]
    f32 = [node("a"), node("b", cpus=4), node("c", why="no such weights")]
    recipe, alike, others, warnings = choose(monkeypatch, Recipe(), bf16, f32)
    assert recipe.precision == "f32"
    assert (alike, others) == (["a", "b"], ["c"])
    assert warnings == [
        "a, c computes other numbers than b: all compute in f32, which is alike everywhere but "
        "slower",
        "c is left out: no such weights",
    ]


def test_who_computes_otherwise_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(precision="f32")
    nodes = [node("a", cpus=2), node("b", canary=1.01), node("c")]
    chosen, alike, others, warnings = choose(monkeypatch, recipe, nodes)
    assert (chosen, alike, others) == (recipe, ["a", "c"], ["b"])
    assert warnings == ["b is left out: it computes other numbers"]


def test_nobody_can(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"expected a cluster that can .* found: no weights"):
        choose(monkeypatch, Recipe(precision="f32"), [node("a", why="no weights")])


@pytest.mark.parametrize("on", ["ray", "ray://head:10001", "head:6379"])
def test_places(on: str) -> None:
    assert check_place(on) == ("" if on == "ray" else on)


@pytest.mark.parametrize("on", ["ray://127.0.0.1:1", "127.0.0.1:1", "no.such.host.invalid:6379"])
def test_where_no_cluster_is_is_told_at_once(on: str) -> None:
    with (
        pytest.raises(StorageError, match=f"expected a Ray cluster at {on}, found: .* runs"),
        on_ray.cluster(on),
    ):
        pass


@pytest.mark.parametrize("on", ["", "spark", "http://head:1", "ray://head", "ray://:1"])
def test_what_is_no_place(on: str) -> None:
    with pytest.raises(RecipeError, match=r"expected --on ray, .* Type: --on ray"):
        check_place(on)


def test_the_same_files_as_without(tiny: Path, tmp_path: Path) -> None:
    (odd := tiny_copy(tiny, tmp_path) / "red" / "broken.jpg").write_bytes(b"no image")
    photos = odd.parent.parent
    done = write_features(
        photos, tmp_path / "here", progress=False, cut="block2b_add", size=64, precision="f32"
    )
    command = [sys.executable, "-m", "headstart", "features", str(photos), "--on", "ray", *EARLY,
               "--to", str(tmp_path / "there")]  # fmt: skip
    for new in (48, 0):
        told = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"}
        )
        assert told.stdout.startswith(f"48 images in 1 file of {tmp_path}/there, {new} of them new")
        assert "1 images left out" in told.stdout
    files = {path.name: path.read_bytes() for path in (tmp_path / "here").glob("[!.]*")}
    assert len(files) == 1 + done.files
    assert {p.name: p.read_bytes() for p in (tmp_path / "there").glob("[!.]*")} == files


def tiny_copy(tiny: Path, to: Path) -> Path:
    return Path(shutil.copytree(tiny, to / "photos"))


def test_how_large_workers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [Node("a", "a", 16, 64 * 2**30), Node("b", "b", 4, 2**30)]
    assert on_ray.choose_size(nodes) == (4, 2**30)
    assert on_ray.choose_size(nodes[:1]) == (8, on_ray.MEMORY * 2**20)
    monkeypatch.setenv("HEADSTART_WORKER_CORES", "1")
    monkeypatch.setenv("HEADSTART_WORKER_MB", "700")
    assert on_ray.choose_size(nodes) == (1, 700 * 2**20)
    for text in ("much", "0", "70000"):
        monkeypatch.setenv("HEADSTART_WORKER_MB", text)
        with pytest.raises(RecipeError, match=rf"from 1 to 65,536, .*_WORKER_MB, found '{text}'"):
            on_ray.choose_size(nodes)
    monkeypatch.delenv("HEADSTART_WORKER_MB")
    monkeypatch.setenv("HEADSTART_WORKER_CORES", "8")  # more than the smaller one has
    assert on_ray.choose_size(nodes) == (8, on_ray.MEMORY * 2**20)
    monkeypatch.setenv("HEADSTART_WORKER_CORES", "17")
    with pytest.raises(RecipeError, match=r"from 1 to 16, .*_WORKER_CORES, found '17'"):
        on_ray.choose_size(nodes)


def test_what_other_computers_do_not_see(tmp_path: Path) -> None:
    piece = Piece(1, "d", 1, (Item(tmp_path / "gone.jpg", "gone.jpg"),))
    with pytest.raises(DatasetError, match=r"sees no .*gone\.jpg\. Put them in a folder that all"):
        on_ray._check_seen(piece)
    header = Header("e", {}, {}, np.ones(2, "f4"), "f32")
    job = Job(tmp_path, Recipe(), Shard(), Folder(tmp_path), header, 10)
    with pytest.raises(StorageError, match=r"is not in it \(1\.parquet\)\. Give a folder that all"):
        on_ray._check_kept(job, Made("d", "1.parquet", 1, ()))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("headstart.errors.StorageError: expected to write a, found: no room", StorageError),
        ("headstart.errors.MissingExtra: expected pyarrow. Type: pip", HeadstartError),
    ],
)
def test_what_a_worker_raises_is_raised_here(line: str, kind: type[Exception]) -> None:
    text = (
        f"ray::MapWorker()\nOSError: [Errno 28]\n\n  File x\n{line}\n\nUDF failed.\nTo change, call"
    )
    with pytest.raises(kind) as caught, on_ray._told():
        raise RuntimeError(text)
    assert type(caught.value) is kind
    assert str(caught.value) == line.partition(": ")[2]


def test_what_ray_raises_is_told() -> None:
    with pytest.raises(StorageError, match=r"go on, found: it is gone. What is done is kept"), (
        on_ray._told()
    ):  # fmt: skip
        raise RuntimeError("some node:\nit is gone")


def test_a_late_comer_that_computes_otherwise_is_refused(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_most", 0)
    recipe = Recipe(cut=("block2b_add",), size=64, precision="f32")
    header = Header.of(open_extractor(recipe), recipe, "f32")
    job = Job(tiny, recipe, Shard(), Folder(tmp_path), header, 10)
    on_ray.Worker(job, 1)
    assert threads.cores() == 1
    other = replace(job, header=replace(header, canary=header.canary * np.float32(1.01)))
    with pytest.raises(EngineError, match=r"which has come later, computes others"):
        on_ray.Worker(other, 1)


def test_a_computer_with_another_processor(tiny: Path, tmp_path: Path) -> None:
    """Two nodes, of which one has to do without bf16: both compute in f32, as one alone does. The
    command only speaks with them (ray://), and is no part of the cluster.
    """
    from headstart.features.engine import resolve_precision

    if resolve_precision("auto") != "bf16":
        pytest.skip("this processor has no bf16 that one could do without")
    done = subprocess.run(
        [sys.executable, "-c", TWO_NODES, str(tiny), str(tmp_path / "there")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "computes other numbers than" in done.stderr
    assert "all compute in f32" in done.stderr
    write_features(tiny, tmp_path / "here", progress=False, size=64, precision="f32")
    files = {path.name: path.read_bytes() for path in (tmp_path / "here").glob("*.parquet")}
    assert {p.name: p.read_bytes() for p in (tmp_path / "there").glob("*.parquet")} == files


TWO_NODES = """
import contextlib, random, socket, subprocess, sys, time
from ray.cluster_utils import Cluster
def is_free(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0
# Below those that the system, and above those that Ray, gives to others meanwhile.
port = next(filter(is_free, random.sample(range(21_000, 31_000), 100)))
head = {"num_cpus": 1, "ray_client_server_port": port}
cluster = Cluster(initialize_head=True, head_node_args=head)
cluster.add_node(num_cpus=1, env_vars={"ONEDNN_MAX_CPU_ISA": "AVX2"})
cluster.wait_for_nodes()
for _ in range(100):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        break
    time.sleep(0.2)
photos, to = sys.argv[1:]
command = ["features", photos, "--to", to, "--size", "64", "--on", f"ray://127.0.0.1:{port}"]
done = subprocess.run([sys.executable, "-m", "headstart", *command], timeout=200)
cluster.shutdown()
sys.exit(done.returncode)
"""
