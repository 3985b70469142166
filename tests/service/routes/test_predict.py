"""`POST /v1/predict`: pictures in, digits out."""

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.serving import DATA

PREPARED = {"Content-Type": "application/octet-stream"}
AS_IS = {"preprocess": "none"}


@pytest.mark.parametrize(
    "content_type", ["image/png", "application/x-www-form-urlencoded", "image/gif", "text/plain", None]
)
def test_a_seven_is_a_seven(client: httpx.Client, content_type: str | None) -> None:
    """The picture of the README is recognised, whatever type it is said to have: its content tells."""
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post("/v1/predict", content=(DATA / "seven.png").read_bytes(), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["digit"] == 7


def test_the_answer_has_the_documented_form(client: httpx.Client, mnist: Mnist, plain: Any) -> None:
    """Model, digit, confidence and ten probabilities, which are those of plain ONNX Runtime."""
    body = client.post("/v1/predict", content=encode(mnist.images[0]), params=AS_IS).json()
    expected = plain.run(["probabilities"], {"image": mnist.images[:1, None]})[0][0]
    assert list(body) == ["model", "predictions"]
    assert body["model"] == {"name": "digits", "version": client.get("/v1/model").json()["manifest"]["version"]}
    (prediction,) = body["predictions"]
    assert list(prediction) == ["digit", "confidence", "probabilities"]
    np.testing.assert_allclose(prediction["probabilities"], expected, atol=1e-5)
    assert prediction["digit"] == expected.argmax()
    assert prediction["confidence"] == prediction["probabilities"][prediction["digit"]]
    assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 256])
def test_prepared_digits_are_answered_in_order(client: httpx.Client, mnist: Mnist, plain: Any, count: int) -> None:
    """n×784 bytes get n answers, each its own, up to the limit and beyond what one batch holds."""
    images = mnist.images[500 : 500 + count]
    body = client.post("/v1/predict", content=images.tobytes(), headers=PREPARED).json()
    (expected,) = plain.run(["probabilities"], {"image": images[:, None]})
    given = [prediction["probabilities"] for prediction in body["predictions"]]
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_seen_is_what_the_network_saw(client: httpx.Client, mnist: Mnist) -> None:
    """The data URL is a PNG of the very levels that were taken as they are."""
    body = client.post("/v1/predict", content=encode(mnist.images[7]), params={**AS_IS, "seen": "true"}).json()
    kind, _, data = body["predictions"][0]["seen"].partition(",")
    picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert kind == "data:image/png;base64" and picture.format == "PNG"
    np.testing.assert_array_equal(np.asarray(picture), mnist.images[7])


def test_the_answer_is_about_what_was_seen(client: httpx.Client, plain: Any) -> None:
    """Plain ONNX Runtime gives the same probabilities for what a large drawing was made into."""
    body = client.post("/v1/predict", content=encode(drawn()), params={"seen": "true"}).json()
    data = base64.b64decode(body["predictions"][0]["seen"].partition(",")[2])
    seen = np.asarray(Image.open(io.BytesIO(data)))[None, None]
    (expected,) = plain.run(["probabilities"], {"image": seen})
    np.testing.assert_allclose(body["predictions"][0]["probabilities"], expected[0], atol=1e-5)


def test_seen_is_only_there_when_asked_for(client: httpx.Client) -> None:
    """Without ?seen=true, or with ?seen=false, the answer is short."""
    for query in ("", "?seen=false"):
        body = client.post(f"/v1/predict{query}", content=encode(drawn())).json()
        assert "seen" not in body["predictions"][0]


def test_preprocessing_is_the_default(client: httpx.Client) -> None:
    """Without a word about it, a picture of any size is made what MNIST would hold."""
    answers = [
        client.post(f"/v1/predict{query}", content=encode(drawn())).json() for query in ("", "?preprocess=mnist")
    ]
    assert answers[0] == answers[1]


def test_a_picture_of_another_size_is_not_taken_as_it_is(client: httpx.Client) -> None:
    """?preprocess=none says which size it needs, and which it got."""
    sentence = refused(client.post("/v1/predict", content=encode(drawn()), params=AS_IS), 400)
    assert sentence == "preprocess=none takes 28×28 pixels as they are, and this picture has 300×200"


@pytest.mark.parametrize("query", ["preprocess=best", "preprocess=", "seen=perhaps"])
def test_a_parameter_that_does_not_exist_is_named(client: httpx.Client, query: str) -> None:
    """A wrong value is refused by a sentence that begins with the parameter's name."""
    sentence = refused(client.post(f"/v1/predict?{query}", content=encode(drawn())), 400)
    assert sentence.startswith(f"{query.partition('=')[0]}: ")


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"", {}, 400, "no body"),
        (b"", PREPARED, 400, "no body"),
        (b"hello", {}, 415, "no picture"),
        (b"hello", {"Content-Type": "image/png"}, 415, "PNG, JPEG, WEBP, BMP, GIF, TIFF"),
        (b"{}", {"Content-Type": "application/json"}, 415, "no picture"),
        (bytes(783), PREPARED, 400, "784 bytes each, and 783 bytes"),
        (bytes(257 * 784), PREPARED, 413, "257 digits, and at most 256"),
        (encode(Image.new("L", (4, 4))), {}, 400, "4×4 pixels, and at least 8×8"),
        (encode(Image.new("1", (4100, 4100))), {}, 413, "4100×4100 pixels, and at most 16,777,216"),
        (encode(drawn())[:300], {}, 415, "damaged"),
    ],
    ids=["none", "none prepared", "text", "false", "json", "short", "many", "small", "large", "cut"],
)
def test_what_cannot_be_read_is_refused(
    client: httpx.Client, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    """Each gets its status and a sentence that names the problem and the limit; the next request is answered."""
    assert said in refused(client.post("/v1/predict", content=body, headers=headers), status)
    assert client.post("/v1/predict", content=encode(drawn())).status_code == 200
