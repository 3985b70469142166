"""Which runtime predicts where that is left to the service: the one that is faster here."""

import time
from collections.abc import Callable

import numpy as np
import structlog

from service.engine import Engine, Images, Runtime
from service.errors import ModelError, ProviderError
from service.openvino import installed
from service.runtime import CPU

_IMAGES = 64  # of a batch: so many are in one where speed counts, which is where requests wait
_TURNS = 5
_RUNS = 3  # of one engine in a turn, so that it finds its weights in the cache as it does when it serves
_WORTH = 1.1  # times as fast: less is not worth 80 MB a worker, and workers side by side are to choose alike
_log = structlog.get_logger("digitscope")


def open_faster(open_with: Callable[[Runtime], Engine]) -> Engine:
    """The engine of ONNX Runtime, or of OpenVINO where it is installed, right, and faster by a tenth.

    Raises:
        ModelError: as ONNX Runtime's engine does.
        ProviderError: as that.
    """
    engine = open_with("onnxruntime")
    if engine.provider != CPU or not installed():
        return engine
    try:
        other = open_with("openvino")
    except (ModelError, ProviderError) as error:
        _log.warning("OpenVINO is not taken", cause=str(error))
        return engine
    gain = _gain(engine, other)
    _log.info("runtimes compared", openvino_gain=round(gain, 2))
    return other if gain >= _WORTH else engine


def _gain(engine: Engine, other: Engine) -> float:
    """How many times as fast as `engine` the other one is, of each the least disturbed of runs in turn."""
    golden = b"".join(digit.pixels() for digit in engine.manifest.golden)
    images = np.resize(np.frombuffer(golden, np.uint8), (_IMAGES, 1, 28, 28))
    turns = [(_fastest(engine, images), _fastest(other, images)) for _ in range(_TURNS)]
    return min(first for first, _ in turns) / min(second for _, second in turns)


def _fastest(engine: Engine, images: Images) -> float:
    """The seconds of the fastest of a few runs."""
    seconds = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        engine.predict(images)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
