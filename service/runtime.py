"""ONNX Runtime with its telemetry off, and sessions that stand beside the one that predicts."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

# ONNX Runtime reports usage to its makers from 1.29 on; it reads this once, when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort
from numpy.typing import NDArray

from service.errors import EngineError

__all__ = ["CPU", "FATAL", "Session", "ort", "session_options"]

CPU = "CPUExecutionProvider"
FATAL = 4  # the severity of what ONNX Runtime logs by itself; what fails is raised, and said by us


def session_options(threads: int, *, arena: bool, optimise: bool = True) -> ort.SessionOptions:
    """Options of a session; an arena keeps what the largest batch ever needed, and makes the next one faster."""
    options = ort.SessionOptions()
    options.enable_cpu_mem_arena = arena
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # an idle service leaves the CPU alone
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


class Session:
    """A graph open on one thread of the CPU, to look inside or to compute one thing.

    It computes only what is asked for, in float32 as ONNX Runtime does, and keeps no memory between its runs.
    """

    def __init__(self, model: bytes) -> None:
        """Opens a model, such as `service.graph.Graph` makes.

        Raises:
            EngineError: ONNX Runtime refuses it.
        """
        try:
            self._session = ort.InferenceSession(model, session_options(1, arena=False), providers=[CPU])
        except Exception as error:  # onnxruntime raises classes of its own that share only this root
            raise EngineError("ONNX Runtime does not open a graph of the service") from error
        self._options = ort.RunOptions()
        self._options.log_severity_level = FATAL
        self._options.only_execute_path_to_fetches = True

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The named outputs of inputs by name; an input with a default may be left out.

        Raises:
            EngineError: the run failed.
        """
        try:
            values = self._session.run(list(names), dict(feeds), self._options)
        except Exception as error:  # onnxruntime raises classes of its own that share only this root
            raise EngineError("the engine failed on a graph of the service") from error
        return dict(zip(names, values, strict=True))
