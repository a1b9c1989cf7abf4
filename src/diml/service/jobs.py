"""Jobs that change an index: one after the other for each index, with their progress."""

from __future__ import annotations

import copy
import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from diml.embedding import Pixels
from diml.errors import DimlError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel
from diml.search import AddReport
from diml.service.logs import LOGGER
from diml.service.metrics import Metrics
from diml.service.problems import RequestError

State = Literal["waiting", "running", "done", "failed"]
# Jobs that ended are remembered so long, and no more than so many of them.
SECONDS = 3600.0
JOBS = 1000
# Jobs that wait for others, for all indices together; each holds its uploads on the disk.
WAITING = 16
STOPPED = "the service was stopped; what was committed is kept, so send the rest again"

_logger = logging.getLogger(LOGGER)


class Stopped(Exception):  # noqa: N818 -- not an error: it ends a job between two batches
    """The service stops."""


@dataclass
class Job:
    """A change of an index.

    Attributes:
        id: of the job.
        index: name of the index.
        kind: add or remove.
        done, total: images.
        report: what was done, once it is.
        error: why it failed, in one sentence.
    """

    index: str
    kind: Literal["add", "remove"]
    total: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = "waiting"
    done: int = 0
    report: dict[str, Any] | None = None
    error: str | None = None
    ended: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The job as the service states it."""
        names = ("id", "index", "kind", "state", "done", "total", "report", "error")
        return {name: getattr(self, name) for name in names}


class Jobs:
    """The jobs of a service.

    Args:
        metrics: counts those that ended.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._changing = threading.Lock()
        self.stopping = threading.Event()
        metrics.watch_jobs(lambda: sum(job.ended is None for job in self._jobs.values()))

    def find(self, id: str) -> Job | None:
        """The job of an id; None where there is none, or none any more."""
        return self._jobs.get(id)

    @property
    def waiting(self) -> int:
        """Jobs that have not ended."""
        with self._changing:
            return sum(job.ended is None for job in self._jobs.values())

    def check_free(self) -> None:
        """Refuse a job that could not begin.

        Raises:
            RequestError: 429, too many wait; 503, the service stops.
        """
        if self.stopping.is_set():
            raise RequestError(503, "the service is stopping; send this again later", {"retry-after": "5"})
        if self.waiting >= WAITING:
            raise RequestError(429, f"{self.waiting} jobs wait already; send this one later", {"retry-after": "5"})

    def start(
        self,
        job: Job,
        work: Callable[[Callable[[int, int], None]], dict[str, Any]],
        discard: Callable[[], None] = lambda: None,
    ) -> None:
        """Do the work when the jobs before it on the same index have ended.

        Args:
            work: gets a function that takes the progress, and returns the report.
            discard: called if the service stops before the work begins.

        Raises:
            RequestError: as `check_free`.
        """
        self.check_free()

        def ended(future: Future[None]) -> None:
            if future.cancelled():
                discard()
                self._end(job, "failed", STOPPED)

        with self._changing:
            self._forget()
            self._jobs[job.id] = job
            thread = self._threads.setdefault(job.index, ThreadPoolExecutor(1, thread_name_prefix="diml-write"))
            thread.submit(self._run, job, work).add_done_callback(ended)

    def close(self) -> None:
        """Let the jobs that run stop after their batch; those that wait do not begin."""
        self.stopping.set()
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, job: Job, work: Callable[[Callable[[int, int], None]], dict[str, Any]]) -> None:
        job.state = "running"

        def progress(done: int, total: int) -> None:
            job.done, job.total = done, total
            if self.stopping.is_set():
                raise Stopped

        try:
            job.report = work(progress)
            job.done = job.total
            self._end(job, "done")
        except Stopped:
            self._end(job, "failed", STOPPED)
        except DimlError as error:
            self._end(job, "failed", str(error))
        except OSError as error:
            place = error.filename or job.index
            self._end(job, "failed", f"{place}: {error.strerror or error}; free some space, and send it again")
        except Exception:
            _logger.exception("unexpected error in a job", extra={"fields": {"job": job.id, "index": job.index}})
            self._end(job, "failed", "an unexpected error, which is in the log of the service under this job")

    def _end(self, job: Job, state: State, error: str | None = None) -> None:
        job.error, job.state, job.ended = error, state, time.monotonic()
        self._metrics.job(job.kind, job.state)
        fields = {"job": job.id, "index": job.index, "kind": job.kind, "state": job.state, "images": job.done}
        _logger.info("job ended", extra={"fields": fields})

    def _forget(self) -> None:
        now = time.monotonic()
        ended = [job for job in self._jobs.values() if job.ended is not None]
        spare = len(self._jobs) - JOBS + 1
        for at, job in enumerate(ended):
            if at < spare or now - (job.ended or now) > SECONDS:
                del self._jobs[job.id]


def as_dict(report: AddReport) -> dict[str, Any]:
    """The report of adding as plain values."""
    return {**asdict(report), "skipped": [asdict(each) for each in report.skipped]}


def embedding_in(thread: ThreadPoolExecutor, model: StructuralModel) -> StructuralModel:
    """The model, embedding in a thread that others use as well, batch by batch in the order in which they come.

    So a long job and the searches meanwhile do not compete for the cores, and wait for one batch of the other at most.
    """
    encoder = copy.copy(model.encoder)
    embed = model.encoder.embed

    def embed_in_turn(pixels: list[Pixels]) -> FeatureMaps:
        try:
            return thread.submit(embed, pixels).result()
        except (CancelledError, RuntimeError) as error:
            if "shutdown" in str(error) or isinstance(error, CancelledError):
                raise Stopped from error
            raise

    encoder.embed = embed_in_turn  # type: ignore[method-assign,assignment]
    return model.replace(encoder=encoder)
