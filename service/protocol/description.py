"""What the protocol tells of the server and of its model, as plain values.

Triton's extensions for the model's configuration, its statistics and the repository's index are told with every field
that its clients read (https://github.com/triton-inference-server/server/tree/main/docs/protocol).
"""

from typing import Any

import numpy as np

import service
from service.manifest import Manifest, TensorSpec, folders
from service.metrics import RUN_STAGES, STAGES, Metrics
from service.serving import LATEST
from service.state import Served, State

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


def metadata(manifest: Manifest, state: State) -> dict[str, Any]:
    """A version's tensors, and which are served; feature maps are further outputs, which have to be asked for."""
    return {
        "name": manifest.name,
        "versions": sorted(state.open.versions, key=int),
        "platform": PLATFORM,
        "inputs": [manifest.input.model_dump()],
        "outputs": [output.model_dump() for output in manifest.outputs],
    }


def configuration(manifest: Manifest, state: State) -> dict[str, Any]:
    """The model's configuration; its `max_batch_size` is the most images of one request."""

    def tensor(spec: TensorSpec) -> dict[str, Any]:
        return {"name": spec.name, "data_type": f"TYPE_{spec.datatype}", "dims": spec.shape[1:]}

    return {
        "name": manifest.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": _policy(state),
        "max_batch_size": state.settings.max_images,
        "input": [tensor(manifest.input)],
        "output": [tensor(output) for output in manifest.outputs],
        "dynamic_batching": {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": state.settings.max_queue_delay,
        },
    }


def _policy(state: State) -> dict[str, Any]:
    served = sorted(map(int, state.open.versions))
    if len(served) == 1 and state.settings.model_version == LATEST:
        return {"latest": {"num_versions": 1}}
    return {"specific": {"versions": served}}


def index(state: State, *, ready: bool = False) -> list[dict[str, str]]:
    """The versions that are here, each with its state and the reason for it; with `ready`, only those that answer.

    Raises:
        NotReadyError: nothing is loaded.
    """
    name = state.settings.model_name
    known = {*state.open.versions, *folders(state.settings.models, name)}
    reasons = {version: _why_not(state.open, version) for version in sorted(known, key=int)}
    return [
        {"name": name, "version": version, "state": "UNAVAILABLE" if why else "READY", "reason": why}
        for version, why in reasons.items()
        if not (why and ready)
    ]


def _why_not(served: Served, version: str) -> str:
    """Why a version does not answer; nothing of one that does."""
    if version in served.versions:
        return "" if served.versions[version].engine.healthy else "the engine failed"
    return served.refused.get(version, "it is not loaded")


def all_statistics(state: State) -> list[dict[str, Any]]:
    """The statistics of all versions that are served."""
    manifests = [predictor.engine.manifest for predictor in state.open.versions.values()]
    return [statistics(manifest, state.metrics) for manifest in manifests]


def statistics(manifest: Manifest, metrics: Metrics) -> dict[str, Any]:
    """How often and how long that version was asked, over all workers."""
    found = metrics.statistics(manifest.version)
    runs = found.runs
    sizes = np.flatnonzero(runs[:, 0])
    stages = dict(zip(STAGES, found.stages, strict=True))
    nothing = _stage(0, 0)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "last_inference": int(found.last * 1e3),
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
