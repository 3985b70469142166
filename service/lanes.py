"""Batches of a few fixed sizes, each in buffers that never move: what a GPU needs to be asked fast.

A GPU runs this network in less time than it takes to launch its kernels one by one. A CUDA graph launches them all at
once, but replays the very addresses and shapes that it was captured with (ONNX Runtime, CUDA execution provider,
"Using CUDA Graphs"). So each size has a lane: a page-locked buffer on the host for the images, buffers on the device,
bound once, and a graph of its own. A batch takes the smallest lane that it fits into; the rest of the lane is padding.
"""

import contextlib
import ctypes
import weakref
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.runtime import ort

SIZES = (1, 8, 32, 128, 512, 2048)  # images; four times as many take a GPU hardly longer
_PIXELS = 28 * 28
_CUDA_RUNTIMES = ("libcudart.so.13", "libcudart.so.12")


class Lane:
    """One fixed size: buffers, their binding to the session, and the number of its graph."""

    def __init__(
        self,
        session: ort.InferenceSession,
        source: str,
        outputs: Mapping[str, tuple[int, ...]],
        *,
        size: int,
        device: str,
        graph: int | None,
    ) -> None:
        """`graph` numbers the lane's CUDA graph, if it has one; the rest is as `Lanes` takes it."""
        locked = _page_locked(size * _PIXELS) if device == "cuda" else None
        memory = np.zeros(size * _PIXELS, np.uint8) if locked is None else locked
        self.images: NDArray[np.uint8] = memory.reshape(size, 1, 28, 28)
        self._session = session
        self._input = ort.OrtValue.ortvalue_from_numpy(self.images, device)
        self._outputs = [
            ort.OrtValue.ortvalue_from_shape_and_type((size, *shape), np.float32, device) for shape in outputs.values()
        ]
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(source, self._input)
        for name, value in zip(outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(name, value)
        self._options = ort.RunOptions()
        if graph is not None:
            self._options.add_run_config_entry("gpu_graph_id", str(graph))

    def run(self) -> list[NDArray[np.float32]]:
        """The outputs of what `images` holds, each float32 (size, …), in memory of its own."""
        self._input.update_inplace(self.images)
        self._session.run_with_iobinding(self._binding, self._options)
        return [np.array(value.numpy()) for value in self._outputs]


class Lanes:
    """The lanes of one session, warmed, for the one thread that made them: their graphs are that thread's own.

    Attributes:
        session: the session.
        graphs: whether each lane is a CUDA graph.
        sizes: of the lanes, in images.
    """

    sizes = SIZES

    def __init__(
        self,
        session: ort.InferenceSession,
        source: str,
        outputs: Mapping[str, tuple[int, ...]],
        *,
        device: str,
        graphs: bool,
    ) -> None:
        """`source` names the input; `outputs` has the shape of each output for one image."""
        self.session = session
        self.graphs = graphs
        # The largest first: what the arena has to grow by for it would move what a graph has captured already.
        self._lanes = [
            Lane(session, source, outputs, size=size, device=device, graph=number if graphs else None)
            for number, size in reversed(list(enumerate(SIZES, start=1)))
        ]
        for lane in self._lanes:
            # Two runs choose algorithms and take memory, one is captured, and what it was captured as is then run.
            for _ in range(4 if graphs else 1):
                lane.run()
        self._lanes.reverse()

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The outputs for images uint8 (n, 1, 28, 28), each float32 (n, …)."""
        largest = SIZES[-1]
        parts = [self._run(images[start : start + largest]) for start in range(0, len(images), largest)]
        return parts[0] if len(parts) == 1 else [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        count = len(images)
        lane = next(lane for lane in self._lanes if len(lane.images) >= count)
        lane.images[:count] = images
        return [output[:count] for output in lane.run()]


def _page_locked(size: int) -> NDArray[np.uint8] | None:
    """Zeros in memory that the GPU reads directly, (size,), or None where that cannot be had, and copies are slower.

    CUDA allocates it: pages of NumPy's own are shared with whatever lies beside an array, and given away after it.
    """
    for name in _CUDA_RUNTIMES:
        with contextlib.suppress(OSError, AttributeError):
            runtime = ctypes.CDLL(name)
            address = ctypes.c_void_p()
            refused = runtime.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(0))
            if refused or not address.value:
                runtime.cudaGetLastError()  # takes it back: ONNX Runtime would hold it for a failure of its next kernel
                return None
            memory = (ctypes.c_uint8 * size).from_address(address.value)
            weakref.finalize(memory, runtime.cudaFreeHost, address).atexit = False  # the process's end frees it as well
            array: NDArray[np.uint8] = np.ctypeslib.as_array(memory)
            array.fill(0)
            return array
    return None
