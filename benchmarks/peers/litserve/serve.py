"""LitServe with what its documentation names for speed: batching, its fast queue, one worker and one front process."""

import base64
import os
from typing import Any

import litserve as ls
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.session import open_session, probabilities

_MAX_BATCH = 64  # as many as there are connections
_BATCH_TIMEOUT = 0.001  # seconds; 64 requests that wait are taken at once, so this is for the last few alone


class Digits(ls.LitAPI):
    """An image comes as base64 in JSON, because LitServe reads a body as JSON or as a form, and a form costs more."""

    def setup(self, device: str) -> None:  # noqa: ARG002 — LitServe calls it so
        """Opens the model, in the worker."""
        self._session = open_session()

    def decode_request(self, request: dict[str, str]) -> NDArray[np.uint8]:
        """The image of a request, (1, 28, 28)."""
        return np.frombuffer(base64.b64decode(request["image"]), np.uint8).reshape(1, 28, 28)

    def batch(self, inputs: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The images of a batch."""
        return np.stack(inputs)

    def predict(self, x: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Their probabilities."""
        return probabilities(self._session, x)

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """A row for each request."""
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """The answer."""
        return {"digit": int(output.argmax()), "probabilities": output.tolist()}


if __name__ == "__main__":
    server = ls.LitServer(
        Digits(max_batch_size=_MAX_BATCH, batch_timeout=_BATCH_TIMEOUT),
        accelerator="cpu",
        devices=1,
        workers_per_device=1,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
