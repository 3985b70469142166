"""`POST /v1/operators`: a picture in, an operator's output out, as PNG, JSON and NPY; and the list of operators."""

import base64
import io
from typing import Any, get_args

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import signal

from service.app import create_app
from service.operators.operation import Operator
from service.schemas.operators import OperatorAnswer, OperatorsAnswer
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.serving import MODELS, serving

TYPES = {"png": "image/png", "json": "application/json", "npy": "application/x-npy"}
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def ask(client: httpx.Client, picture: bytes, accept: str = "*/*", **query: Any) -> httpx.Response:
    """Sends a picture as the raw body."""
    return client.post("/v1/operators", params=query, headers={"Accept": accept}, content=picture)


def values_of(answer: httpx.Response) -> NDArray[np.float32]:
    """What NumPy reads without pickle."""
    assert answer.status_code == 200, answer.text
    values: NDArray[np.float32] = np.load(io.BytesIO(answer.content), allow_pickle=False)
    return values


def pixels_of(url: str) -> NDArray[np.uint8]:
    """The pixels of a data URL."""
    assert url.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_npy_has_the_values(client: httpx.Client, mnist: Mnist) -> None:
    """Cross-correlation with Sobel's kernel by default, float32 (height, width), as SciPy computes it."""
    values = values_of(ask(client, encode(mnist.images[0]), format="npy"))
    assert values.dtype == np.float32
    expected = signal.correlate2d(mnist.images[0] / 255, SOBEL, mode="valid")
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_a_picture_keeps_its_size_and_colours_become_luminance(client: httpx.Client) -> None:
    """Nothing is cropped or turned into a digit: a picture of 300×200 gives one of 300×200."""
    picture = drawn(mode="RGB", ground=(250, 240, 200), ink=(20, 60, 120))
    levels = np.asarray(picture.convert("L")) / 255
    found = values_of(ask(client, encode(picture), format="npy", kernel="gaussian", size=5, padding="half"))
    bell = signal.windows.gaussian(5, 1.25)
    expected = signal.correlate2d(levels, np.outer(bell, bell) / bell.sum() ** 2, mode="same")
    assert found.shape == (200, 300)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_photograph_is_turned_upright(client: httpx.Client) -> None:
    """By its EXIF orientation, sizes included."""
    picture = Image.fromarray(np.tile(np.arange(40, dtype=np.uint8) * 6, (30, 1)))
    exif = Image.Exif()
    exif[0x0112] = 6
    values = values_of(ask(client, encode(picture, "PNG", exif=exif.tobytes()), format="npy", operator="relu"))
    np.testing.assert_allclose(values, np.rot90(np.asarray(picture) / 255, -1), atol=1e-6)


def test_json_tells_everything(client: httpx.Client, mnist: Mnist) -> None:
    """Sizes, the formula filled in, the kernel, the padding in pixels, the cost, the range, and both pictures."""
    picture = encode(mnist.images[0])
    query: dict[str, Any] = {"kernel": "1,0,-1;2,0,-2;1,0,-1", "padding": "half", "stride": 2}
    answer = ask(client, picture, format="json", **query)
    assert answer.headers["Content-Type"] == TYPES["json"]
    told = answer.json()
    OperatorAnswer.model_validate(told)
    assert told["input"] == {"width": 28, "height": 28} and told["output"] == {"width": 14, "height": 14}
    assert told["formula"] == dict.fromkeys(("width", "height"), "⌊(28 − 3 + 2·1)/2⌋ + 1 = 14")
    assert told["kernel"] == [[1, 0, -1], [2, 0, -2], [1, 0, -1]]
    assert told["window"] == {"width": 3, "height": 3} and told["padding"] == {"width": 1, "height": 1}
    assert told["stride"] == 2 and told["multiply_adds"] == 14 * 14 * 9
    values = values_of(ask(client, picture, format="npy", **query))
    assert np.float32(told["minimum"]) == values.min() and np.float32(told["maximum"]) == values.max()
    assert told["shown"]["show"] == "signed" and told["shown"]["low"] == -told["shown"]["high"]
    np.testing.assert_array_equal(pixels_of(told["seen"]), mnist.images[0])
    assert pixels_of(told["picture"]).shape == (14, 14, 3)


@pytest.mark.parametrize("operator", get_args(Operator))
def test_every_operator_answers_in_every_format(client: httpx.Client, mnist: Mnist, operator: str) -> None:
    """With its defaults; the headers of PNG and NPY tell what JSON tells."""
    picture = encode(mnist.images[1])
    told = ask(client, picture, operator=operator, format="json").json()
    OperatorAnswer.model_validate(told)
    for kind in ("png", "npy"):
        answer = ask(client, picture, operator=operator, format=kind)
        assert answer.headers["Content-Type"] == TYPES[kind]
        headers = {name[13:]: value for name, value in answer.headers.items() if name.startswith("x-digitscope-")}
        assert headers["input"] == "28x28"
        assert headers["output"] == f"{told['output']['width']}x{told['output']['height']}"
        assert np.float32(headers["minimum"]) == np.float32(told["minimum"])
        assert np.float32(headers["maximum"]) == np.float32(told["maximum"])
        assert headers["show"] == told["shown"]["show"]
        assert ("width-formula" in headers) == (told["formula"] is not None)
        if told["formula"]:
            assert headers["height-formula"].endswith(f"= {told['output']['height']}")
    assert ask(client, picture, operator=operator).content == base64.b64decode(told["picture"].partition(",")[2])


@pytest.mark.parametrize(
    ("query", "mode", "show"),
    [
        ({"kernel": "gaussian"}, "L", "grey"),
        ({"kernel": "sharpen"}, "L", "grey"),
        ({"kernel": "sobel-y"}, "RGB", "signed"),
        ({"kernel": "sobel-y", "show": "magnitude"}, "L", "magnitude"),
        ({"operator": "relu", "kernel": "sobel-y"}, "L", "range"),
        ({"operator": "max-pooling"}, "L", "grey"),
        ({"operator": "l2-pooling"}, "L", "range"),
        ({"operator": "sigmoid", "kernel": "outline"}, "L", "grey"),
        ({"operator": "tanh", "kernel": "outline"}, "RGB", "signed"),
    ],
)
def test_each_output_is_shown_as_suits_it(
    client: httpx.Client, mnist: Mnist, query: dict[str, str], mode: str, show: str
) -> None:
    """Pictures in grey, values with signs in colours, unless it is asked for otherwise."""
    answer = ask(client, encode(mnist.images[2]), **query)
    assert Image.open(io.BytesIO(answer.content)).mode == mode
    assert answer.headers["X-Digitscope-Show"] == show


def test_the_headers_say_the_formula_in_ascii(client: httpx.Client, mnist: Mnist) -> None:
    """As headers have to, and of width and height apart."""
    picture = encode(np.zeros((20, 30), np.uint8))
    headers = ask(client, picture, kernel="1,2,1", padding="full", stride=3).headers
    assert headers["X-Digitscope-Width-Formula"] == "floor((30 - 3 + 2*2)/3) + 1 = 11"
    assert headers["X-Digitscope-Height-Formula"] == "floor((20 - 1 + 2*0)/3) + 1 = 7"
    assert headers["X-Digitscope-Output"] == "11x7"
    headers = ask(client, encode(mnist.images[0]), operator="transposed-convolution", padding="half").headers
    assert headers["X-Digitscope-Width-Formula"] == "2*(28 - 1) + 3 - 2*1 = 55"


@pytest.mark.parametrize(
    ("accept", "chosen"), [("*/*", "png"), ("application/json", "json"), ("text/html, application/x-npy;q=0.5", "npy")]
)
def test_the_accept_header_chooses(client: httpx.Client, mnist: Mnist, accept: str, chosen: str) -> None:
    """As for feature maps; PNG where it names none of the three."""
    assert ask(client, encode(mnist.images[0]), accept).headers["Content-Type"] == TYPES[chosen]


def test_a_picture_may_be_a_part(client: httpx.Client, mnist: Mnist) -> None:
    """One multipart part is the same as the raw body, and two are refused."""
    picture = encode(mnist.images[0])
    part = ("files", ("a.png", picture))
    answer = client.post("/v1/operators", files=[part])
    assert answer.content == ask(client, picture).content
    said = refused(client.post("/v1/operators", files=[part, part]), 400)
    assert said == "one picture is taken at a time, and 2 were sent"
    assert "to be named 'files'" in refused(client.post("/v1/operators", files={"other": picture}), 400)
    assert "is no picture" in refused(client.post("/v1/operators", files={"files": b"nothing"}), 415)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"operator": "blur"}, 400, "operator: Input should be 'cross-correlation', 'convolution'"),
        ({"kernel": "nan"}, 400, "kernel: 'nan' is no number"),
        ({"kernel": "1e999"}, 400, "kernel: 1e999 is beyond ±1,000,000"),
        ({"kernel": "1,2;3"}, 400, "kernel: row 1 has 2 numbers and row 2 has 1"),
        ({"kernel": ",".join("1" * 16)}, 400, "at most 15×15 are taken"),
        ({"kernel": "1" * 9000}, 400, "at most 8,192 are read"),
        ({"kernel": "box", "size": 15, "stride": 16}, 400, "stride: Input should be less than or equal to 15"),
        ({"kernel": "box", "size": 0}, 400, "size: Input should be greater than or equal to 1"),
        ({"kernel": "1,2", "padding": "half"}, 400, "padding: half padding needs an odd kernel, not 2"),
        ({"padding": "same"}, 400, "padding: Input should be 'valid', 'half' or 'full'"),
        ({"operator": "max-pooling", "size": 12}, 400, "max-pooling: a kernel of 12 does not fit into 10 pixels"),
        (
            {"kernel": "box", "size": 11},
            400,
            "cross-correlation: a kernel of 11 does not fit into 10 pixels padded by 0",
        ),
        ({"show": "rainbow"}, 400, "show: Input should be"),
        ({"format": "gif"}, 400, "format: Input should be"),
    ],
)
def test_what_cannot_be_done_is_refused(client: httpx.Client, query: dict[str, Any], status: int, said: str) -> None:
    """Each wrong request gets its status and a sentence, on a picture of 10×10."""
    assert said in refused(ask(client, encode(np.zeros((10, 10), np.uint8)), **query), status)


def test_a_kernel_larger_than_the_picture_fits_into_the_padded_one(client: httpx.Client) -> None:
    """With full padding every kernel meets every picture, as in SciPy."""
    picture = np.random.default_rng(0).integers(0, 256, (10, 9), np.uint8)
    found = values_of(ask(client, encode(picture), format="npy", kernel="box", size=15, padding="full"))
    expected = signal.correlate2d(picture / 255, np.full((15, 15), 1 / 225), mode="full")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_largest_picture_is_taken_and_a_larger_one_is_not(client: httpx.Client) -> None:
    """A million pixels; what would come out of them is limited as well, and so is the work."""
    picture = encode(np.zeros((1024, 1024), np.uint8))
    assert ask(client, picture, kernel="gaussian").headers["X-Digitscope-Output"] == "1022x1022"
    said = refused(ask(client, encode(np.zeros((1024, 1025), np.uint8))), 413)
    assert said == "the picture has 1025×1024 pixels, and at most 1,048,576 are read"
    assert "the output would have 2049×2049" in refused(ask(client, picture, operator="transposed-convolution"), 413)
    assert "cells, and at most 67,108,864" in refused(ask(client, picture, kernel="box", size=15), 413)


def test_the_service_s_own_limit_of_pixels_holds_too() -> None:
    """Where fewer pixels are read than operators take."""
    with serving(create_app(Settings(models=MODELS, provider="cpu", max_pixels=1000))) as client:
        assert "at most 1,000 are read" in refused(ask(client, encode(np.zeros((40, 40), np.uint8))), 413)


def test_broken_pictures_are_refused(client: httpx.Client, mnist: Mnist) -> None:
    """No body, no picture, half a picture, and one whose header alone is a bomb."""
    assert "the request has no body" in refused(ask(client, b""), 400)
    assert "this is no picture in a format" in refused(ask(client, b"%PDF-1.7 no picture"), 415)
    assert "damaged" in refused(ask(client, encode(drawn())[:300]), 415)
    assert "at least 8×8 are needed" in refused(ask(client, encode(np.zeros((7, 8), np.uint8))), 400)
    bomb = bytearray(encode(mnist.images[0], "BMP"))
    bomb[18:26] = (60000).to_bytes(4, "little") * 2
    assert "the picture has 60000×60000 pixels" in refused(ask(client, bytes(bomb)), 413)


def test_the_operators_are_listed(client: httpx.Client, mnist: Mnist) -> None:
    """With numbers that can be sent back: each kernel's weights give what its name gives."""
    told = client.get("/v1/operators").json()
    OperatorsAnswer.model_validate(told)
    assert [operator["name"] for operator in told["operators"]] == list(get_args(Operator))
    picture = encode(mnist.images[0])
    for kernel in told["kernels"]:
        numbers = ";".join(",".join(map(str, row)) for row in kernel["values"])
        named, own = (
            values_of(ask(client, picture, format="npy", kernel=value)) for value in (kernel["name"], numbers)
        )
        np.testing.assert_array_equal(named, own)
    assert [show["name"] for show in told["shows"]] == ["grey", "range", "signed", "magnitude"]
    assert told["limits"]["pixels"] == 1024 * 1024


def test_every_documented_picture_type_is_taken(client: httpx.Client) -> None:
    """Each content type that the document lists is answered when it is sent."""
    body = client.get("/openapi.json").json()["paths"]["/v1/operators"]["post"]["requestBody"]["content"]
    kinds = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/bmp": "BMP", "image/gif": "GIF"}
    kinds["image/tiff"] = "TIFF"
    assert set(body) == {*kinds, "multipart/form-data"}
    for media_type, kind in kinds.items():
        answer = client.post("/v1/operators", content=encode(drawn(), kind), headers={"Content-Type": media_type})
        assert answer.status_code == 200, answer.text
