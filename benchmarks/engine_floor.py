"""The floor of the engine: a runtime by itself on one thread, which is what no server in front of it can beat.

It is ONNX Runtime, of the file as it is or as the service lays it out for it, or OpenVINO, which has a model for each
batch size: of one for all sizes it makes less.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.digits import digits, model_folder
from service.avx512 import laid_out
from service.manifest import load_manifest

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TURNS = 7  # of each batch size; in turns, so that a slow moment meets all sizes
_OUTPUTS = ("logits", "probabilities")
Run = Callable[[NDArray[np.uint8]], object]


@dataclass(frozen=True)
class Engine:
    """Images a second by batch size, and the microseconds of one call with one image."""

    rates: dict[int, float]
    call_us: float

    @property
    def best(self) -> float:
        """The most images a second of any batch size."""
        return max(self.rates.values())


def in_onnxruntime(model: bytes) -> Run:
    """What runs a batch in ONNX Runtime."""
    import onnxruntime as ort  # noqa: PLC0415 — each is imported where it is what is measured

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(_OUTPUTS, {"image": images})


def in_openvino(model: Path, precision: str) -> Run:
    """What runs a batch of one of `BATCHES` in OpenVINO, floats computed in that precision."""
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type] # it reports to its makers
    import openvino  # noqa: PLC0415

    core = openvino.Core()
    options = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    options |= {"INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False}
    graph = core.read_model(model)
    requests: dict[int, Any] = {}
    for size in BATCHES:
        graph.reshape([size, 1, 28, 28])
        requests[size] = core.compile_model(graph, "CPU", options).create_infer_request()

    def run(images: NDArray[np.uint8]) -> object:
        request = requests[len(images)]
        request.get_tensor("image").data[:] = images
        request.infer(share_outputs=True)
        return [request.get_tensor(name).data.copy() for name in _OUTPUTS]

    return run


def measure(run: Run, seconds: float) -> Engine:
    """Measures a runtime for about so many seconds."""
    images = digits(max(BATCHES))[:, None]
    slice_s = seconds / (_TURNS * len(BATCHES))
    found: dict[int, list[float]] = {size: [] for size in BATCHES}
    for turn in range(_TURNS + 1):
        for size in BATCHES:
            batch = images[:size]
            runs, start = 0, time.perf_counter()
            while (taken := time.perf_counter() - start) < slice_s or not runs:
                run(batch)
                runs += 1
            if turn:  # the first turn warms
                found[size].append(runs * size / taken)
    rates = {size: median(values) for size, values in found.items()}
    return Engine(rates, 1e6 / rates[1])


def read_engine(text: str) -> Engine:
    """What `python -m benchmarks.engine_floor` printed."""
    found = json.loads(text)
    return Engine({int(size): rate for size, rate in found["rates"].items()}, found["call_us"])


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--laid-out", choices=("float32", "int8"), help="lay it out as the service does, being that")
    parser.add_argument("--openvino", choices=("f32", "bf16"), help="measure OpenVINO, floats computed in this")
    options = parser.parse_args()
    model = options.model.read_bytes()
    if options.laid_out:
        layers = load_manifest(model_folder()).layers
        model = laid_out(model, layers, floats=options.laid_out == "float32")
    run = in_openvino(options.model, options.openvino) if options.openvino else in_onnxruntime(model)
    print(json.dumps(asdict(measure(run, options.seconds))))


if __name__ == "__main__":
    main()
