"""The binary tensor extension as a client reads and writes it, made after its document alone."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray

INFER = "/v2/models/digits/infer"
LENGTH = "Inference-Header-Content-Length"
DTYPES = {"FP32": "<f4", "UINT8": "u1"}


class Tensors(NamedTuple):
    """An answer's JSON, and its outputs' values by name, each of the way that it came: "json" or "binary"."""

    header: dict[str, Any]
    values: dict[str, NDArray[Any]]
    ways: dict[str, str]


def strings(data: bytes) -> list[str]:
    """The elements of a BYTES tensor: each behind its length in 4 bytes, little-endian."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "little")
        assert len(data) >= 4 + size
        found.append(data[4 : 4 + size].decode())
        data = data[4 + size :]
    return found


def read(answer: httpx.Response) -> Tensors:
    """An answer's outputs; every byte of it has to be accounted for."""
    assert answer.status_code == 200, answer.text
    content = answer.content
    length = answer.headers.get(LENGTH)
    assert answer.headers["Content-Type"] == ("application/json" if length is None else "application/octet-stream")
    end = len(content) if length is None else int(length)
    header, rest = json.loads(content[:end]), content[end:]
    values, ways = {}, {}
    for output in header["outputs"]:
        name, shape, datatype = output["name"], output["shape"], output["datatype"]
        if "data" in output:
            assert "parameters" not in output
            flat = np.array(output["data"], dtype="<f4" if datatype == "FP32" else object)
            ways[name] = "json"
        else:
            size = output["parameters"]["binary_data_size"]
            part, rest = rest[:size], rest[size:]
            assert len(part) == size
            flat = np.frombuffer(part, "<f4") if datatype == "FP32" else np.array(strings(part), object)
            ways[name] = "binary"
        values[name] = flat.reshape(shape)
    assert rest == b"", "bytes that belong to no output"
    assert (length is None) == ("binary" not in ways.values())
    return Tensors(header, values, ways)


def request(
    images: NDArray[Any],
    outputs: Sequence[Mapping[str, Any]] | None = None,
    *,
    binary: bool = False,
    nested: bool = False,
    **more: Any,
) -> tuple[bytes, dict[str, str]]:
    """Body and header fields of a request for images (n, 28, 28), uint8 or float32."""
    datatype = "UINT8" if images.dtype == np.uint8 else "FP32"
    tensor: dict[str, Any] = {"name": "image", "shape": [len(images), 1, 28, 28], "datatype": datatype}
    data = np.ascontiguousarray(images, DTYPES[datatype]).tobytes()
    if binary:
        tensor["parameters"] = {"binary_data_size": len(data)}
    else:
        tensor["data"] = (images[:, None] if nested else images.reshape(-1)).tolist()
    header = json.dumps(
        {"inputs": [tensor], **({} if outputs is None else {"outputs": list(outputs)}), **more}
    ).encode()
    return (header + data, {LENGTH: str(len(header))}) if binary else (header, {})


def infer(client: httpx.Client, images: NDArray[Any], *arguments: Any, **options: Any) -> Tensors:
    """The outputs for images."""
    body, headers = request(images, *arguments, **options)
    return read(client.post(INFER, content=body, headers=headers))
