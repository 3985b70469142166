"""MLServer with a runtime of ONNX Runtime; settings.json and model-settings.json beside this file configure it."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.session import open_session, probabilities


class Digits(MLModel):
    """The model as an MLServer runtime."""

    async def load(self) -> bool:
        """Opens the model."""
        self._session = open_session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The probabilities of a batch, which MLServer has put together."""
        images = NumpyCodec.decode_input(payload.inputs[0]).astype(np.uint8, copy=False)
        found = probabilities(self._session, images.reshape(-1, 1, 28, 28))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", found)])
