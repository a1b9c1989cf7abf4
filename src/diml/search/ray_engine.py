"""The engine that embeds images on a Ray cluster (extra `ray`).

The workers read the images, embed them and compute the rows; this process, the driver, stores the rows as they come, by
the same writer and under the same lock as if it had embedded them. Workers write nothing: one whose process ends costs
its task, which another does again, and there are no files to clean up.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from diml.errors import StoreError, UsageError, first_line
from diml.search.engine import Embedded, Work
from diml.search.items import Item

MISSING = "the engine ray needs more packages: pip install 'diml[ray]'"
# Batches in a task, at most: enough that decoding overlaps with the model, few enough that a lost task costs little.
BATCHES = 4
# Tasks for each worker, at least, where there are images enough: so that all finish at the same time.
TASKS = 8
# How often a task is done again after the process that did it ended: an image may be what ends it.
RETRIES = 3
# Bytes of shared memory of a cluster that is started here. What does not fit lies in files.
OBJECT_STORE = 512 << 20
# Seconds in which a cluster has to answer.
ANSWER = 5.0
# Of a cluster that is started here: no token in the home folder, no reports to others, loopback only.
OWN = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Pool:
    """The workers.

    Attributes:
        workers: how many.
        cpus: reserved for each, and the number of its threads.
        gpus: reserved for each: 0 or 1.
    """

    workers: int
    cpus: int
    gpus: int

    @classmethod
    def of(cls, machines: Sequence[Mapping[str, float]], workers: int | None) -> Pool:
        """A worker for each GPU, or each CPU where there is no GPU; the CPUs are shared out.

        Args:
            machines: what each has, as Ray names it: CPU, GPU.
            workers: how many, if not as many as there can be.

        Raises:
            UsageError: more than there can be.

        >>> Pool.of([{"CPU": 16}], None), Pool.of([{"CPU": 16}, {"CPU": 8}], 4)
        (Pool(workers=16, cpus=1, gpus=0), Pool(workers=4, cpus=5, gpus=0))
        >>> Pool.of([{"CPU": 16, "GPU": 2}, {"CPU": 8}], None)
        Pool(workers=2, cpus=8, gpus=1)
        """
        gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
        used = [machine for machine in machines if machine.get("GPU", 0) >= 1] if gpus else machines
        kind = "GPU" if gpus else "CPU"
        most = sum(int(min(machine.get(kind, 0), machine.get("CPU", 0))) for machine in used)
        if workers is None:
            workers = most
        if not 1 <= workers <= most:
            raise UsageError(f"expected 1 to {most} workers, one for each {kind} of the cluster, got {workers}")

        def room(cpus: int) -> int:
            """Workers that fit with so many CPUs each."""
            each = (int(machine.get("CPU", 0)) // cpus for machine in used)
            return sum(min(n, int(m["GPU"])) if gpus else n for n, m in zip(each, used, strict=True))

        cpus = max(c for c in range(1, int(max(m.get("CPU", 0) for m in used)) + 1) if room(c) >= workers)
        return cls(workers, cpus, min(gpus, 1))


@dataclass
class RayEngine:
    """A Ray cluster: one that runs already, or one of this machine that is started and stopped here.

    Use it as a context manager, for any number of indices:

        with RayEngine(workers=2) as engine:
            Index.create("photos.diml").add("photos", engine=engine)

    Where this process is connected to a cluster already (`ray.init`), that one is used and left as it is.

    Args:
        address: HOST:PORT of the cluster, or "auto" for the one that this machine belongs to; None to start one here,
            which listens on the loopback interface only. This machine has to belong to the cluster. All machines need
            diml, in the same version, and the images under the same paths; the index is read and written here alone.
        workers: number of processes that embed; by default one for each GPU, or for each CPU where there is no GPU.

    Raises:
        UsageError: on entering: the extra is not installed, or too many workers.
        StoreError: on entering: the cluster does not answer.
    """

    address: str | None = None
    workers: int | None = None
    pool: Pool = field(init=False, repr=False)
    _open: ExitStack | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"expected at least 1 worker, got {self.workers}")
        if self.address is not None and self.address != "auto":
            _host_and_port(self.address)

    def __enter__(self) -> RayEngine:
        with ExitStack() as stack:
            ray = stack.enter_context(_connected(self.address, self.workers))
            stack.enter_context(_quiet())
            self.pool = Pool.of([node["Resources"] for node in _nodes(ray) if node["Alive"]], self.workers)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def blocks(self, work: Work) -> Generator[Embedded, None, None]:
        """See `Engine`.

        Raises:
            StoreError: the cluster fails, or a task ended its worker again and again.
        """
        if self._open is None:
            raise UsageError(
                "expected a Ray engine that is running; use it as a context manager: with RayEngine() as engine"
            )
        if not work.items:
            return
        import ray

        tasks = _parts(work.items, work.batch_size, self.pool.workers)
        done: set[int] = set()
        try:
            for number, answer in self._answers(work, tasks):
                if number in done:
                    continue
                done.add(number)
                block, left, backends = answer.read(tasks[number])
                work.ran(backends)
                for item, state in left:
                    work.leave(item, state)
                if len(block) or block.failures:
                    yield block
        except ray.exceptions.RayError as error:
            raise _failure(error, [part for number, part in enumerate(tasks) if number not in done]) from error
        if len(done) < len(tasks):
            raise StoreError(f"the cluster left out {len(tasks) - len(done)} of {len(tasks)} tasks; run it again")

    def _answers(self, work: Work, tasks: Sequence[Sequence[Item]]) -> Iterator[tuple[int, Any]]:
        import ray

        from diml.search.ray_worker import Embedder, Setup, task
        from diml.search.row_block import Answer

        setup = ray.put(Setup.of(work, self.pool.cpus))
        rows = [
            {"number": number, "task": task(part, [work.stored_hash(item) for item in part])}
            for number, part in enumerate(tasks)
        ]
        first = min(self.pool.workers, len(tasks))
        with warnings.catch_warnings():
            # The limit of retries has no other name yet; without it an image that ends its worker would do so forever.
            warnings.filterwarnings("ignore", message=".*ray_remote_args", category=DeprecationWarning)
            embedded = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                Embedder,
                fn_constructor_args=([setup],),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.pool.workers, initial_size=first),
                num_cpus=self.pool.cpus,
                num_gpus=self.pool.gpus,
                max_restarts=-1,
                max_task_retries=RETRIES,
            )
        embedded.context.enable_progress_bars = False
        for batch in embedded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            arrived: Any = batch  # a pyarrow.Table, as asked
            for row in arrived.to_pylist():
                yield row["number"], Answer(row["about"], row["columns"])


def _parts(items: Sequence[Item], batch_size: int, workers: int) -> list[Sequence[Item]]:
    """Tasks: up to four batches each, and less where that leaves some workers without any."""
    fair = math.ceil(len(items) / (TASKS * workers))
    least = min(batch_size, math.ceil(len(items) / workers))
    size = min(max(fair, least), BATCHES * batch_size)
    return [items[at : at + size] for at in range(0, len(items), size)]


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[ModuleType]:
    """Ray, connected; afterwards disconnected, and stopped if it was started here."""
    with ExitStack() as stack:
        if address is None:
            stack.enter_context(_environment(OWN))  # some of it is read when Ray is imported
        try:
            import ray
            import ray.data
        except ModuleNotFoundError as error:
            raise UsageError(MISSING) from error
        if ray.is_initialized():
            yield ray
            return
        if address not in (None, "auto"):
            assert address is not None
            _check_answers(address)
        stack.callback(ray.shutdown)
        if address is None:
            own = stack.enter_context(_temporary_folder())
            stack.callback(ray.shutdown)  # before its folder is removed
            _init(ray, f"cannot be started here; see {own}", **_own(own, workers))
            if any(node["NodeManagerAddress"] != LOOPBACK for node in _nodes(ray)):
                raise UsageError(
                    "Ray was imported before the engine was entered and would listen on the network; set "
                    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before it is imported, or connect by ray.init yourself"
                )
        else:
            _init(ray, f"at {address} cannot be used", address=address)
        yield ray


def _own(folder: Path, workers: int | None) -> dict[str, Any]:
    """How a cluster of this machine alone is started."""
    return {
        "address": "local",
        "num_cpus": max(workers or 0, os.cpu_count() or 1),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE,
        "_node_ip_address": LOOPBACK,
        "_temp_dir": str(folder),
    }


def _init(ray: ModuleType, problem: str, **options: Any) -> None:
    try:
        with warnings.catch_warnings():
            # Said in the child between its fork and the start of one of Ray's programs, which use no index.
            warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        raise StoreError(f"the Ray cluster {problem} ({first_line(error)})") from error


def _nodes(ray: Any) -> list[dict[str, Any]]:
    """The machines of the cluster; Ray gives this function no types."""
    return list(ray.nodes())


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            f'expected the address of a Ray cluster as HOST:PORT, such as 10.0.0.1:6379, or "auto", got {address!r}'
        )
    return host.strip("[]"), int(port)


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    try:
        socket.create_connection(_host_and_port(address), timeout=ANSWER).close()
    except OSError as error:
        raise StoreError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); start it there with ray start --head, "
            "or give another address"
        ) from error


def _failure(error: BaseException, parts: Sequence[Sequence[Item]]) -> StoreError:
    """One sentence for what Ray raised.

    Args:
        parts: the tasks that are not done.
    """
    text = str(error)
    if "No module named 'diml" in text:
        return StoreError("diml is not installed on a machine of the cluster; install the same version on all of them")
    if "died" in text or "unavailable" in text.lower():
        left = [item.path for part in parts for item in part]
        return StoreError(
            f"the workers of the cluster ended {RETRIES + 1} times at one task, for lack of memory or at an image that "
            f"ends them; what they had embedded is stored, {len(left)} images are left, the first is {left[0]}"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return StoreError(f"the cluster failed ({lines[-1][:200] if lines else type(error).__name__}); run it again")


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data writes to its own files only."""
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that are set meanwhile, for this process and those it starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder with a short name, as the names of sockets in it are limited to 107 bytes."""
    usual = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="diml-ray-", dir=usual if len(usual) <= 30 else "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
