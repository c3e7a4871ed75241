"""What Prometheus is told: requests, batches, what waits; of all workers together."""

import os
from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that says where workers keep their numbers for each other."""

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerMetrics:
    """The numbers of one worker.

    prometheus_client keeps them in files where the environment names a directory for that, when it
    is first imported.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        if DIRECTORY not in os.environ:
            ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "clipkit_requests_total",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "clipkit_request_seconds",
            "From the head of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._under_way = Gauge(
            "clipkit_requests_under_way",
            "Requests that are not answered yet.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self._batch_sizes = Histogram(
            "clipkit_batch_size",
            "Texts or images that went through the model together.",
            ("kind",),
            buckets=_SIZES,
            registry=self._registry,
        )
        self._batch_seconds = Histogram(
            "clipkit_batch_seconds",
            "What the model took for a batch.",
            ("kind",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._is_ready = Gauge(
            "clipkit_ready_workers",
            "Workers that have a model and are not ending.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )

    def begin_request(self) -> None:
        """Count a request that has come."""
        self._under_way.inc()

    def end_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._under_way.dec()
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batches_of(self, kind: str) -> Callable[[int, float], None]:
        """Return what counts the batches of texts or of images."""
        sizes, seconds = self._batch_sizes.labels(kind), self._batch_seconds.labels(kind)

        def observe(size: int, took: float) -> None:
            sizes.observe(size)
            seconds.observe(took)

        return observe

    def set_ready(self, *, is_ready: bool) -> None:
        """Say whether this worker is ready."""
        self._is_ready.set(float(is_ready))

    def page(self) -> bytes:
        """Return the numbers in Prometheus' text form: of all workers, where there are several."""
        registry = self._registry
        if DIRECTORY in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
