"""The model as every peer opens it: the same file, ONNX Runtime on the CPU, one thread that does not spin."""

import os

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


def open_session() -> ort.InferenceSession:
    """A session on the file that the environment variable BENCH_MODEL names."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])


def probabilities(session: ort.InferenceSession, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probabilities (n, 10) of images (n, 1, 28, 28)."""
    found: NDArray[np.float32] = session.run(["probabilities"], {"image": images})[0]
    return found
