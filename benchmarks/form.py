"""The forms of a request: where it goes, its headers, its bodies, and how the digits are read from an answer."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.digits import digits, photograph, png

_LENGTH = "Inference-Header-Content-Length"
_BOUNDARY = "digitscope-benchmark"
Read = Callable[[Mapping[str, str], bytes], list[int]]


@dataclass(frozen=True)
class Form:
    """One way to ask. The bodies are sent in turn, so a server that remembers its last answer gains nothing."""

    path: str
    headers: Mapping[str, str]
    bodies: tuple[bytes, ...]
    read: Read
    images: int = 1

    def requests(self, host: str) -> list[bytes]:
        """The requests as they go over the wire."""
        head = [
            f"POST {self.path} HTTP/1.1",
            f"Host: {host}",
            *(f"{name}: {text}" for name, text in self.headers.items()),
        ]
        return ["\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body for body in self.bodies]


def form(name: str, images: int = 1) -> Form:
    """The form of that name, with so many images a request."""
    turns = 64 if images == 1 else 4
    stacks = digits(turns * images).reshape(turns, images, 1, 28, 28)
    return replace(_FORMS[name](stacks), images=images)


def _raw(stacks: NDArray[np.uint8]) -> Form:
    headers = {"Content-Type": "application/octet-stream"}
    return Form("/v1/predict", headers, tuple(stack.tobytes() for stack in stacks), _read_predictions)


def _png(stacks: NDArray[np.uint8]) -> Form:
    bodies = tuple(png(stack[0, 0]) for stack in stacks)
    return Form("/v1/predict", {"Content-Type": "image/png"}, bodies, _read_predictions)


def _photo(stacks: NDArray[np.uint8]) -> Form:
    bodies = tuple(photograph(stack[0, 0], number) for number, stack in enumerate(stacks[:8]))
    return Form("/v1/predict", {"Content-Type": "image/jpeg"}, bodies, _read_predictions)


def _multipart(path: str, field: str, read: Read) -> Callable[[NDArray[np.uint8]], Form]:
    def make(stacks: NDArray[np.uint8]) -> Form:
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="digit.png"\r\n'
            "Content-Type: image/png\r\n\r\n"
        )
        bodies = tuple(head.encode() + png(stack[0, 0]) + f"\r\n--{_BOUNDARY}--\r\n".encode() for stack in stacks)
        return Form(path, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}, bodies, read)

    return make


def _oip_binary(stacks: NDArray[np.uint8]) -> Form:
    tensor = {"name": "image", "shape": list(stacks.shape[1:]), "datatype": "UINT8"}
    head = orjson.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": stacks[0].nbytes}}],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
    )
    headers = {"Content-Type": "application/octet-stream", _LENGTH: str(len(head))}
    bodies = tuple(head + stack.tobytes() for stack in stacks)
    return Form("/v2/models/digits/infer", headers, bodies, _read_oip_binary)


def _oip_json(stacks: NDArray[np.uint8]) -> Form:
    tensor = {"name": "image", "shape": list(stacks.shape[1:]), "datatype": "UINT8"}
    bodies = tuple(
        orjson.dumps({"inputs": [{**tensor, "data": stack.ravel().tolist()}], "outputs": [{"name": "probabilities"}]})
        for stack in stacks
    )
    return Form("/v2/models/digits/infer", {"Content-Type": "application/json"}, bodies, _read_oip_json)


def _plain_raw(stacks: NDArray[np.uint8]) -> Form:
    headers = {"Content-Type": "application/octet-stream"}
    return Form("/raw", headers, tuple(stack.tobytes() for stack in stacks), _read_digit)


def _litserve(stacks: NDArray[np.uint8]) -> Form:
    bodies = tuple(orjson.dumps({"image": base64.b64encode(stack.tobytes()).decode()}) for stack in stacks)
    return Form("/predict", {"Content-Type": "application/json"}, bodies, _read_digit)


def _bentoml(stacks: NDArray[np.uint8]) -> Form:
    bodies = tuple(orjson.dumps({"images": [base64.b64encode(stack.tobytes()).decode()]}) for stack in stacks)
    return Form("/predict", {"Content-Type": "application/json"}, bodies, _read_rows)


def _floor(stacks: NDArray[np.uint8]) -> Form:
    headers = {"Content-Type": "application/octet-stream"}
    return Form("/", headers, tuple(stack.tobytes() for stack in stacks), lambda _, body: [int(body[:1])])


def _read_predictions(_: Mapping[str, str], body: bytes) -> list[int]:
    return [prediction["digit"] for prediction in orjson.loads(body)["predictions"]]


def _read_digit(_: Mapping[str, str], body: bytes) -> list[int]:
    return [orjson.loads(body)["digit"]]


def _read_rows(_: Mapping[str, str], body: bytes) -> list[int]:
    return _largest(np.array(orjson.loads(body)))


def _read_oip_json(_: Mapping[str, str], body: bytes) -> list[int]:
    outputs = {output["name"]: output["data"] for output in orjson.loads(body)["outputs"]}
    return _largest(np.array(outputs["probabilities"]))


def _read_oip_binary(headers: Mapping[str, str], body: bytes) -> list[int]:
    length = int(headers[_LENGTH.lower()])
    names = [output["name"] for output in orjson.loads(body[:length])["outputs"]]
    if names != ["probabilities"]:
        raise ValueError(f"the outputs are {names}")
    return _largest(np.frombuffer(body[length:], "<f4"))


def _largest(probabilities: NDArray[np.float64] | NDArray[np.float32]) -> list[int]:
    found: list[int] = probabilities.reshape(-1, 10).argmax(axis=1).tolist()
    return found


_FORMS: dict[str, Callable[[NDArray[np.uint8]], Form]] = {
    "raw": _raw,
    "oip-binary": _oip_binary,
    "oip-json": _oip_json,
    "png": _png,
    "photo": _photo,
    "png-multipart": _multipart("/v1/predict", "files", _read_predictions),
    "floor": _floor,
    "plain-upload": _multipart("/predict", "file", _read_digit),
    "plain-raw": _plain_raw,
    "litserve": _litserve,
    "bentoml": _bentoml,
}
FORMS = tuple(_FORMS)
"""The names of all forms."""
