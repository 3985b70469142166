"""PyTriton: Triton's own HTTP front end and dynamic batcher, in front of ONNX Runtime in Python."""

import os

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.session import open_session, probabilities

_session = open_session()


@batch
def infer(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The probabilities of a batch, which Triton has put together."""
    return {"probabilities": probabilities(_session, image)}


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(os.environ["BENCH_PORT"]),
        allow_grpc=False,
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="digits",
            infer_func=infer,
            inputs=[Tensor(name="image", dtype=np.uint8, shape=(1, 28, 28))],
            outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(10,))],
            # A queue delay of 0 is Triton's own advice to begin with: a batch is what waits while another runs.
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()
