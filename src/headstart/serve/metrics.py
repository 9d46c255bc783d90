"""What can be counted, in the form that Prometheus reads."""

from typing import TYPE_CHECKING, Any

from headstart.classifier import Prediction
from headstart.serve.models import Served

if TYPE_CHECKING:
    from headstart.serve.service import Service

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters of one server; several in one process do not mix."""

    def __init__(self, service: "Service") -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.service = service
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter(
            "headstart_requests", "Requests by route and status", ["route", "status"], **own
        )
        self._seconds = Histogram(
            "headstart_request_seconds", "From the first byte to the answer", ["route"],
            buckets=BUCKETS, **own,
        )  # fmt: skip
        self._answers = Counter(
            "headstart_answers", "Images by what was said", ["model", "answer"], **own
        )
        self._queue = Gauge("headstart_queue", "Images waiting or under way", ["lane"], **own)
        self._loaded = Gauge(
            "headstart_model_loaded_at", "Seconds since 1970", ["model", "version"], **own
        )
        self._failing = Gauge(
            "headstart_model_reload_failing", "1: the version on disk cannot be loaded", ["model"],
            **own,
        )  # fmt: skip
        labels = ["model"]
        self._windows = Gauge("headstart_drift_windows", "Windows compared", labels, **own)
        self._alarms = Gauge("headstart_drift_alarms", "Windows unlike the training", labels, **own)
        self._p = Gauge(
            "headstart_drift_p_value", "Of the last window: how likely without drift", labels, **own
        )

    def observe(self, route: str, status: int, seconds: float) -> None:
        """A request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count(self, served: Served, prediction: Prediction) -> None:
        """An image that was answered: its class, `not sure`, `none of these` or `error`."""
        said = "error" if prediction.error else prediction.silence or prediction.label or "none"
        self._answers.labels(served.name, said).inc()

    def show(self) -> bytes:
        """All of it as text."""
        from prometheus_client import generate_latest

        service = self.service
        for name, lane in (("quick", service.quick), ("slow", service.slow)):
            self._queue.labels(name).set(lane.accepted)
        self._loaded.clear()
        for served in service.models:
            self._loaded.labels(served.name, served.version).set(served.loaded_at)
            self._failing.labels(served.name).set(served.name in service.models.failures)
        for name, drift in service.drift.items():
            self._windows.labels(name).set(drift.windows)
            self._alarms.labels(name).set(drift.alarms)
            if drift.p_value is not None:
                self._p.labels(name).set(drift.p_value)
        return generate_latest(self.registry)
