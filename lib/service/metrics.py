"""What the service counts, for Prometheus. No file name and no content is in it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.6, 1, 2, 5, 10, 30, 60, 300)
OTHER = "other"


class ServiceMetrics:
    """The counters of one service, in a registry of its own."""

    def __init__(self, paths: tuple[str, ...] = ()) -> None:
        self._registry = CollectorRegistry()
        self._paths = paths
        name = "transferscope"
        self._requests = Counter(
            f"{name}_requests", "Requests by path and status.", ("path", "status"), registry=self._registry
        )
        self._turned_away = Counter(
            f"{name}_requests_turned_away", "Requests that got no answer, by status.", ("status",),
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            f"{name}_request_seconds", "Seconds from request to answer.", ("path",), buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._images = Counter(f"{name}_images", "Images by what became of them.", ("status",), registry=self._registry)
        self.waiting = Gauge(f"{name}_waiting", "Gradings that are received, wait or run.", registry=self._registry)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count one request; paths that there are not are counted together."""
        path = path if path in self._paths else OTHER
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)
        if status >= 400:
            self._turned_away.labels(str(status)).inc()

    def count_image(self, status: str) -> None:
        """Count one image by the status of its verdict."""
        self._images.labels(status).inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
