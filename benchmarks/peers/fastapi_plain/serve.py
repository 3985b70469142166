"""A service as most people write it with FastAPI: a picture uploaded, decoded by Pillow, one run a request."""

import io
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, UploadFile
from PIL import Image

from benchmarks.peers.session import open_session, probabilities

app = FastAPI()
_session = open_session()


# Not `def`: on one CPU the thread pool that it brings costs more than it frees.
@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, Any]:
    """The digit in an uploaded picture of any size."""
    picture = Image.open(io.BytesIO(await file.read())).convert("L").resize((28, 28))
    return _answer(np.asarray(picture, np.uint8).reshape(1, 1, 28, 28))


@app.post("/raw")
async def raw(request: Request) -> dict[str, Any]:
    """The digit in 784 bytes: what is left of the cost without the picture and the form."""
    return _answer(np.frombuffer(await request.body(), np.uint8).reshape(1, 1, 28, 28))


def _answer(image: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    found = probabilities(_session, image)[0]
    return {"digit": int(found.argmax()), "probabilities": found.tolist()}
