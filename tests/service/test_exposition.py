"""The counts as Prometheus reads them."""

import json
import mmap
import os
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.engine import Engine
from service.exposition import exposition
from service.manifest import Manifest
from service.metrics import CONFIDENCES, REASONS, SECONDS, Metrics
from service.tally import Tally, shared_rows


def families(metrics: Metrics) -> dict[str, Metric]:
    """All metrics by name, read by Prometheus' own parser, which knows none twice."""
    found = list(text_string_to_metric_families(exposition(metrics).decode()))
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def samples(metrics: Metrics, name: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of one metric by name and labels, none of them twice."""
    found = families(metrics)[name].samples
    by_labels = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}
    assert len(by_labels) == len(found)
    return by_labels


@pytest.fixture
def metrics() -> Metrics:
    """Metrics that have counted nothing yet."""
    return Metrics(Tally(), ("/a", "/b"), 32)


def test_nothing_counted_is_valid_text(metrics: Metrics) -> None:
    """Every metric has a type and a sentence; what is one of few labels is there with zero from the start."""
    found = families(metrics)
    assert all(family.documentation and family.type != "unknown" for family in found.values())
    assert found["digitscope_requests"].samples == []
    assert {sample.labels["reason"]: sample.value for sample in found["digitscope_refusals"].samples} == dict.fromkeys(
        REASONS, 0
    )
    assert {sample.labels["digit"]: sample.value for sample in found["digitscope_predictions"].samples} == {
        str(digit): 0 for digit in range(10)
    }
    assert {sample.labels["reason"]: sample.value for sample in found["digitscope_rejections"].samples} == {
        "blank": 0, "several": 0, "not_a_digit": 0, "ambiguous": 0,
    }  # fmt: skip
    assert found["digitscope_ready"].samples[0].value == 0
    assert "digitscope_model_info" not in found


def test_requests_have_route_method_and_status(metrics: Metrics) -> None:
    """What was asked is there and nothing else; what nobody knows has a label that stands for all of it."""
    metrics.answered("/a", "GET", 200, 0.1)
    metrics.answered("/a", "GET", 200, 0.1)
    metrics.answered("/invented", "BREW", 418, 0.1)
    metrics.answered("/other", "BREW", 299, 0.1)
    found = {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for sample in families(metrics)["digitscope_requests"].samples
    }
    assert found == {("/a", "GET", "200"): 2, ("unknown", "other", "0"): 2}


def test_times_are_cumulative_histograms(metrics: Metrics) -> None:
    """Each bucket holds what is below its bound, the last one all, with the sum and the count beside them."""
    times = [0.0001, 0.0005, 0.0007, 0.03, 0.2, 4.0, 60.0]
    for seconds in times:
        metrics.answered("/a", "GET", 200, seconds)
    metrics.answered("/b", "GET", 200, 0.3)
    found = samples(metrics, "digitscope_request_seconds")
    for bound in (*SECONDS, float("inf")):
        name = "+Inf" if bound == float("inf") else str(bound)
        key = ("digitscope_request_seconds_bucket", (("le", name), ("route", "/a")))
        assert found[key] == sum(seconds <= bound for seconds in times)
    assert found["digitscope_request_seconds_count", (("route", "/a"),)] == len(times)
    assert found["digitscope_request_seconds_sum", (("route", "/a"),)] == pytest.approx(sum(times))
    assert found["digitscope_request_seconds_count", (("route", "/b"),)] == 1


def test_batches_are_a_histogram_of_images(metrics: Metrics) -> None:
    """Runs by their images: each in the bucket of its size and all above, and the sum is that of all images."""
    sizes = [1, 1, 2, 3, 4, 5, 8, 9, 32, 31]
    for images in sizes:
        metrics.ran(1, [3] * images, (0.0, 0.0, 0.0))
    found = samples(metrics, "digitscope_batch_images")
    for bound in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        key = ("digitscope_batch_images_bucket", (("le", f"{bound}.0"),))
        assert found[key] == sum(images <= bound for images in sizes)
    assert found["digitscope_batch_images_bucket", (("le", "+Inf"),)] == len(sizes)
    assert found["digitscope_batch_images_count", ()] == len(sizes)
    assert found["digitscope_batch_images_sum", ()] == sum(sizes)
    assert samples(metrics, "digitscope_predictions")["digitscope_predictions_total", (("digit", "3"),)] == sum(sizes)


def test_the_model_that_serves_is_told(metrics: Metrics, model_bytes: bytes, manifest: Manifest) -> None:
    """Its name, version and hash beside the provider and the threads that its engine really has."""
    metrics.engine = Engine(model_bytes, manifest, provider="cpu", threads=1)
    metrics.ready = True
    found = families(metrics)
    assert found["digitscope_model_info"].samples[0].labels == {
        "name": "digits",
        "version": manifest.version,
        "sha256": manifest.sha256,
        "provider": "CPUExecutionProvider",
        "precision": "fp32",
        "runtime": "onnxruntime",
        "threads": "1",
    }
    assert found["digitscope_ready"].samples[0].value == 1
    assert found["digitscope_provider_fallback"].samples[0].value == 0


def test_waits_and_confidences_are_histograms(metrics: Metrics) -> None:
    """Each value is in the bucket of its bound and in all above; float32's 0.9 is at the bound 0.9."""
    waits = [0.0001, 0.0005, 0.0007, 0.03, 60.0]
    metrics.waited(waits[:2])
    metrics.waited(waits[2:])
    confidences = np.array([0.2, 0.3, 0.9, 0.9000001, 0.9995, 1.0, 1.0000001], np.float32)
    metrics.ran(1, [3] * 6, (0.0, 0.0, 0.0), confidences=confidences[:6])
    metrics.ran(1, [3], (0.0, 0.0, 0.0), confidences=confidences[6:])
    for name, bounds, values in (
        ("digitscope_queue_seconds", SECONDS, waits),
        ("digitscope_confidence", CONFIDENCES, confidences),
    ):
        found = samples(metrics, name)
        for bound in bounds:
            key = (f"{name}_bucket", (("le", str(float(bound))),))
            assert found[key] == sum(value <= type(value)(bound) for value in values)
        assert found[f"{name}_bucket", (("le", "+Inf"),)] == found[f"{name}_count", ()] == len(values)
        assert found[f"{name}_sum", ()] == pytest.approx(float(sum(values)))


def test_dashboards_for_triton_find_its_names(metrics: Metrics, model_bytes: bytes, manifest: Manifest) -> None:
    """Of each version that is served, under the very names of Triton's metrics, what it has counted."""
    metrics.engine = Engine(model_bytes, manifest, provider="cpu", threads=1)
    metrics.served = ("1", "2")
    counts = metrics.seat("2")
    metrics.waited([0.25, 0.5], counts)
    metrics.ran(2, [7] * 5, (0.001, 0.002, 0.003), (), counts, [1.0] * 5)
    counts.passed("success", 2, 0.75)
    counts.passed("fail", 1, 0.5)
    text = exposition(metrics).decode()
    expected = {
        "request_success": 2, "request_failure": 1, "count": 5, "exec_count": 1, "request_duration_us": 1.25e6,
        "queue_duration_us": 0.75e6, "compute_input_duration_us": 2e3, "compute_infer_duration_us": 4e3,
        "compute_output_duration_us": 6e3,
    }  # fmt: skip
    found = {
        (line.partition("{")[0], line.partition("}")[0].partition("{")[2]): float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("nv_inference_")
    }
    for name, value in expected.items():
        assert found[f"nv_inference_{name}", 'model="digits",version="2"'] == pytest.approx(value)
        assert found[f"nv_inference_{name}", 'model="digits",version="1"'] == 0
    assert len(found) == 2 * len(expected)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two rows, the first one ours: a process that is not forked can open it too."""
    path = tmp_path / "rows"
    path.write_bytes(bytes(len(shared_rows(2))))
    return path


def opened(file: Path) -> mmap.mmap:
    """The rows of a file, shared with whoever else has opened them."""
    with file.open("r+b") as found:
        return mmap.mmap(found.fileno(), 0)


@pytest.fixture
def shared(file: Path) -> Metrics:
    """Metrics in rows that another process may count in too."""
    return Metrics(Tally(opened(file)), ("/a", "/b"), 32)


def count_too(file: Path, pipe: Any) -> None:
    """What another worker does, until it is told to end."""
    metrics = Metrics(Tally(opened(file), 1), ("/a", "/b"), 32)
    memory = bytearray(64 * 2**20)
    for place in range(0, len(memory), 4096):
        memory[place] = 1
    metrics.answered("/a", "GET", 200, 0.1)
    metrics.answered("/b", "POST", 503, 0.1)
    metrics.refused("Overloaded")
    metrics.ran(2, [1, 2, 3, 3, 3], (0.1, 0.2, 0.3), [None, None, "several", "blank", "blank"])
    pipe.send("counted")
    pipe.recv()


def test_two_workers_are_told_in_sum(file: Path, shared: Metrics) -> None:
    """Counts, processes and their memory are those of both; when one has ended, its counts stay and it does not."""
    shared.answered("/a", "GET", 200, 0.2)
    shared.ran(1, [3], (0.1, 0.2, 0.3), ["several"])
    alone = samples(shared, "process_resident_memory_bytes")["process_resident_memory_bytes", ()]
    context = get_context("spawn")  # a fork would take over the locks of other tests' threads
    pipe, its = context.Pipe()
    other = context.Process(target=count_too, args=(file, its))
    other.start()
    assert pipe.poll(60) and pipe.recv() == "counted"
    assert other.pid is not None and sorted(shared.pids()) == sorted((os.getpid(), other.pid))
    both = families(shared)
    assert both["digitscope_workers"].samples[0].value == 2
    assert both["process_resident_memory_bytes"].samples[0].value > alone + 64 * 2**20
    started = both["process_start_time_seconds"].samples[0].value
    pipe.send("end")
    other.join(60)
    alone_again = families(shared)
    assert alone_again["digitscope_workers"].samples[0].value == 1
    assert started <= alone_again["process_start_time_seconds"].samples[0].value, "the earliest start is told"
    for found in (both, alone_again):
        requests = {
            json.dumps(sorted(sample.labels.values())): sample.value for sample in found["digitscope_requests"].samples
        }
        assert requests == {'["/a", "200", "GET"]': 2, '["/b", "503", "POST"]': 1}
        digits = {sample.labels["digit"]: sample.value for sample in found["digitscope_predictions"].samples}
        assert (digits["1"], digits["2"], digits["3"], sum(digits.values())) == (1, 1, 4, 6)
        rejected = {sample.labels["reason"]: sample.value for sample in found["digitscope_rejections"].samples}
        assert rejected == {"blank": 2, "several": 2, "not_a_digit": 0, "ambiguous": 0}
        refused = {sample.labels["reason"]: sample.value for sample in found["digitscope_refusals"].samples}
        assert refused["Overloaded"] == sum(refused.values()) == 1


def test_a_process_is_told_as_prometheus_own_client_tells_it(metrics: Metrics) -> None:
    """For one process the process metrics have the names, types and values that `prometheus_client` gives them."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    expected = list(text_string_to_metric_families(generate_latest(registry).decode()))
    found = families(metrics)
    assert expected
    for family in expected:
        assert found[family.name].type == family.type
        if family.name in ("process_start_time_seconds", "process_max_fds"):
            assert found[family.name].samples[0].value == family.samples[0].value
