"""What the server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
KIND = CONTENT_TYPE_LATEST


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        words = ("path", "status")
        self.requests = Counter(
            "counterpoise_requests", "Requests by path and status.", words, registry=self.registry
        )
        self.seconds = Histogram(
            "counterpoise_request_seconds",
            "From a request's headers to the end of its answer.",
            ("path",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.rows = Histogram(
            "counterpoise_batch_rows",
            "Rows that the model answered at once.",
            buckets=ROWS,
            registry=self.registry,
        )
        self.problems = Counter(
            "counterpoise_problem_rows",
            "Rows of which something could not be read.",
            registry=self.registry,
        )
        self.queue = Gauge(
            "counterpoise_queue_requests",
            "Requests that wait for the model.",
            registry=self.registry,
        )
        self.readers = Gauge(
            "counterpoise_reading_requests",
            "Requests that are being read, or wait for that.",
            registry=self.registry,
        )

    def note(self, path: str, status: int, seconds: float) -> None:
        """One request and its answer."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def write(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
