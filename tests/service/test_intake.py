"""Pictures as parts of a multipart request: each its own answer, and each problem the number of its part."""

from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import Mnist
from tests.service.pictures import encode
from tests.service.refusals import refused

GOOD = encode(np.eye(28, dtype=np.uint8) * 255)
DAMAGED = encode(np.random.default_rng(2).integers(0, 256, (28, 28), np.uint8))[:300]


def files(*contents: bytes, name: str = "files") -> list[tuple[str, tuple[str, bytes]]]:
    """Parts as a form in a browser, or `curl -F`, sends them."""
    return [(name, (f"digit-{number}.png", content)) for number, content in enumerate(contents, start=1)]


def post(client: httpx.Client, parts: Any) -> httpx.Response:
    """Sends parts that are taken as they are."""
    return client.post("/v1/predict?preprocess=none", files=parts)


@pytest.mark.parametrize("count", [1, 2, 64])
def test_each_part_gets_its_own_answer(client: httpx.Client, mnist: Mnist, plain: Any, count: int) -> None:
    """1 to 64 pictures are answered in the order in which they were sent."""
    images = mnist.images[:count]
    body = post(client, files(*map(encode, images))).json()
    (expected,) = plain.run(["probabilities"], {"image": images[:, None]})
    np.testing.assert_allclose([answer["probabilities"] for answer in body["predictions"]], expected, atol=1e-5)


def test_65_parts_are_too_many(client: httpx.Client) -> None:
    """One beyond the limit is refused, and the sentence names the limit."""
    assert refused(post(client, files(*[GOOD] * 65)), 413) == "the request has more than 64 pictures"


@pytest.mark.parametrize(
    ("bad", "status", "said"),
    [
        (b"hello", 415, "this is no picture in a format that is read here (PNG, JPEG, WEBP, BMP, GIF, TIFF)"),
        (DAMAGED, 415, "the picture is damaged and cannot be decoded"),
        (b"", 415, "this is no picture in a format that is read here (PNG, JPEG, WEBP, BMP, GIF, TIFF)"),
        (encode(np.zeros((8, 7), np.uint8)), 400, "the picture has 7×8 pixels, and at least 8×8 are needed"),
        (
            encode(np.zeros((9, 9), np.uint8)),
            400,
            "preprocess=none takes 28×28 pixels as they are, and this picture has 9×9",
        ),
    ],
    ids=["text", "damaged", "empty", "small", "another size"],
)
def test_a_bad_part_is_named(client: httpx.Client, bad: bytes, status: int, said: str) -> None:
    """Number and name of the part stand before what is wrong with it."""
    assert refused(post(client, files(GOOD, GOOD, bad, GOOD)), status) == f"part 3 ('digit-3.png'): {said}"


def test_the_first_of_several_bad_parts_is_named(client: httpx.Client) -> None:
    """Though they are decoded side by side, the sentence is always about the first one."""
    large = encode(np.zeros((900, 900), np.uint8))
    for _ in range(5):
        sentence = refused(post(client, files(GOOD, large, b"hello", b"hello")), 400)
        assert sentence.startswith("part 2 ('digit-2.png'): preprocess=none takes 28×28")


def test_parts_of_another_name_are_refused(client: httpx.Client) -> None:
    """Neither a wrong name alone nor one among right ones is passed over."""
    for parts in (files(GOOD, name="image"), files(GOOD) + files(GOOD, name="image")):
        assert refused(post(client, parts), 400) == "the parts are to be named 'files', and one is named 'image'"


def test_a_part_without_a_filename_is_text(client: httpx.Client) -> None:
    """A form's text field is no picture, and the sentence says what it lacks."""
    parts = [*files(GOOD), ("files", (None, b"seven"))]
    assert refused(post(client, parts), 400) == "part 2 is text; a part that is a picture needs a filename"


def test_a_request_without_parts_is_refused(client: httpx.Client) -> None:
    """A multipart body that ends before it begins has nothing to answer."""
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/predict", content=b"--b--\r\n", headers=headers)
    assert refused(answer, 400) == "the multipart body has no part named 'files'"


_HEAD = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'


# Starlette leaves the file of a part that never ends to the garbage collector, which closes it.
@pytest.mark.filterwarnings(r"ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", _HEAD + GOOD + b"\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"nothing of that kind"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", _HEAD + GOOD),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nbroken header\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=other", _HEAD + GOOD + b"\r\n--b--\r\n"),
    ],
    ids=["no boundary", "no parts", "empty", "no end", "no name", "bad header", "another boundary"],
)
def test_malformed_multipart_is_refused(client: httpx.Client, content_type: str, body: bytes) -> None:
    """Whatever is wrong with the framing is a 400 with a sentence."""
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": content_type})
    assert "multipart" in refused(answer, 400)


def test_a_large_part_is_read_whole(client: httpx.Client) -> None:
    """A part beyond a megabyte, which goes through a file on disk, is the same picture."""
    seven = np.zeros((2100, 2100), np.uint8)
    seven[300:500, 400:1500] = seven[300:1900, 1300:1500] = 255
    large, small = encode(seven, "BMP"), encode(seven)
    assert len(large) > 2**22
    answers = [client.post("/v1/predict", files=files(content)).json() for content in (large, small)]
    assert answers[0] == answers[1]


@pytest.mark.filterwarnings(r"ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("charset", ["undefined", "punycode", "bogus", "raw_unicode_escape", "utf-7"])
@pytest.mark.parametrize("name", [b"\\ud800x", b"+2AA-", b"files"])
def test_a_charset_that_breaks_names_is_the_caller_s_mistake(client: httpx.Client, charset: str, name: bytes) -> None:
    """Names that a charset turns into what is no text get a 4xx with a sentence, and not a failure of the service."""
    body = b'--b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\nhello\r\n--b--\r\n' % (name, name)
    headers = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = client.post("/v1/predict", content=body, headers=headers)
    assert answer.status_code in (400, 415)
    assert answer.json().keys() == {"error"}
