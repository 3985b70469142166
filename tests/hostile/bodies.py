"""Bodies of inference requests and of uploads that are made to do harm."""

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.hostile.case import Case
from tests.service.pictures import drawn, encode
from tests.service.protocol.frames import INFER, LENGTH, request

_IMAGE = np.zeros((1, 28, 28), np.uint8)
_NUMBERS: tuple[Any, ...] = (-1, 0, 2**31, 2**53, 2**63, 2**64, -(2**63), 1e308, 1.5, True, None, "784", [], {}, [784])


def _infer(name: str, body: bytes, **headers: str) -> Case:
    return Case(f"infer/{name}", INFER, body, {key.replace("_", "-"): value for key, value in headers.items()})


def texts() -> Iterator[Case]:
    """JSON that is deep, long, odd or none."""
    whole = request(_IMAGE)[0].decode()
    for name, text in {
        "nothing": "",
        "null": "null",
        "number": "1",
        "string": '"inputs"',
        "list": "[]",
        "object": "{}",
        "open": '{"inputs":',
        "more-behind": whole + "{}",
        "twice": whole[:-1] + "," + whole[1:],
        "same-name-twice": whole[:-1] + ',"inputs":[]}',
        "deep-list": "[" * 100_000 + "]" * 100_000,
        "deep-object": '{"a":' * 100_000 + "1" + "}" * 100_000,
        "deep-data": whole.replace('"data": [0', '"data": ' + "[" * 900 + "0" + "]" * 900 + ", [0", 1),
        "long-number": whole.replace('"data": [0', '"data": [' + "9" * 100_000, 1),
        "long-fraction": whole.replace('"data": [0', '"data": [0.' + "1" * 100_000, 1),
        "exponent": whole.replace('"data": [0', '"data": [1e999999', 1),
        "nan": whole.replace('"data": [0', '"data": [NaN', 1),
        "infinity": whole.replace('"data": [0', '"data": [-Infinity', 1),
        "half-a-pair": whole.replace('"image"', '"\\ud800"'),
        "zero-byte": whole.replace('"image"', '"ima\\u0000ge"'),
        "many-numbers": whole.replace('"data": [0', '"data": [' + "0," * 1_000_000 + "0", 1),
        "many-names": json.dumps({str(number): 0 for number in range(50_000)}),
        "long-name": json.dumps({"inputs": [{"name": "x" * 1_000_000}]}),
        "spaces": " " * 1_000_000 + whole,
    }.items():
        yield _infer(name, text.encode())
    yield _infer("mark", b"\xef\xbb\xbf" + whole.encode())
    yield _infer("sixteen-bits", whole.encode("utf-16"))
    yield _infer("no-text", b"\xff\xfe" * 500)


def fields() -> Iterator[Case]:
    """Each field of a right request with a value that it cannot have."""
    whole = json.loads(request(_IMAGE, [{"name": "logits"}])[0])
    for place in ("inputs", "outputs", "parameters", "id"):
        for number, value in enumerate((*_NUMBERS, [None], [[]], ["x"], [{}], [{"name": {}}])):
            yield _infer(f"{place}-{number}", json.dumps(whole | {place: value}).encode())
    for name in ("name", "shape", "datatype", "data", "parameters"):
        for number, value in enumerate(_NUMBERS):
            tensor = whole["inputs"][0] | {name: value}
            yield _infer(f"input-{name}-{number}", json.dumps(whole | {"inputs": [tensor]}).encode())
    for number, value in enumerate(_NUMBERS):
        tensor = whole["inputs"][0] | {"shape": [value, 1, 28, 28]}
        yield _infer(f"batch-{number}", json.dumps(whole | {"inputs": [tensor]}).encode())
        wanted = [{"name": "logits", "parameters": {"classification": value, "binary_data": value}}]
        yield _infer(f"classification-{number}", json.dumps(whole | {"outputs": wanted}).encode())
        yield _infer(f"timeout-{number}", json.dumps(whole | {"parameters": {"timeout": value}}).encode())
    overflowing = whole["inputs"][0] | {"shape": [2**62, 4, 28, 28]}
    yield _infer("product-beyond-64-bits", json.dumps(whole | {"inputs": [overflowing]}).encode())
    yield _infer("many-inputs", json.dumps(whole | {"inputs": whole["inputs"] * 300}).encode())
    yield _infer("many-outputs", json.dumps(whole | {"outputs": [{"name": "conv1"}] * 3000}).encode())


def frames() -> Iterator[Case]:
    """Binary tensors whose lengths lie."""
    body, headers = request(_IMAGE, binary=True)
    length = int(headers[LENGTH])
    told = (
        "",
        "-1",
        "0",
        "1",
        "+5",
        "٣",
        "0x10",
        "1e2",
        "9" * 30,
        str(length - 1),
        str(length + 1),
        str(len(body) + 1),
    )
    for value in told:
        if value.isascii():
            yield Case(f"frame/length-{value[:8]}", INFER, body, {LENGTH: value})
    head = json.loads(body[:length])
    for number, value in enumerate(_NUMBERS):
        tensor = head["inputs"][0] | {"parameters": {"binary_data_size": value}}
        text = json.dumps(head | {"inputs": [tensor]}).encode()
        yield Case(f"frame/size-{number}", INFER, text + bytes(784), {LENGTH: str(len(text))})
    tensor = head["inputs"][0] | {"datatype": "BYTES"}
    text = json.dumps(head | {"inputs": [tensor]}).encode()
    yield Case("frame/strings", INFER, text + struct.pack("<I", 2**32 - 1) + bytes(780), {LENGTH: str(len(text))})
    for size in (0, 1, 783, 785, 784 * 257):
        yield Case(f"frame/raw-{size}", INFER, bytes(size), {LENGTH: "0"})
    for kind in ("FP32", "FP16", "FP64", "INT8", "INT64", "BOOL", "BF16", ""):
        tensor = head["inputs"][0] | {"datatype": kind, "parameters": {"binary_data_size": 3136}}
        text = json.dumps(head | {"inputs": [tensor]}).encode()
        yield Case(f"frame/type-{kind}", INFER, text + b"\xff" * 3136, {LENGTH: str(len(text))})


def packed() -> Iterator[Case]:
    """Compressed bodies that are bombs, broken, or something else."""
    whole = request(_IMAGE)[0]
    zeros = gzip.compress(bytes(100_000_000), 6)
    for name, body, coding in (
        ("bomb", zeros, "gzip"),
        ("bomb-in-deflate", zlib.compress(bytes(100_000_000), 6), "deflate"),
        ("bomb-of-members", gzip.compress(bytes(1_000_000)) * 200, "gzip"),
        ("twice", gzip.compress(gzip.compress(whole)), "gzip"),
        ("cut", gzip.compress(whole)[:-9], "gzip"),
        ("more-behind", gzip.compress(whole) + b"x" * 100, "gzip"),
        ("wrong-sum", gzip.compress(whole)[:-8] + bytes(8), "gzip"),
        ("no-gzip", whole, "gzip"),
        ("raw-deflate", zlib.compress(whole)[2:-4], "deflate"),
        ("unknown", whole, "br"),
        ("several", gzip.compress(whole), "gzip, gzip"),
        ("identity", whole, "identity"),
        ("empty", b"", "gzip"),
    ):
        yield _infer(f"packed-{name}", body, Content_Encoding=coding)


def uploads() -> Iterator[Case]:
    """Multipart bodies that are broken, many, long, or lead elsewhere."""
    seven = encode(drawn().reduce(4))
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n'
    part = head + b"\r\n" + seven + b"\r\n"
    end = b"--b--\r\n"
    for name, body in {
        "right": part + end,
        "nothing": b"",
        "end-alone": end,
        "no-end": part,
        "no-parts": b"--b\r\n--b--\r\n",
        "cut-in-head": head[:30],
        "cut-in-picture": part[:-20],
        "hundred": part * 100 + end,
        "ten-thousand-empty": (head + b"\r\n\r\n") * 10_000 + end,
        "no-name": b"--b\r\n\r\nx\r\n" + end,
        "other-name": part.replace(b'"files"', b'"file"') + end,
        "way-out": part.replace(b'"a"', b'"../../../../etc/passwd"') + end,
        "zero-in-name": part.replace(b'"a"', b'"a\0.png"') + end,
        "long-name": part.replace(b'"a"', b'"' + b"a" * 100_000 + b'"') + end,
        "many-headers": head + b"X-A: b\r\n" * 20_000 + b"\r\nx\r\n" + end,
        "long-header": head + b"X-A: " + b"b" * 200_000 + b"\r\n\r\nx\r\n" + end,
        "header-without-colon": head + b"nonsense\r\n\r\nx\r\n" + end,
        "base64": head + b"Content-Transfer-Encoding: base64\r\n\r\naGk=\r\n" + end,
        "inside-itself": head + b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n" + end,
        "text": b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n' + end,
        "bare-newlines": (part + end).replace(b"\r\n", b"\n"),
        "almost-boundaries": head + b"\r\n" + b"\r\n--a" * 50_000 + b"\r\n" + end,
        "large": head + b"\r\n" + bytes(3_000_000) + b"\r\n" + end,
    }.items():
        yield Case(f"upload/{name}", "/v1/predict", body, {"Content-Type": "multipart/form-data; boundary=b"})
    for number, kind in enumerate(
        ("", "; boundary=", "; boundary=" + "b" * 5000, '; boundary="b', "; charset=x; boundary=b; boundary=c")
    ):
        yield Case(f"upload/type-{number}", "/v1/predict", part + end, {"Content-Type": f"multipart/form-data{kind}"})
    for number, size in enumerate((0, 1, 783, 785, 784 * 257, 784 * 1000 + 1)):
        yield Case(f"prepared/{number}", "/v1/predict", bytes(size), {"Content-Type": "application/octet-stream"})
