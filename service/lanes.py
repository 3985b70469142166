"""Batches of a few fixed sizes, each in buffers that never move: what a GPU needs to be asked fast.

A GPU runs this network in less time than it takes to launch its kernels one by one. A CUDA graph launches them all at
once, but replays the very addresses and shapes that it was captured with (ONNX Runtime, CUDA execution provider,
"Using CUDA Graphs"). So each size has a lane: a page-locked buffer on the host for the images, buffers on the device,
bound once, and a graph of its own. A batch takes the smallest lane that it fits into; the rest of the lane is padding.
"""

import contextlib
import ctypes
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.runtime import ort

SIZES = (1, 8, 32, 128, 512, 2048)  # images; four times as many take a GPU hardly longer
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
        self.images: NDArray[np.uint8] = np.zeros((size, 1, 28, 28), np.uint8)
        if device == "cuda":
            _lock_pages(self.images)
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
            for _ in range(2):  # the first run chooses algorithms, and what it was captured as is then run once
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


def _lock_pages(array: NDArray[np.uint8]) -> None:
    """Page-locks a buffer, so that the GPU reads it directly; where that cannot be had, it is read all the same."""
    for name in _CUDA_RUNTIMES:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(name).cudaHostRegister(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), 0)
            return
