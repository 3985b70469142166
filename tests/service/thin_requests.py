"""Requests for the thin routes, good ones and bad ones, which have to be answered alike on every way."""

import gzip
import json
from typing import Any

from tests.service.pictures import drawn, encode
from tests.service.serving import VERSION

INFER = "/v2/models/digits/infer"
PREPARED = {"Content-Type": "application/octet-stream"}
LENGTH = "Inference-Header-Content-Length"


def infer_body(count: int = 1, **more: Any) -> bytes:
    """A request for black digits."""
    tensor = {"name": "image", "shape": [count, 1, 28, 28], "datatype": "UINT8", "data": [0] * (784 * count)}
    return json.dumps({"inputs": [tensor], **more}).encode()


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + encode(drawn()) + b"\r\n--b--\r\n"
)
REQUESTS: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "picture": ("/v1/predict", encode(drawn()), {}),
    "seen": ("/v1/predict?seen=true&preprocess=mnist", encode(drawn()), {}),
    "segment": ("/v1/predict?segment=true&seen=true", encode(drawn()), {}),
    "prepared": ("/v1/predict", bytes(3 * 784), PREPARED),
    "multipart": ("/v1/predict", MULTIPART, {"Content-Type": "multipart/form-data; boundary=b"}),
    "no picture": ("/v1/predict", b"hello", {}),
    "no body": ("/v1/predict", b"", {}),
    "bad query": ("/v1/predict?seen=perhaps", encode(drawn()), {}),
    "too many": ("/v1/predict", bytes(257 * 784), PREPARED),
    "too long": ("/v1/predict", b"", {"Content-Length": str(2**40)}),
    "too long undeclared": ("/v1/predict", bytes(2**21), PREPARED),
    "json": (INFER, infer_body(2, id="a"), {}),
    "version": (f"/v2/models/digits/versions/{VERSION}/infer", infer_body(), {}),
    "binary": (INFER, infer_body(parameters={"binary_data_output": True}), {}),
    "raw": (INFER, bytes(784), {LENGTH: "0"}),
    "maps": (INFER, infer_body(outputs=[{"name": "conv1"}, {"name": "logits"}]), {"Accept-Encoding": "gzip"}),
    "gzip": (INFER, gzip.compress(infer_body()), {"Content-Encoding": "gzip"}),
    "no json": (INFER, b"{", {}),
    "no output": (INFER, infer_body(outputs=[{"name": "conv9"}]), {}),
    "too many images": (INFER, infer_body(257), {}),
    "bad length": (INFER, infer_body(), {LENGTH: "much"}),
    "no gzip": (INFER, infer_body(), {"Content-Encoding": "br"}),
    "too long for a tensor": (INFER, bytes(2**21), {}),
}

ANSWERED = ("picture", "seen", "segment", "prepared", "multipart", "json", "version", "binary", "raw", "maps", "gzip")
"""Those that are answered by 200."""
