"""The service's counts in Prometheus' text format.

Names and types follow https://prometheus.io/docs/practices/naming/. What processes use is the sum over all workers.
"""

from collections.abc import Iterator
from functools import partial
from itertools import accumulate, product

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from service.metrics import CHANGES, CONFIDENCES, METHODS, REASONS, RUN_STAGES, SECONDS, STAGES, STATUSES, Metrics
from service.rejection import REASONS as REJECTIONS

_OF = ("model", "version")
_TRITON = {
    "request_success": "Requests for predictions that were answered.",
    "request_failure": "Requests for predictions that failed or were refused.",
    "count": "Images predicted.",
    "exec_count": "Runs of the engine.",
    "request_duration_us": "Microseconds of all requests together.",
    "queue_duration_us": "Microseconds that all requests waited for the engine.",
    "compute_input_duration_us": "Microseconds of putting together what the engine is given.",
    "compute_infer_duration_us": "Microseconds of the engine's runs.",
    "compute_output_duration_us": "Microseconds of taking apart what it gave.",
}
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # upper bounds of buckets
_SUMMED = ("process_cpu_seconds", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds")


def exposition(metrics: Metrics) -> bytes:
    """Everything that is counted."""
    registry = CollectorRegistry()
    registry.register(_Counts(metrics))
    PlatformCollector(registry=registry)
    return generate_latest(registry)


class _Counts(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """All metrics, from one reading of the tally."""
        metrics = self._metrics
        totals = metrics.totals()
        requests = CounterMetricFamily(
            "digitscope_requests", "Requests answered.", labels=("route", "method", "status")
        )
        counts = metrics.requests.of(totals).reshape(-1)
        for labels, count in zip(product(metrics.routes, METHODS, STATUSES), counts, strict=True):
            if count:
                requests.add_metric([str(label) for label in labels], count)
        yield requests

        seconds = HistogramMetricFamily(
            "digitscope_request_seconds", "Time from a request's head to its answer's end.", labels=("route",)
        )
        for route, row in zip(metrics.routes, metrics.seconds.of(totals), strict=True):
            if row.any():
                seconds.add_metric((route,), _buckets(SECONDS, row[:-1]), row[-1])
        yield seconds

        refusals = CounterMetricFamily("digitscope_refusals", "Requests refused, by reason.", labels=("reason",))
        for reason, count in zip(REASONS, metrics.refusals.of(totals), strict=True):
            refusals.add_metric((reason,), count)
        yield refusals

        waits = HistogramMetricFamily("digitscope_queue_seconds", "Time until the engine begins with a request.")
        counted = metrics.waits.of(totals)
        waits.add_metric((), _buckets(SECONDS, counted[:-1]), counted[-1])
        yield waits

        runs = metrics.all_runs(totals)[:, 0]
        images = np.arange(len(runs))
        batches = HistogramMetricFamily("digitscope_batch_images", "Images in a run of the engine.")
        placed = np.zeros(len(_IMAGES) + 1)
        np.add.at(placed, np.searchsorted(_IMAGES, images), runs)
        batches.add_metric((), _buckets(_IMAGES, placed), float(images @ runs))
        yield batches

        digits = CounterMetricFamily("digitscope_predictions", "Digits predicted.", labels=("digit",))
        for digit, count in enumerate(metrics.digits.of(totals)):
            digits.add_metric((str(digit),), count)
        yield digits

        confidences = HistogramMetricFamily("digitscope_confidence", "The confidence of digits predicted.")
        counted = metrics.confidences.of(totals)
        confidences.add_metric((), _buckets(CONFIDENCES, counted[:-1]), counted[-1])
        yield confidences

        rejections = CounterMetricFamily(
            "digitscope_rejections", "Digits predicted and rejected, by reason.", labels=("reason",)
        )
        for reason, count in zip(REJECTIONS, metrics.rejections.of(totals), strict=True):
            rejections.add_metric((reason,), count)
        yield rejections

        changes = CounterMetricFamily(
            "digitscope_model_changes", "Versions loaded, let go and refused while serving.", labels=("outcome",)
        )
        for outcome, count in zip(CHANGES, metrics.changes.of(totals), strict=True):
            changes.add_metric((outcome,), count)
        yield changes

        yield GaugeMetricFamily(
            "digitscope_ready", "Whether the worker that tells this answers predictions.", float(metrics.ready)
        )
        pids = metrics.pids()
        yield GaugeMetricFamily("digitscope_workers", "Processes that serve.", len(pids))
        yield from self._model()
        yield from self._as_triton()
        yield from _processes(pids)

    def _model(self) -> Iterator[Metric]:
        engine = self._metrics.engine
        if engine is None:
            return
        manifest = engine.manifest
        images = CounterMetricFamily(
            "digitscope_version_images", "Images that each version that is served has predicted.", labels=("version",)
        )
        for version in self._metrics.served:
            runs = self._metrics.statistics(version).runs[:, 0]
            images.add_metric((version,), float(np.arange(len(runs)) @ runs))
        yield images
        yield GaugeMetricFamily(
            "digitscope_provider_fallback",
            "Whether provider=auto had to do without a GPU.",
            float(engine.fallback is not None),
        )
        yield InfoMetricFamily(
            "digitscope_model",
            "The model that serves.",
            {
                "name": manifest.name,
                "version": manifest.version,
                "sha256": manifest.sha256,
                "provider": engine.provider,
                "precision": engine.precision,
                "runtime": engine.runtime,
                "threads": str(engine.threads),
            },
        )

    def _as_triton(self) -> Iterator[Metric]:
        """What dashboards for Triton ask for, of each version that is served, under the names that it has there.

        https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md; its counters do not end
        by `_total`, as Prometheus' own have to, and so are told without a type.
        """
        engine = self._metrics.engine
        if engine is None:
            return
        families = {
            name: UnknownMetricFamily(f"nv_inference_{name}", text, labels=_OF) for name, text in _TRITON.items()
        }
        for version in self._metrics.served:
            found = self._metrics.statistics(version)
            runs = found.runs[:, 0]
            stages = dict(zip(STAGES, found.stages.tolist(), strict=True))
            values = {
                "request_success": stages["success"][0],
                "request_failure": stages["fail"][0],
                "count": float(np.arange(len(runs)) @ runs),
                "exec_count": float(runs.sum()),
                "request_duration_us": (stages["success"][1] + stages["fail"][1]) * 1e6,
                **{f"{stage}_duration_us": stages[stage][1] * 1e6 for stage in ("queue", *RUN_STAGES)},
            }
            for name, value in values.items():
                families[name].add_metric((engine.manifest.name, version), value)
        yield from families.values()


def _buckets(bounds: tuple[float, ...], counts: NDArray[np.float64]) -> list[tuple[str, float]]:
    """Prometheus' buckets, each with what is in those below it too."""
    names = (*(str(float(bound)) for bound in bounds), "+Inf")
    return list(zip(names, accumulate(counts.tolist()), strict=True))


def _processes(pids: list[int]) -> Iterator[Metric]:
    """What all processes use together; of their starts the earliest, of their limits the least."""
    families: dict[str, Metric] = {}
    for pid in pids:
        for family in ProcessCollector(registry=None, pid=partial(int, pid)).collect():
            known = families.setdefault(family.name, family)
            if known is not family and family.samples:
                own, other = known.samples[0], family.samples[0]
                together = sum if family.name in _SUMMED else min
                known.samples[0] = own._replace(value=together((own.value, other.value)))
    yield from families.values()
