"""Compressed bodies, both ways, within limits."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.errors import MalformedError, RequestError, TooLargeError
from service.protocol.compression import compress, decompress
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.protocol.frames import INFER, LENGTH, read, request
from tests.service.refusals import refused
from tests.service.serving import MODELS, serving

WAYS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "x-gzip": gzip.compress}
UNDO: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=2000), st.sampled_from([*WAYS]), st.integers(0, 9))
def test_what_was_compressed_comes_back(body: bytes, encoding: str, level: int) -> None:
    """Whatever the level, the very bytes; the encoding's name is read without its case and the space around it."""
    compressed = zlib.compress(body, level) if encoding == "deflate" else gzip.compress(body, level)
    assert decompress(compressed, f" {encoding.upper()} ", 2000) == body


@pytest.mark.parametrize("encoding", ["identity", "", " Identity "])
def test_what_is_not_compressed_is_taken_as_it_is(encoding: str) -> None:
    """RFC 9110, section 8.4.1, knows a name for no encoding, and so does Triton."""
    assert decompress(b"abc", encoding, 3) == b"abc"


@pytest.mark.parametrize("encoding", WAYS)
def test_the_limit_is_exact(encoding: str) -> None:
    """As many bytes as are read, once decompressed, and not one more."""
    assert len(decompress(WAYS[encoding](bytes(5000)), encoding, 5000)) == 5000
    with pytest.raises(
        TooLargeError, match=r"^the body has more than the 5,000 bytes that are read, once decompressed$"
    ):
        decompress(WAYS[encoding](bytes(5001)), encoding, 5000)


@pytest.mark.parametrize("encoding", WAYS)
def test_a_bomb_costs_no_more_than_the_limit(encoding: str) -> None:
    """What would be a quarter of a gigabyte is refused early: a few times the limit is all it ever takes."""
    limit = 2**20
    compressor = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS + (0 if encoding == "deflate" else 16))
    block = bytes(2**22)
    bomb = b"".join(compressor.compress(block) for _ in range(64)) + compressor.flush()
    assert len(bomb) < 2 * limit
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            decompress(bomb, encoding, limit)
        assert tracemalloc.get_traced_memory()[1] < 4 * limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", WAYS)
@pytest.mark.parametrize("cut", [0, 1, 5, 10, 20, -9, -8, -1])
def test_a_truncated_stream_is_refused(encoding: str, cut: int) -> None:
    """However much of it is missing, nothing is guessed: also where only the checksum is."""
    whole = WAYS[encoding](bytes(range(256)) * 4)
    with pytest.raises(MalformedError, match="Content-Encoding"):
        decompress(whole[:cut], encoding, 10_000)


@pytest.mark.parametrize("encoding", WAYS)
def test_a_damaged_stream_or_a_longer_one_is_refused(encoding: str) -> None:
    """A wrong checksum, other bytes behind the end, and what is no stream at all."""
    whole = bytearray(WAYS[encoding](b"seven" * 100))
    for broken in (bytes(whole) + b"x", b"seven", bytes(100)):
        with pytest.raises(MalformedError, match="Content-Encoding"):
            decompress(broken, encoding, 10_000)
    whole[-5] ^= 1  # in the checksum
    with pytest.raises(MalformedError):
        decompress(bytes(whole), encoding, 10_000)


@settings(deadline=None, max_examples=150)
@given(
    st.binary(max_size=200) | st.binary(max_size=200).map(gzip.compress), st.text(max_size=9) | st.sampled_from([*WAYS])
)
def test_arbitrary_bytes_raise_only_our_errors(body: bytes, encoding: str) -> None:
    """Nothing but a refusal, or bytes within the limit."""
    try:
        assert len(decompress(body, encoding, 100)) <= 100
    except RequestError:
        return


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip", "gzip"),
        ("deflate;q=0.9, gzip;q=0.1", "deflate"),
        ("br, GZIP", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.0", None),
        ("gzip;q=0.5", "gzip"),
        ("identity", None),
        ("br;q=1.0", None),
        ("", None),
        ("*", "gzip"),
        ("gzip;q=0, *;q=0.5", "deflate"),
    ],
)
def test_an_answer_is_compressed_as_it_is_accepted(accepted: str, expected: str | None) -> None:
    """By the encoding that is wanted most, gzip where both are alike; else it stays as it is."""
    body = bytes(5000)
    sent, encoding = compress(body, accepted)
    assert encoding == (None if expected is None else expected.encode())
    assert (sent if expected is None else UNDO[expected](sent)) == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip", "identity"])
@pytest.mark.parametrize("binary", [False, True])
def test_compressed_requests_are_answered(client: httpx.Client, mnist: Mnist, encoding: str, binary: bool) -> None:
    """The header length is of the JSON before it was compressed, as Triton has it; the answer is the same."""
    body, headers = request(mnist.images[:3], binary=binary)
    plain = read(client.post(INFER, content=body, headers=headers))
    content = WAYS[encoding](body) if encoding in WAYS else body
    found = read(client.post(INFER, content=content, headers=headers | {"Content-Encoding": encoding}))
    for name, values in found.values.items():
        np.testing.assert_allclose(values, plain.values[name], atol=1e-6)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [False, True])
def test_long_answers_are_compressed_where_that_is_accepted(
    client: httpx.Client, mnist: Mnist, encoding: str, binary: bool
) -> None:
    """The bytes on the wire are compressed as it says, and what comes of them is the same answer, framing included."""
    body, headers = request(mnist.images[:64], parameters={"binary_data_output": binary})
    answers = []
    for accepted in (encoding, "identity"):
        with client.stream("POST", INFER, content=body, headers=headers | {"Accept-Encoding": accepted}) as answer:
            raw = b"".join(answer.iter_raw())
            answers.append((answer.headers, raw))
    (compressed_headers, compressed), (headers_out, plain) = answers
    assert compressed_headers["Content-Encoding"] == encoding and "accept-encoding" in compressed_headers["Vary"]
    assert "Content-Encoding" not in headers_out
    assert int(compressed_headers["Content-Length"]) == len(compressed) < len(plain)
    assert UNDO[encoding](compressed) == plain
    assert compressed_headers.get(LENGTH) == headers_out.get(LENGTH)
    assert (compressed_headers.get(LENGTH) is not None) == binary


def test_short_answers_and_refusals_stay_as_they_are(client: httpx.Client, mnist: Mnist) -> None:
    """What fits into one packet gains nothing."""
    for content, status in ((request(mnist.images[:1])[0], 200), (b"{", 400)):
        answer = client.post(INFER, content=content, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == status and "Content-Encoding" not in answer.headers


@pytest.fixture(scope="module")
def small() -> Iterator[httpx.Client]:
    """A client of an application that reads at most 20,000 bytes of a body."""
    with serving(create_app(Settings(models=MODELS, provider="cpu", max_body=20_000))) as client:
        yield client


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bombs_are_refused_and_the_service_goes_on(small: httpx.Client, encoding: str) -> None:
    """A body that is small until it is decompressed is a 413 with the limit, and so is one that is not compressed."""
    headers = {"Content-Encoding": encoding}
    bomb = WAYS[encoding](bytes(10**7))
    assert len(bomb) < 20_000
    said = refused(small.post(INFER, content=bomb, headers=headers), 413)
    assert said == "the body has more than the 20,000 bytes that are read, once decompressed"
    assert refused(small.post(INFER, content=bytes(20_001), headers=headers), 413)
    assert small.post(INFER, content=bytes(784), headers={LENGTH: "0"}).status_code == 200


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, deflate", "compress", "x" * 100, "ü"])
def test_unknown_encodings_are_refused(client: httpx.Client, encoding: str) -> None:
    """A 400 that names those which are known, and never a 415."""
    answer = client.post(INFER, content=b"{}", headers={b"Content-Encoding": encoding.encode("latin-1")})
    said = refused(answer, 400)
    assert said == f"the Content-Encoding is to be gzip or deflate, not '{encoding[:20]}'"


def test_broken_streams_are_the_caller_s_mistake(client: httpx.Client) -> None:
    """Cut, damaged, or not compressed at all: 400."""
    whole = gzip.compress(json.dumps({"inputs": []}).encode())
    for content in (whole[:-1], whole[:10], b"{}", b"", whole + whole):
        said = refused(client.post(INFER, content=content, headers={"Content-Encoding": "gzip"}), 400)
        assert "Content-Encoding, gzip" in said
