"""The floor of the engine: ONNX Runtime by itself on one thread, which is what no server in front of it can beat."""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import onnxruntime as ort

from benchmarks.digits import digits

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TURNS = 7  # of each batch size; in turns, so that a slow moment meets all sizes


@dataclass(frozen=True)
class Engine:
    """Images a second by batch size, and the microseconds of one call with one image."""

    rates: dict[int, float]
    call_us: float

    @property
    def best(self) -> float:
        """The most images a second of any batch size."""
        return max(self.rates.values())


def measure(model: Path, seconds: float) -> Engine:
    """Measures one model file for about so many seconds."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    images = digits(max(BATCHES))[:, None]
    slice_s = seconds / (_TURNS * len(BATCHES))
    found: dict[int, list[float]] = {size: [] for size in BATCHES}
    for turn in range(_TURNS + 1):
        for size in BATCHES:
            feed = {"image": images[:size]}
            runs, start = 0, time.perf_counter()
            while (taken := time.perf_counter() - start) < slice_s or not runs:
                session.run(["logits", "probabilities"], feed)
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
    options = parser.parse_args()
    print(json.dumps(asdict(measure(options.model, options.seconds))))


if __name__ == "__main__":
    main()
