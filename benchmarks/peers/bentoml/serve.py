"""BentoML with its adaptive batching; its access log, metrics and traces are off."""

import base64

import bentoml
import numpy as np

from benchmarks.peers.session import open_session, probabilities


@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    traffic={"timeout": 30},
)
class Digits:
    """The model as a BentoML service."""

    def __init__(self) -> None:
        self._session = open_session()

    # Base64 and not an array: a tensor in JSON is 784 numbers to parse, and bytes would come as a multipart form.
    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=5000)
    def predict(self, images: list[str]) -> list[list[float]]:
        """The probabilities of each image; BentoML joins the lists of the requests that wait."""
        pixels = b"".join(base64.b64decode(image) for image in images)
        found: list[list[float]] = probabilities(
            self._session, np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28)
        ).tolist()
        return found
