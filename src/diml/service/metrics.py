"""What the service counts and measures, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE

__all__ = ["MEDIA_TYPE", "STAGES", "Metrics"]

STAGES = ("decode", "embed", "coarse", "fetch", "match", "explain")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER = "other"

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one application, in a registry of its own.

    No label takes a value that a client chooses: unknown paths and methods count as `other`.

    >>> metrics = Metrics()
    >>> metrics.request("/health", "GET", 200, seconds=0.01)
    >>> metrics.value("diml_requests_total", route="/health", method="GET", status="200")
    1.0
    """

    def __init__(self) -> None:
        self.registry = to = CollectorRegistry()
        ProcessCollector(registry=to)
        self._requests = Counter("diml_requests", "Requests answered.", ["route", "method", "status"], registry=to)
        self._request_seconds = Histogram(
            "diml_request_seconds", "From a request to the end of its answer.", ["route"], registry=to, buckets=SECONDS
        )
        self._running = Gauge("diml_requests_running", "Requests that are being answered.", registry=to)
        self._refused = Counter("diml_requests_refused", "Requests refused because the queue was full.", registry=to)
        self._stage_seconds = Histogram(
            "diml_stage_seconds", "Of a stage of a request; embed: of a batch.", ["stage"], registry=to, buckets=SECONDS
        )
        self._batches = Histogram("diml_batch_images", "Images embedded together.", registry=to, buckets=SIZES)
        self._queue = Gauge("diml_queue_requests", "Requests that are in work or wait.", registry=to)
        self._jobs = Counter("diml_jobs", "Jobs that ended.", ["kind", "state"], registry=to)
        self._jobs_open = Gauge("diml_jobs_open", "Jobs that run or wait.", registry=to)
        for stage in STAGES:  # a stage that has not happened yet is stated as 0
            self._stage_seconds.labels(stage)

    def request(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered.

        Args:
            route: the template, such as `/v1/indexes/{name}`; None for a path that is no route.
            method, status: of the request and its answer.
            seconds: until the end of the answer.
        """
        route = route or OTHER
        self._requests.labels(route, method if method in METHODS else OTHER, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a request as running within the block."""
        with self._running.track_inprogress():
            yield

    def refused(self) -> None:
        """Count a request that was refused because the queue was full."""
        self._refused.inc()

    def stage(self, name: str, seconds: float) -> None:
        """Note how long a stage took, one of `STAGES`.

        Raises:
            ValueError: there is no such stage.
        """
        if name not in STAGES:
            raise ValueError(f"expected a stage, one of {', '.join(STAGES)}, got {name!r}")
        self._stage_seconds.labels(name).observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """Note the images that were embedded together, and how long that took."""
        self._batches.observe(size)
        self.stage("embed", seconds)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Ask `length` for the requests that are in work or wait, whenever the metrics are read."""
        self._queue.set_function(length)

    def watch_jobs(self, number: Callable[[], int]) -> None:
        """Ask `number` for the jobs that run or wait, whenever the metrics are read."""
        self._jobs_open.set_function(number)

    def job(self, kind: str, state: str) -> None:
        """Count a job that ended: kind `add` or `remove`, state `done` or `failed`."""
        self._jobs.labels(kind, state).inc()

    def value(self, name: str, **labels: str) -> float:
        """One number as it is now, 0 where nothing was noted yet."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def render(self) -> bytes:
        """All of them in the text format of Prometheus, whose media type is `MEDIA_TYPE`."""
        return generate_latest(self.registry)
