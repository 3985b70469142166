"""Pictures that are prepared digits: those that are unpacked here have the pixels that the service would take."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from client.inputs.item import Content
from client.inputs.prepared import unpacked
from service.image import read_picture
from tests.conftest import Mnist
from tests.service.pictures import encode


def test_a_plain_digit_is_unpacked(mnist: Mnist) -> None:
    """MNIST's digits as PNG files are their pixels again, which are what the service sees of them."""
    for image in mnist.images[:50]:
        found = unpacked(Content("picture", encode(image)))
        assert found == Content("digit", image.tobytes())
        assert found.data == read_picture(encode(image), "none", 784).digit.tobytes()
        assert unpacked(found) is found


def _with_text() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "a turn may be told here")
    return encode(Image.new("L", (28, 28)), pnginfo=text)


@pytest.mark.parametrize(
    "data",
    [
        encode(Image.new("L", (28, 29))),
        encode(Image.new("LA", (28, 28))),
        encode(Image.new("I;16", (28, 28))),
        encode(Image.new("RGB", (28, 28))),
        encode(Image.new("1", (28, 28))),
        encode(Image.new("L", (28, 28)), transparency=0),
        encode(Image.new("L", (28, 28)), "JPEG"),
        _with_text(),
        b"no picture",
        b"",
    ],
)
def test_whatever_needs_a_decision_is_left_to_the_service(data: bytes) -> None:
    """Other sizes, modes and formats, transparency, metadata, and what is no picture, go as they are."""
    content = Content("picture", data)
    assert unpacked(content) is content


@given(st.integers(0, 2**32), st.integers(1, 400))
def test_damaged_pictures_are_left_to_the_service(seed: int, place: int) -> None:
    """A PNG with any byte changed either has the pixels that the service would take of it, or goes as it is."""
    buffer = io.BytesIO()
    digit = np.random.default_rng(seed).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(digit).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[place] ^= 0x10
    found = unpacked(Content("picture", bytes(data)))
    if found.kind == "digit":
        assert found.data == read_picture(bytes(data), "none", 784).digit.tobytes()
