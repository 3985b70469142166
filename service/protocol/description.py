"""What the protocol tells of the server and of its model, as plain values.

Triton's extensions for the model's configuration, its statistics and the repository's index are told with every field
that its clients read (https://github.com/triton-inference-server/server/tree/main/docs/protocol).
"""

from typing import Any

import numpy as np

import service
from service.manifest import Manifest, TensorSpec
from service.metrics import RUN_STAGES, STAGES, Metrics
from service.settings import Settings

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
)


def server() -> dict[str, Any]:
    """The server's name, version and extensions."""
    return {"name": "digitscope", "version": service.__version__, "extensions": EXTENSIONS}


def metadata(manifest: Manifest) -> dict[str, Any]:
    """The model's tensors; feature maps are further outputs, which have to be asked for."""
    return {
        "name": manifest.name,
        "versions": [manifest.version],
        "platform": PLATFORM,
        "inputs": [manifest.input.model_dump()],
        "outputs": [output.model_dump() for output in manifest.outputs],
    }


def configuration(manifest: Manifest, settings: Settings) -> dict[str, Any]:
    """The model's configuration; its `max_batch_size` is the most images of one request."""

    def tensor(spec: TensorSpec) -> dict[str, Any]:
        return {"name": spec.name, "data_type": f"TYPE_{spec.datatype}", "dims": spec.shape[1:]}

    return {
        "name": manifest.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": settings.max_images,
        "input": [tensor(manifest.input)],
        "output": [tensor(output) for output in manifest.outputs],
        "dynamic_batching": {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": settings.max_queue_delay,
        },
    }


def index(manifest: Manifest, *, ready: bool) -> list[dict[str, str]]:
    """The models that are here, with their states."""
    state = {"state": "READY", "reason": ""} if ready else {"state": "UNAVAILABLE", "reason": "the engine failed"}
    return [{"name": manifest.name, "version": manifest.version, **state}]


def statistics(manifest: Manifest, metrics: Metrics) -> dict[str, Any]:
    """How often and how long the model was asked, over all workers."""
    totals = metrics.tally.total()
    runs = metrics.runs.of(totals)
    sizes = np.flatnonzero(runs[:, 0])
    stages = dict(zip(STAGES, metrics.stages.of(totals), strict=True))
    nothing = _stage(0, 0)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "last_inference": int(max(metrics.tally.column(metrics.last.first)) * 1e3),
        "inference_count": int(np.arange(len(runs)) @ runs[:, 0]),
        "execution_count": int(runs[:, 0].sum()),
        "inference_stats": {
            **{stage: _stage(*values) for stage, values in stages.items()},
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": int(size),
                **{
                    stage: _stage(runs[size, 0], seconds)
                    for stage, seconds in zip(RUN_STAGES, runs[size, 1:], strict=True)
                },
            }
            for size in sizes
        ],
        "memory_usage": [],
    }


def _stage(count: float, seconds: float) -> dict[str, int]:
    return {"count": int(count), "ns": int(seconds * 1e9)}
