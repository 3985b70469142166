"""OpenVINO in the place of ONNX Runtime: it reads the very same file, and predicts in batches of a few fixed sizes.

For a shape that it knows when it compiles, OpenVINO chooses kernels and places memory once. One model for batches of
any size took 1.5 times as long for one image, and 1.1 to 1.25 times for 4 to 32 (the int8 variant, one thread of a
Xeon with VNNI). So each size is a model of its own, 3 MB each, and a batch is filled up to the next one. Cutting it
into smaller ones took longer: each call reads all of fc1's weights.
"""

import sys
import threading
from bisect import bisect_left
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import ModelError, ProviderError

SIZES = (1, 4, 8, 16, 24, 32, 48, 64)  # images
MISSING = "OpenVINO needs the extra openvino: pip install 'digitscope[openvino]'"


def installed() -> bool:
    """Whether OpenVINO can be imported, as far as can be told without doing so."""
    return find_spec("openvino") is not None


class OpenVino:
    """One file, compiled for each of `SIZES`. One thread at a time is in it; others wait.

    Attributes:
        version: of OpenVINO.
        sizes: that it is compiled for, in images.
    """

    sizes = SIZES

    def __init__(
        self,
        model: bytes,
        source: str,
        outputs: Mapping[str, tuple[int, ...]],
        *,
        threads: int,
        bfloat16: bool,
    ) -> None:
        """`source` names the input and `outputs` has the shape of each output for one image.

        With `bfloat16`, what is float32 in the file is multiplied in bfloat16 and added up in float32.

        Raises:
            ProviderError: OpenVINO is not installed, or does not load, or the CPU does not compute in bfloat16.
            ModelError: it cannot open the model.
        """
        if not installed():
            raise ProviderError(MISSING)
        try:
            core = _openvino().Core()
        except Exception as error:  # ImportError where a library of the system's is missing, else OpenVINO's own
            raise ProviderError(f"OpenVINO is installed and does not load: {error}") from error
        if bfloat16 and not computes_bfloat16(core):
            name = core.get_property("CPU", "FULL_DEVICE_NAME")
            raise ProviderError(f"precision 'bf16' was asked for, and this CPU does not compute in it: {name}")
        self.version = version("openvino")
        self._lock = threading.Lock()
        asked = "bf16" if bfloat16 else "f32"  # unasked it takes bf16 where there is one
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": asked,
            "ENABLE_CPU_PINNING": False,  # a worker goes where the system puts it
        }
        try:
            graph = core.read_model(model)
            self._models = []  # in the order of SIZES
            for size in SIZES:
                graph.reshape({source: [size, *graph.input(source).partial_shape[1:]]})
                compiled = core.compile_model(graph, "CPU", options)
                self._models.append(_Fixed(compiled, source, tuple(outputs)))
            got = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        except Exception as error:  # OpenVINO's share no root but RuntimeError
            raise ModelError("OpenVINO cannot open the model") from error
        if got != asked:
            raise ProviderError(f"OpenVINO computes in {got} where {asked} was asked for")

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The outputs for images uint8 (n, 1, 28, 28), each float32 (n, …), in memory of their own."""
        with self._lock:
            if len(images) <= SIZES[-1]:
                return self._run(images)
            parts = [self._run(images[start : start + SIZES[-1]]) for start in range(0, len(images), SIZES[-1])]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return self._models[bisect_left(SIZES, len(images))].run(images)


class _Fixed:
    """A model compiled for one size, with the buffers that it reads and writes."""

    def __init__(self, compiled: Any, source: str, outputs: tuple[str, ...]) -> None:
        self._request = compiled.create_infer_request()
        self._source: NDArray[np.uint8] = self._request.get_tensor(source).data
        self._outputs: list[NDArray[np.float32]] = [self._request.get_tensor(name).data for name in outputs]

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The outputs for images, of which there may be fewer than its size."""
        count = len(images)
        self._source[:count] = images
        self._request.infer(share_outputs=True)
        return [output[:count].copy() for output in self._outputs]


def computes_bfloat16(core: Any) -> bool:
    """Whether the CPU has instructions for bfloat16; others only imitate them, many times slower than float32."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _openvino() -> Any:
    # What converts models of other kinds reports to its makers that it was imported. It is not needed here, and
    # OpenVINO does without where it is not to be had, as an entry of None says. That also spares 15 MB and 0.1 s.
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
    import openvino  # noqa: PLC0415 — of an extra

    return openvino
