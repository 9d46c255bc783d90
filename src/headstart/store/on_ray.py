"""The same job on many computers: Ray Data distributes the pieces, each worker makes their files.

A task lists the source and gives the missing pieces as they come; actors hold the compiled network
and write a piece's file whole before they say so. What goes through Ray is what the images are
called, never what they look like. A worker that is killed, or a node that goes, has its piece made
again elsewhere; one whose file is there already is not.
"""

import logging
import os
import pickle
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headstart import errors
from headstart.data.address import list_keys, take_keys
from headstart.data.item import Held
from headstart.data.remote import Remote
from headstart.errors import (
    DatasetError,
    EngineError,
    HeadstartError,
    MissingExtra,
    RecipeError,
    StorageError,
)
from headstart.features.extractor import open_extractor
from headstart.recipe import Recipe
from headstart.store.file import SAME, Header
from headstart.store.folder import Folder
from headstart.store.job import Done, Job, finish
from headstart.store.pieces import ROWS, Piece, Shard
from headstart.store.work import Files, Made, Numbers, Work, run
from headstart.system.progress import Progress
from headstart.system.threads import cores, limit_cores

RAY = "ray"
OURS = re.compile(r"^headstart\.errors\.(\w+): (.+)$", re.M)
CORES = 8  # of a worker at most: more cores are more workers
REACHED = 10  # seconds in which a cluster answers
MEMORY = 1500  # MB that a worker is to have: it takes some 350
AT_ONCE = 2  # pieces of a worker: one begins while another one ends
OBJECTS = 100 * 2**20  # bytes of Ray's own store where we start it: no pixels pass through it


@dataclass(frozen=True)
class Node:
    """A computer of the cluster. memory: bytes that Ray has to give. header: what it computes, or
    why it computes nothing.
    """

    key: str
    name: str
    cpus: int
    memory: int = 0
    header: Numbers | str = ""


def check_place(on: str) -> str:
    """An address as Ray takes it; "" for RAY_ADDRESS, or where there is none for this computer.

    Raises RecipeError for what is no place.
    """
    if on == RAY:
        return ""
    scheme, _, rest = on.rpartition("://")
    host, _, port = rest.partition(":")
    if scheme not in ("", RAY) or not host or not port.isdigit():
        raise RecipeError(
            f"expected --on ray, or a cluster's address such as ray://head:10001, found {on!r}. "
            "Type: --on ray"
        )
    return on


@contextmanager
def cluster(on: str) -> Iterator[Any]:
    """Ray, connected; what was started for this is stopped with the block.

    Raises MissingExtra, StorageError where the cluster cannot be reached.
    """
    address = check_place(on)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("working on a cluster", RAY) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are told as ours
    mine = not ray.is_initialized()
    if mine:
        _connect(ray, address)
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": False,
    }
    address = address or os.environ.get("RAY_ADDRESS", "")
    _check_there(address)
    if not address:  # never a cluster that happens to run here, which may be somebody else's
        options |= {"address": "local", "num_cpus": cores(), "include_dashboard": False,
                    "object_store_memory": OBJECTS}  # fmt: skip
    try:
        ray.init(**{"address": address, **options})
    except Exception as error:  # Ray's own, of many kinds
        raise StorageError(
            f"expected a Ray cluster at {address or 'this computer'}, found: "
            f"{str(error).strip().splitlines()[0]}. Check that it runs (ray status), and that its "
            "versions of Ray and Python are those here"
        ) from error


def _check_there(address: str) -> None:
    """Raises StorageError where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():  # "auto"
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACHED).close()
    except (OSError, OverflowError) as error:
        raise StorageError(
            f"expected a Ray cluster at {address}, found: {error}. Check that it runs (ray status) "
            "and that a firewall lets this computer speak to it"
        ) from error


def write_on_ray(
    on: str, source: Any, folder: Folder, recipe: Recipe, shard: Shard, dtype: str,
    progress: Progress,
) -> Done:  # fmt: skip
    """What `job.write_features` does, by a cluster."""
    with cluster(on) as ray:
        with progress.stage("extractor"):
            recipe, header, nodes, others = choose_nodes(ray, recipe, dtype, progress)
        job = Job(source, recipe, shard, folder, header, ROWS)

        def make(missing: set[str], images: int) -> Iterator[Made]:
            return make_on_ray(ray, job, missing, nodes, others, progress)

        return finish(job, run(job, make, progress), progress)


# --- who computes -------------------------------------------------------------------------
def find_nodes(ray: Any, compute: Callable[[], Numbers]) -> list[Node]:
    """Every computer of the cluster, each asked what it computes."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = Surroundings.here()

    def ask() -> Numbers | str:
        here.enter()
        try:
            return compute()
        except HeadstartError as error:
            return str(error)

    found = [
        Node(one["NodeID"], f"{one['NodeManagerHostname']} ({one['NodeID'][:8]})",
             int(one["Resources"].get("CPU", 0)), int(one["Resources"].get("memory", 0)))
        for one in ray.nodes() if one["Alive"]
    ]  # fmt: skip
    able = [node for node in found if node.cpus]
    asked = [
        ray.remote(ask).options(
            num_cpus=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node.key, soft=False)
        ).remote() for node in able
    ]  # fmt: skip
    return [replace(node, header=told) for node, told in zip(able, ray.get(asked), strict=True)]


def choose_nodes(
    ray: Any, recipe: Recipe, dtype: str, progress: Progress
) -> tuple[Recipe, Header, list[Node], list[Node]]:
    """The recipe, pinned to f32 where processors differ and nobody has chosen; what is computed;
    the computers that compute it, and those that are left out, which is told.

    Raises EngineError where none computes it.
    """

    def find(recipe: Recipe) -> list[Node]:
        return find_nodes(ray, lambda: Header.of(open_extractor(recipe), recipe, dtype))

    nodes = find(recipe)
    alike, others = _divide(nodes)
    if others and recipe.precision == "auto":
        progress.warn(
            f"{_list(others)} computes other numbers than {_list(alike)}: all compute in f32, "
            "which is alike everywhere but slower"
        )
        recipe = recipe.changed(precision="f32")
        nodes = find(recipe)
    header, alike, others = choose_alike(nodes, progress)
    assert isinstance(header, Header)
    return recipe, header, alike, others


def choose_alike(nodes: list[Node], progress: Progress) -> tuple[Numbers, list[Node], list[Node]]:
    """What most processors compute, the computers that do, and those that are left out, which is
    told. Raises EngineError where none computes it.
    """
    alike, others = _divide(nodes)
    if not alike:
        reason = next((node.header for node in nodes), "no computer with a processor")
        raise EngineError(f"expected a cluster that can compute this, found: {reason}")
    for node in others:
        why = node.header if isinstance(node.header, str) else "it computes other numbers"
        progress.warn(f"{node.name} is left out: {why}")
    header = alike[0].header
    assert not isinstance(header, str)
    return header, alike, others


def _divide(nodes: list[Node]) -> tuple[list[Node], list[Node]]:
    """The largest group, by processors, of those that compute the same numbers; and the others."""
    best: list[Node] = []
    for first in nodes:
        if not isinstance(first.header, str):
            canary, mark = first.header.canary, first.header.mark
            group = [node for node in nodes if not isinstance(node.header, str)
                     and node.header.mark == mark
                     and node.header.distance(canary) <= SAME]  # fmt: skip
            if sum(node.cpus for node in group) > sum(node.cpus for node in best):
                best = group
    return best, [node for node in nodes if node not in best]


def _list(nodes: list[Node]) -> str:
    return ", ".join(node.name for node in nodes)


@dataclass(frozen=True)
class Surroundings:
    """What a command is typed in: the folder that paths are relative to, and the keys that stood in
    addresses.
    """

    folder: str
    keys: dict[str, str] = field(repr=False)

    @classmethod
    def here(cls) -> "Surroundings":
        """Of this process."""
        return cls(os.getcwd(), list_keys())

    def enter(self) -> None:
        """Work in them, as far as this computer has the folder."""
        take_keys(self.keys)
        with suppress(OSError):
            os.chdir(self.folder)


# --- the work -----------------------------------------------------------------------------
class Worker:
    """An actor that makes pieces. Raises EngineError where its processor computes otherwise."""

    def __init__(self, job: Work, most: int, here: Surroundings | None = None) -> None:
        limit_cores(most)
        if here is not None:
            here.enter()
        self.job = job
        self.make = job.open()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """The pieces of a batch, made."""
        pieces = [pickle.loads(content) for content in batch["piece"]]
        for piece in pieces:
            _check_seen(piece)
        made = [self.job.find_made(piece) or next(self.make([piece])) for piece in pieces]
        return {"made": [pickle.dumps(one) for one in made], "size": [p.size for p in pieces]}


def _check_seen(piece: Piece) -> None:
    """Raises DatasetError where none of the images is to be seen from this computer."""
    here = [item.path for item in piece.items if not isinstance(item, Remote | Held)]
    if piece.container is not None and not piece.container.remote:
        here = [Path(piece.container.place)]
    if not here or any(path.exists() for path in here):
        return
    raise DatasetError(
        f"expected the images on every computer of the cluster, found that {socket.gethostname()} "
        f"sees no {here[0]}. Put them in a folder that all share, or in a store (s3://...)"
    )


def _check_kept(job: Work, one: Made) -> None:
    """Raises StorageError where a file that another computer has written is not to be seen here."""
    if isinstance(job, Files) and job.folder.is_here and not job.folder.has(one.file):
        raise StorageError(
            f"expected one folder {job.folder} for all computers of the cluster, found that what "
            f"another one has written is not in it ({one.file}). Give a folder that all share, or "
            "the address of a store (s3://...)"
        )


def make_on_ray(
    ray: Any, job: Work, missing: set[str], nodes: list[Node], others: list[Node],
    progress: Progress,
) -> Iterator[Made]:  # fmt: skip
    """Each missing piece, once its file is there, in whatever order."""
    given = (job, missing, nodes, others, choose_size(nodes), Surroundings.here())
    afar = ray.util.client.ray.is_connected()
    seen: Counter[str] = Counter()
    with _told():
        for one, size in _ask_steward(ray, *given) if afar else distribute(*given):
            seen[one.digest] += 1
            if seen[one.digest] == 1:
                _check_kept(job, one)
                for _ in range(size or one.images + len(one.bad)):  # one by one tells the pace
                    progress.advance()
                yield one


def distribute(
    job: Work, missing: set[str], nodes: list[Node], others: list[Node], size: tuple[int, int],
    here: Surroundings,
) -> Iterator[tuple[Made, int]]:  # fmt: skip
    """Each missing piece, made by Ray Data, with how many images it is of. size: of a worker, as
    `choose_size` says it. here: what the command was typed in.
    """
    import ray.data as data

    cores_each, memory = size
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # a block a piece: what a worker takes at a time
    left_out = {"ray.io/node-id": f"!in({','.join(node.key for node in others)})"} if others else {}
    pieces = data.read_datasource(
        _source(data, job, missing, here), override_num_blocks=1, num_cpus=0, max_retries=3
    )
    made = pieces.map_batches(
        Worker, batch_size=1, fn_constructor_args=(job, cores_each, here), num_cpus=cores_each,
        memory=memory,
        compute=data.ActorPoolStrategy(
            min_size=1, initial_size=_count(nodes, cores_each),
            max_concurrent_calls_per_actor=AT_ONCE, enable_true_multi_threading=True,
        ),
        **({"label_selector": left_out} if left_out else {}),
    )  # fmt: skip
    for row in made.iter_rows():
        yield pickle.loads(row["made"]), row["size"]


class Steward:
    """An actor that distributes for a process that only speaks with the cluster (ray://), where
    Ray Data does not run.
    """

    def __init__(self, *given: Any) -> None:
        self.made = distribute(*given)

    def next(self) -> tuple[Made, int] | None:
        """The next piece, once it is made; None where there is none."""
        return next(self.made, None)


def _ask_steward(ray: Any, *given: Any) -> Iterator[tuple[Made, int]]:
    steward = ray.remote(Steward).options(num_cpus=0).remote(*given)
    while (one := ray.get(steward.next.remote())) is not None:
        yield one


def choose_size(nodes: list[Node]) -> tuple[int, int]:
    """Cores of a worker, and bytes that Ray sets aside for it: what the environment says, else as
    many cores as the smallest computer has, up to CORES, and MEMORY, or what is there.

    Raises RecipeError for what is no number there.
    """
    most = max(node.cpus for node in nodes)
    usual = min(CORES, *(node.cpus for node in nodes))
    each = _read_number("HEADSTART_WORKER_CORES", usual, most)
    able = [node for node in nodes if node.cpus >= each]
    room = min(node.memory // (node.cpus // each) for node in able) // 2**20
    most = max(node.memory for node in able) // 2**20
    return each, _read_number("HEADSTART_WORKER_MB", min(MEMORY, room), most) * 2**20


def _read_number(name: str, usual: int, most: int) -> int:
    """What the environment says, of what one computer can give at most: for more Ray would wait."""
    text = os.environ.get(name)
    if text is None:
        return usual
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise RecipeError(
            f"expected a whole number from 1 to {most:,}, which the largest computer has, in "
            f"{name}, found {text!r}. Correct it"
        )
    return int(text)


def _count(nodes: list[Node], each: int) -> int:
    """Workers that have room now."""
    return max(sum(node.cpus // each for node in nodes), 1)


def _source(data: Any, job: Work, missing: set[str], here: Surroundings) -> Any:
    """What lists the missing pieces, in one task, as they are asked for."""
    import pyarrow as pa
    from ray.data.block import BlockMetadata

    class Pieces(data.Datasource):
        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, parallelism: int, *more: Any, **options: Any) -> list[Any]:
            unknown = BlockMetadata(None, None, None, None)
            return [data.ReadTask(_list_blocks, unknown)]

    def _list_blocks() -> Iterator[Any]:
        here.enter()
        for piece in job.pieces():
            if piece.digest in missing:
                yield pa.table({"piece": [pickle.dumps(_strip(piece))]})

    return Pieces()


def _strip(piece: Piece) -> Piece:
    """Without what keeps an unpacked archive there, which the job itself does."""
    return replace(piece, items=tuple(replace(item, hold=None) for item in piece.items))


@contextmanager
def _told() -> Iterator[None]:
    """An error of ours as it was, of which Ray keeps what Python would have printed."""
    try:
        yield
    except HeadstartError:
        raise
    except Exception as error:
        ours = OURS.findall(str(error))
        if ours:
            kind = getattr(errors, ours[-1][0])
            kind = HeadstartError if "__init__" in vars(kind) else kind  # made of other arguments
            raise kind(ours[-1][1]) from error
        reason = str(error).strip().splitlines()[-1]
        raise StorageError(
            f"expected the cluster to go on, found: {reason}. What is done is kept: type the same "
            "command again"
        ) from error
