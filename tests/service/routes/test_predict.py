"""`POST /v1/predict`: pictures in, digits out."""

import base64
import io
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.special import logsumexp

from service.app import create_app
from service.image import Found, Seen
from service.manifest import Manifest
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.serving import DATA, serving, with_thresholds

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
    """Model, digit, confidence, no reason to reject it, and ten probabilities: those of plain ONNX Runtime."""
    body = client.post("/v1/predict", content=encode(mnist.images[0]), params=AS_IS).json()
    expected = plain.run(["probabilities"], {"image": mnist.images[:1, None]})[0][0]
    assert list(body) == ["model", "predictions"]
    assert body["model"] == {"name": "digits", "version": client.get("/v1/model").json()["manifest"]["version"]}
    (prediction,) = body["predictions"]
    assert list(prediction) == ["digit", "confidence", "rejected", "reason", "probabilities"]
    assert (prediction["rejected"], prediction["reason"]) == (False, None)
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


@pytest.mark.parametrize("query", ["preprocess=best", "preprocess=", "seen=perhaps", "segment=2", "segment="])
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


BLANKS: dict[str, tuple[bytes, dict[str, str], dict[str, str]]] = {
    "white paper": (encode(np.full((60, 40), 255, np.uint8)), {}, {}),
    "nearly black": (encode(np.arange(64, dtype=np.uint8).reshape(8, 8) % 11), {}, {}),
    "large": (encode(np.full((900, 900), 128, np.uint8), "BMP"), {}, {}),
    "black as it is": (encode(np.zeros((28, 28), np.uint8)), AS_IS, {}),
    "grey as it is": (encode(np.full((28, 28), 77, np.uint8)), AS_IS, {}),
    "prepared": (bytes(784), {}, PREPARED),
    "prepared, of 11 levels": (bytes(range(12)) * 65 + bytes(4), {}, PREPARED),
    "prepared, white": (b"\xff" * 784, {}, PREPARED),
}


@pytest.mark.parametrize("name", BLANKS)
@pytest.mark.parametrize("seen", ["true", "false"])
def test_what_is_blank_is_rejected(client: httpx.Client, name: str, seen: str) -> None:
    """Nothing in a picture, or in a prepared digit, is answered by a best guess that is not to be believed."""
    content, query, headers = BLANKS[name]
    body = client.post("/v1/predict", content=content, params=query | {"seen": seen}, headers=headers).json()
    (prediction,) = body["predictions"]
    assert (prediction["rejected"], prediction["reason"]) == (True, "blank")
    assert prediction["digit"] == int(np.argmax(prediction["probabilities"]))
    assert ("seen" in prediction) == (seen == "true")


def test_each_part_is_rejected_by_itself(client: httpx.Client, mnist: Mnist) -> None:
    """Of several pictures those that are blank are, whichever place they have."""
    blank = encode(np.full((60, 40), 255, np.uint8))
    pictures = [encode(mnist.images[0]), blank, encode(mnist.images[1]), blank]
    body = client.post("/v1/predict", files=[("files", ("a", picture)) for picture in pictures]).json()
    assert [answer["reason"] for answer in body["predictions"]] == [None, "blank", None, "blank"]
    assert [answer["rejected"] for answer in body["predictions"]] == [False, True, False, True]


@pytest.mark.parametrize("size", [(28, 28), (300, 300)], ids=["read at once", "read in a thread"])
def test_several_digits_are_rejected(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, mnist: Mnist, size: tuple[int, int]
) -> None:
    """What the intake finds wrong with a picture is told, beside the guess, and of that picture alone."""

    def several(digit: NDArray[np.uint8]) -> Seen:
        return Seen(digit, "several" if digit[0, 0] else None)

    def seen(picture: Image.Image, *_: object) -> Seen:
        return several(np.asarray(picture.resize((28, 28))))

    monkeypatch.setattr("service.predictor.seen_by_network", seen)
    monkeypatch.setattr("service.image.seen_by_network", seen)
    plain, marked = mnist.images[0].copy(), mnist.images[0].copy()
    marked[0, 0] = 255
    contents = [encode(Image.fromarray(digit).resize(size, Image.Resampling.NEAREST)) for digit in (plain, marked)]
    answers = [client.post("/v1/predict", content=content).json()["predictions"][0] for content in contents]
    together = client.post("/v1/predict", files=[("files", ("a", content)) for content in contents]).json()
    for first, second in (answers, together["predictions"]):
        assert (first["rejected"], first["reason"]) == (False, None)
        assert (second["rejected"], second["reason"], second["digit"]) == (True, "several", 7)


def test_thresholds_reject_and_change_nothing_else(
    client: httpx.Client, mnist: Mnist, plain: Any, manifest: Manifest, tmp_path: Path
) -> None:
    """Evidence is SciPy's logsumexp of the raw logits of plain ONNX Runtime; what is rejected has the same numbers."""
    noise = np.random.default_rng(5).integers(0, 256, (50, 28, 28), np.uint8)
    images = np.concatenate((mnist.images[:150], noise))
    logits, probabilities = plain.run(["logits", "probabilities"], {"image": images[:, None]})
    evidence = logsumexp(logits.astype(np.float64) * manifest.temperature, axis=1)
    confidence = probabilities.max(axis=1)
    limits = {"evidence": float(_between(evidence, 60)), "confidence": float(_between(confidence, 60))}
    expected = np.where(confidence < limits["confidence"], "ambiguous", "")
    expected = np.where(evidence < limits["evidence"], "not_a_digit", expected).tolist()
    assert {"", "ambiguous", "not_a_digit"} == set(expected)
    before = client.post("/v1/predict", content=images.tobytes(), headers=PREPARED).json()["predictions"]
    app = create_app(Settings(models=with_thresholds(tmp_path, **limits), provider="cpu"))
    with serving(app) as doubting:
        after = doubting.post("/v1/predict", content=images.tobytes(), headers=PREPARED).json()["predictions"]
        shown = doubting.get("/v1/model").json()["manifest"]["rejection"]
    assert shown == limits
    assert [answer["reason"] or "" for answer in after] == expected
    for old, new in zip(before, after, strict=True):
        assert new == old | {"rejected": new["reason"] is not None, "reason": new["reason"]}


def _between(values: NDArray[Any], rank: int) -> Any:
    """A threshold with that many values below it, and none so near that rounding decides."""
    ordered = np.sort(values.astype(np.float64))
    return (ordered[rank - 1] + ordered[rank]) / 2


class TestSegment:
    """`?segment=true`: an answer for each digit in each picture."""

    @pytest.fixture
    def finder(self, monkeypatch: pytest.MonkeyPatch, mnist: Mnist) -> dict[str, int]:
        """Finds as many digits as a picture is wide beyond 10 pixels, the first ones of MNIST, in boxes of their own.

        It tells in which threads it did so.
        """
        threads: dict[str, int] = {}

        def find(data: bytes, _: int) -> list[Found]:
            threads[threading.current_thread().name] = 1
            width = Image.open(io.BytesIO(data)).width
            return [Found((n, n + 1, n + 2, n + 3), mnist.images[n]) for n in range(width - 10)]

        monkeypatch.setattr("service.predictor.find_digits", find)
        return threads

    @staticmethod
    def picture(count: int) -> bytes:
        """One with so many digits for that finder."""
        return encode(np.zeros((10, 10 + count), np.uint8))

    def test_each_digit_has_its_answer_and_box(
        self, client: httpx.Client, mnist: Mnist, finder: dict[str, int]
    ) -> None:
        """In reading order, with the answer that the digit by itself gets, read in a thread that decodes."""
        body = client.post("/v1/predict?segment=true&seen=true", content=self.picture(40)).json()
        alone = client.post("/v1/predict?seen=true", content=mnist.images[:40].tobytes(), headers=PREPARED).json()
        assert list(body) == ["model", "predictions"] and body["model"] == alone["model"]
        assert list(body["predictions"][0])[:3] == ["picture", "box", "digit"]
        for number, (answer, expected) in enumerate(zip(body["predictions"], alone["predictions"], strict=True)):
            probabilities = answer.pop("probabilities")
            np.testing.assert_allclose(probabilities, expected.pop("probabilities"), atol=1e-5)
            assert answer.pop("confidence") == pytest.approx(expected.pop("confidence"), abs=1e-5)
            assert answer == {"picture": 0, "box": [number, number + 1, number + 2, number + 3], **expected}
        assert len(finder) == 1 and all("worker" in name for name in finder)

    def test_parts_tell_which_picture_a_digit_is_in(self, client: httpx.Client, finder: dict[str, int]) -> None:
        """Of several pictures, one after the other; one without digits has no answer, and its number no digit."""
        files = [("files", ("a", self.picture(count))) for count in (2, 0, 1)]
        answers = client.post("/v1/predict?segment=1", files=files).json()["predictions"]
        assert [(answer["picture"], answer["box"][0]) for answer in answers] == [(0, 0), (0, 1), (2, 0)]
        assert "seen" not in answers[0] and finder

    def test_a_picture_without_digits_is_no_mistake(self, client: httpx.Client) -> None:
        """A blank picture is answered by an empty list, however it comes, and nothing is counted as predicted."""
        blank = encode(np.full((60, 40), 255, np.uint8))
        name = "digitscope_batch_images_sum"
        before = [line for line in client.get("/metrics").text.splitlines() if name in line]
        for sent in ({"content": blank}, {"files": [("files", ("a", blank)), ("files", ("b", blank))]}):
            answer = client.post("/v1/predict?segment=true", **sent)
            assert answer.status_code == 200 and answer.json()["predictions"] == []
        assert [line for line in client.get("/metrics").text.splitlines() if name in line] == before

    def test_a_drawn_digit_is_found(self, client: httpx.Client) -> None:
        """One digit on paper is one answer, whose box holds its ink and lies within the picture."""
        body = client.post("/v1/predict?segment=true", content=encode(drawn())).json()
        (answer,) = body["predictions"]
        left, top, width, height = answer["box"]
        assert answer["digit"] == 7
        assert 0 <= left <= 108 and left + width >= 190 and left + width <= 300
        assert 0 <= top <= 42 and top + height >= 160 and top + height <= 200

    def test_too_many_digits_are_refused(self, client: httpx.Client, finder: dict[str, int]) -> None:
        """As many as prepared digits are taken, of all pictures together, and one more is not."""
        assert len(client.post("/v1/predict?segment=true", content=self.picture(256)).json()["predictions"]) == 256
        said = "the request has 257 digits, and at most 256 are taken at once"
        assert refused(client.post("/v1/predict?segment=true", content=self.picture(257)), 413) == said
        files = [("files", ("a", self.picture(count))) for count in (200, 57)]
        assert refused(client.post("/v1/predict?segment=true", files=files), 413) == said
        assert finder

    @pytest.mark.parametrize(
        ("query", "headers", "said"),
        [
            ("", PREPARED, "segment=true finds digits in pictures, and application/octet-stream holds prepared ones"),
            (
                "&preprocess=none",
                {},
                "segment: it finds digits in pictures, and preprocess=none takes a picture as one digit",
            ),
        ],
    )
    def test_what_is_one_digit_already_is_refused(
        self, client: httpx.Client, query: str, headers: dict[str, str], said: str
    ) -> None:
        """Prepared digits and pictures that are taken as they are have no digits to be found, and that is said."""
        answer = client.post(f"/v1/predict?segment=true{query}", content=bytes(784), headers=headers)
        assert refused(answer, 400) == said

    def test_a_bad_picture_is_named(self, client: httpx.Client) -> None:
        """As without it: no body, no picture, and which part it is."""
        assert "no body" in refused(client.post("/v1/predict?segment=true", content=b""), 400)
        assert "no picture" in refused(client.post("/v1/predict?segment=true", content=b"hello"), 415)
        files = [("files", ("a", encode(drawn()))), ("files", ("b", b"hello"))]
        assert refused(client.post("/v1/predict?segment=true", files=files), 415).startswith("part 2 ('b'): ")
