"""Embedding parts with Ray Data: actors on one machine or many, each with an encoder of its own.

The dataset is one of parts, each a block by itself; an actor embeds a part and writes its files,
and what comes back is a line on what became of it. So no image and no vector passes through Ray. An
actor that dies is started again as often as it takes, as Ray Data does it unless told otherwise,
and the part it was at is given out again.
"""

import logging
import os
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from clipkit.bulk_embedding.output_folder import OutputFolder
from clipkit.bulk_embedding.part_files import Layout
from clipkit.bulk_embedding.part_worker import PartResult, PartWorker
from clipkit.bulk_embedding.parts import Part
from clipkit.encoder.pool_worker import EncoderOrder
from clipkit.errors import ClipkitError, InputError, MissingExtraError

_CORES_A_WORKER = 4  # beyond them, more workers are faster than larger ones
# Ray tells its makers of its use unless it is told not to, and prints bars and logs of its own.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Warnings of its core, which no Python logger holds back; that they are is the one line left.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


@dataclass(frozen=True)
class RayWorkers:
    """Which workers do the work."""

    number: int | None = None  # None: by the processors of the cluster
    gpus_each: float = 0.0
    address: str | None = None  # of a cluster; None: one is started here, for this work


def check_is_installed() -> None:
    """Raise unless Ray Data can be imported.

    Raises:
        MissingExtraError: If it is not installed.
    """
    _import_ray()


def embed_with_ray(
    worker: PartWorker,
    parts: Sequence[Part],
    tick: Callable[[int], None],
    workers: RayWorkers,
) -> Generator[PartResult]:
    """Yield what became of parts.

    Args:
        worker: Workers like this one embed them, each loads the encoder anew.
        parts: The parts.
        tick: Called with how many more images are done.
        workers: How many, and where.

    Yields:
        One result a part, in the order in which they are done.

    Raises:
        ClipkitError: If a worker cannot load the encoder or write, or the cluster has no room for
            the workers.
        MissingExtraError: If Ray is not installed.
    """
    ray = _import_ray()
    orders = _WorkerOrder.of(worker, gpus=workers.gpus_each)
    with _cluster(ray, workers.address):
        number, cores = _share(ray, workers, len(parts))
        orders = replace(orders, threads=cores)
        rows = [{"part": pickle.dumps(part)} for part in parts]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            batch_size=1,
            fn_constructor_args=(orders,),
            # One at a time: what an actor has in its queue, another one that is idle does not get.
            compute=ray.data.ActorPoolStrategy(size=number, max_tasks_in_flight_per_actor=1),
            num_cpus=cores if not workers.gpus_each else 1,
            num_gpus=workers.gpus_each or None,
        )
        try:
            for row in dataset.iter_rows():
                result: PartResult = pickle.loads(row["result"])
                tick(result.num_embedded + result.num_unread)
                yield result
        except ray.exceptions.RayError as error:
            raise _reworded(error) from error


@dataclass(frozen=True)
class _WorkerOrder:
    """What an actor makes its worker of."""

    encoder: EncoderOrder
    location: str  # of the output folder
    layout: Layout
    about: dict[str, Any]
    threads: int = 1

    @classmethod
    def of(cls, worker: PartWorker, *, gpus: float) -> "_WorkerOrder":
        """Return an order for workers like one."""
        encoder = worker.encoder
        spec = encoder.spec
        if gpus and not spec.device.startswith("cuda"):
            # The machine that shares out the work may have none.
            spec = replace(spec, engine="torch", device="cuda", precision="auto")
        elif spec.device.startswith("cuda"):
            spec = replace(spec, device="cuda")  # Ray shows each actor its own
        order = EncoderOrder(spec, encoder.max_pixels, encoder.batch_size, encoder.decode)
        location = os.path.abspath(worker.folder.location)  # noqa: PTH100 - or a URL
        if worker.folder.is_remote:
            location = worker.folder.location
        return cls(order, location, worker.layout, worker.about)


class _Actor:
    """A worker with one encoder."""

    def __init__(self, order: _WorkerOrder) -> None:
        encoder = order.encoder.spec.load()
        encoder.max_pixels, encoder.batch_size = order.encoder.max_pixels, order.encoder.batch_size
        encoder.decode = order.encoder.decode
        folder = OutputFolder(order.location)
        self._worker = PartWorker(encoder, folder, order.layout, order.about, order.threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Embed the parts of a batch."""
        results = [self._worker.embed(pickle.loads(part)) for part in batch["part"]]
        return {"result": [pickle.dumps(result) for result in results]}


def _share(ray: Any, workers: RayWorkers, num_parts: int) -> tuple[int, int]:
    """Return how many workers there are, and how many threads each has."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(resources.get("CPU", 0)) for resources in found]
    gpus = [float(resources.get("GPU", 0)) for resources in found]
    return share_nodes(cores, gpus, workers, num_parts)


def share_nodes(
    cores: Sequence[int], gpus: Sequence[float], workers: RayWorkers, num_parts: int
) -> tuple[int, int]:
    """Share out the machines of a cluster.

    Args:
        cores: Of each machine.
        gpus: Of each machine.
        workers: What was asked for.
        num_parts: How many parts there are to do: more workers would have nothing to do.

    Returns:
        How many workers there are, and how many cores each has, so that all of them fit.

    Raises:
        InputError: If there is no room for so many.
    """
    each = workers.gpus_each
    places = sum(int(there / each + 1e-9) for there in gpus) if each else sum(cores)
    usual = places if each else max(sum(cores) // _CORES_A_WORKER, 1)
    number = min(workers.number or usual, num_parts)
    if (each and number > places) or not number:
        raise InputError(
            f"{max(number, 1)} workers with {each:g} of a GPU each do not fit on the "
            f"{sum(gpus):g} GPUs that Ray knows of: take fewer --workers or less --gpus-per-worker"
        )
    for count in range(max(sum(cores) // number, 1), 0, -1):
        if sum(there // count for there in cores) >= number:
            return number, count
    raise InputError(
        f"{number} workers need a core each, and Ray knows of {sum(cores)}: take fewer --workers"
    )


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one for as long as the block runs."""
    if ray.is_initialized():  # the caller's own
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"at {address}" if address else "here"
        raise ClipkitError(f"Ray cannot be reached or started {where}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _reworded(error: Exception) -> ClipkitError:
    """Return an error of a worker's as one of clipkit's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ClipkitError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    return ClipkitError(f"Ray gave up: {last[0]}")


def _import_ray() -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "Embedding with Ray's workers") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
