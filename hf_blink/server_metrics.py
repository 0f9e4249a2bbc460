"""What the server counts and times, in Prometheus' text format."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerMetrics:
    """Metrics of one server, in a registry of their own.

    Args:
        queue_length: gives the number of requests that wait for the model.
    """

    def __init__(self, queue_length: Callable[[], int]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "hf_blink_requests", "Requests that were answered.", ("path", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "hf_blink_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batch_texts = Histogram(
            "hf_blink_batch_texts",
            "Texts in a call of the model.",
            buckets=_TEXTS,
            registry=self._registry,
        )
        self.mentions = Counter(
            "hf_blink_mentions_linked", "Mentions linked to an entity.", registry=self._registry
        )
        waiting = Gauge(
            "hf_blink_queue_requests", "Requests that wait for the model.", registry=self._registry
        )
        waiting.set_function(queue_length)

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self._registry)


class MeasureRequests:
    """ASGI middleware: counts and times requests by the path of their route, so that ids make no new series.

    Args:
        app: the application.
        metrics: where to count.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics):
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500  # where the application fails before it answers

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            path = getattr(scope.get("route"), "path_format", "other")
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)
