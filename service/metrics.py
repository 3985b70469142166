"""What the service counts, in a Prometheus registry of its own, so that two applications never share a count."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from service.engine import Engine

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "digitscope_requests", "Requests answered.", ("route", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "digitscope_request_seconds",
            "Time from a request's head to its answer's end.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.refusals = Counter(
            "digitscope_refusals", "Requests refused, by reason.", ("reason",), registry=self.registry
        )
        self.batches = Histogram(
            "digitscope_batch_images", "Images in a batch of the engine.", buckets=_IMAGES, registry=self.registry
        )
        self.predictions = Counter("digitscope_predictions", "Digits predicted.", ("digit",), registry=self.registry)
        self.ready = Gauge("digitscope_ready", "Whether predictions are answered.", registry=self.registry)
        self.fallback = Gauge(
            "digitscope_provider_fallback",
            "Whether provider=auto had to do without a GPU.",
            registry=self.registry,
        )
        self._model = Info("digitscope_model", "The model that serves.", registry=self.registry)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def describe(self, engine: Engine) -> None:
        """Says which model serves, and on what."""
        manifest = engine.manifest
        self._model.info(
            {
                "name": manifest.name,
                "version": manifest.version,
                "sha256": manifest.sha256,
                "provider": engine.provider,
                "threads": str(engine.threads),
            }
        )
        self.fallback.set(engine.fallback is not None)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
