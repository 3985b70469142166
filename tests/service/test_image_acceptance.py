"""Training digits made into strangers' pictures are read as they were: paper, pens, cameras, canvases.

The originals go to the network as they are; what is made of them goes through all of the preparation.
"""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from service.image import BLANK, SEVERAL, find_digits, read_picture
from tests.service.pictures import encode
from tests.service.serving import MODELS, VERSION

MANY = 10**7  # pixels
COUNT = 400  # pictures of each kind
AGREEING = 0.995
Digits = NDArray[np.uint8]
Levels = NDArray[np.float64]
Random = np.random.Generator


@pytest.fixture(scope="module")
def digits() -> Digits:
    """MNIST's 60,000 training digits (n, 28, 28), where MNIST_DIR has them: they are too large to be shipped."""
    path = Path(os.environ.get("MNIST_DIR", "")) / "train-images-idx3-ubyte.gz"
    if not path.is_file():
        pytest.skip("MNIST_DIR holds no training digits")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)


@pytest.fixture(scope="module")
def ask() -> Callable[[list[Digits]], NDArray[np.int64]]:
    """The shipped model in plain ONNX Runtime: digits → answers."""
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(MODELS / "digits" / VERSION / "model.onnx", providers=["CPUExecutionProvider"])

    def answer(images: list[Digits]) -> NDArray[np.int64]:
        parts = [np.stack(images[start : start + 500])[:, None] for start in range(0, len(images), 500)]
        return np.concatenate([session.run(["logits"], {"image": part})[0].argmax(axis=1) for part in parts])

    return answer


def scaled(digit: Digits, random: Random) -> Levels:
    """A digit 3 to 20 times as large, mostly below 8, somewhere in a larger picture: ink from 0 to 1."""
    side = round(28 * (3 + 17 * random.random() ** 4))
    method = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.NEAREST)[random.integers(3)]
    large = np.asarray(Image.fromarray(digit).resize((side, side), method), np.float64) / 255
    top, bottom, left, right = (int(part * side) for part in random.uniform(0, 0.5, 4))
    return np.pad(large, ((top, bottom), (left, right)))


def on_paper(ink: Levels, random: Random) -> Levels:
    """Dark ink on bright paper, 0–255, with a contrast of 80 at least."""
    ground = random.uniform(150, 250)
    return ground - ink * random.uniform(80, ground)


def blurred(levels: Levels, radius: float) -> Levels:
    """The levels behind a soft lens."""
    return np.asarray(whole(levels).filter(ImageFilter.GaussianBlur(radius)), np.float64)


def whole(levels: Levels) -> Image.Image:
    """The levels as a picture."""
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def light(shape: tuple[int, ...], random: Random) -> Levels:
    """How bright paper is under a lamp at one side, with a vignette, or half in the shadow of a hand; at most 1."""
    height, width = shape
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    angle = random.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    bright = 1 - random.uniform(0.1, 0.5) * (along / 1.42 + 0.5)
    if random.random() < 0.5:
        bright *= 1 - random.uniform(0.1, 0.5) * (x**2 + y**2)
    if random.random() < 0.4:
        edge = (along - random.uniform(-0.3, 0.3)) / random.uniform(0.02, 0.1)
        bright *= 1 - random.uniform(0.1, 0.3) / (1 + np.exp(-edge))
    return np.asarray(bright)


def printed(shape: tuple[int, ...], random: Random, squared: bool) -> Levels:
    """Ruled or squared paper's lines, as parts of the ink's darkness, straight or slightly turned."""
    height, width = shape
    longest = max(shape)
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    step = longest * random.uniform(0.08, 0.3)
    thick = max(1, round(longest * random.uniform(0.003, 0.012)))
    turn = random.uniform(-0.04, 0.04) * random.integers(2)
    for place in np.arange(-step * random.random() - 2 * step, longest + 2 * step, step):
        draw.line((0, place, width, place + turn * width), 255, thick)
        if squared:
            draw.line((place, 0, place - turn * height, height), 255, thick)
    return np.asarray(picture, np.float64) / 255 * random.uniform(0.15, 0.45)


def grain(shape: tuple[int, ...], random: Random) -> Levels:
    """Noise, fine or of the paper's fibres, in grey levels."""
    noise = random.normal(0, 1, shape)
    if random.random() < 0.5:
        noise += np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))
        noise /= 2
    return noise * random.uniform(2, 10)


def jpeg(levels: Levels, random: Random) -> bytes:
    """A JPEG file of any usual quality."""
    return encode(whole(levels), "JPEG", quality=int(random.integers(20, 90)))


def canvas(ink: Levels, colour: int) -> bytes:
    """A drawing on a transparent canvas."""
    levels = np.full(ink.shape, colour, np.uint8)
    return encode(np.dstack((levels, levels, levels, np.rint(ink * 255).astype(np.uint8))))


def photograph(digit: Digits, random: Random) -> bytes:
    """Everything at once: printed lines, uneven light, a soft lens, a noisy sensor, JPEG."""
    ink = scaled(digit, random)
    if random.random() < 0.5:
        ink = np.maximum(ink, 0.8 * printed(ink.shape, random, random.random() < 0.5))
    ground = random.uniform(150, 240)
    levels = (ground - ink * random.uniform(100, ground)) * light(ink.shape, random)
    levels = blurred(levels, random.uniform(0.3, 1.5))
    return jpeg(levels + random.normal(0, random.uniform(1, 6), ink.shape), random)


def lined(digit: Digits, random: Random, squared: bool) -> bytes:
    """A digit on ruled or squared paper whose lines are lighter than its ink."""
    ink = scaled(digit, random)
    levels = on_paper(np.maximum(ink, printed(ink.shape, random, squared)), random)
    return encode(whole(levels + random.normal(0, random.uniform(0, 3), ink.shape)))


def soft(digit: Digits, random: Random) -> bytes:
    """A digit out of focus, by up to a third of a pixel of the original."""
    ink = scaled(digit, random)
    return encode(whole(blurred(on_paper(ink, random), random.uniform(0.3, 1))))


KINDS: dict[str, Callable[[Digits, Random], bytes]] = {
    "scaled and moved": lambda digit, random: encode(whole(255 * scaled(digit, random))),
    "inverted": lambda digit, random: encode(whole(255 - 255 * scaled(digit, random))),
    "grain": lambda digit, random: encode(
        whole(on_paper(ink := scaled(digit, random), random) + grain(ink.shape, random))
    ),
    "shadows": lambda digit, random: encode(
        whole(on_paper(ink := scaled(digit, random), random) * light(ink.shape, random))
    ),
    "ruled": lambda digit, random: lined(digit, random, squared=False),
    "squared": lambda digit, random: lined(digit, random, squared=True),
    "blurred": soft,
    "JPEG": lambda digit, random: jpeg(on_paper(scaled(digit, random), random), random),
    "canvas, black": lambda digit, random: canvas(scaled(digit, random), 0),
    "canvas, white": lambda digit, random: canvas(scaled(digit, random), 255),
    "photograph": photograph,
}


def agreement(kind: str, chosen: Digits, seed: int, ask: Callable[[list[Digits]], NDArray[np.int64]]) -> float:
    """The share of digits whose pictures of that kind are answered as the digits themselves are."""
    random = np.random.default_rng(seed)
    seen = [read_picture(KINDS[kind](digit, random), "mnist", MANY) for digit in chosen]
    return float(np.mean(ask([digit for digit, _ in seen]) == ask(list(chosen))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_s_picture_is_read_as_the_digit_in_it(
    digits: Digits, ask: Callable[[list[Digits]], NDArray[np.int64]], kind: str
) -> None:
    """Of training digits made into pictures of a kind, 99.5 % and more are answered as the digits are."""
    chosen = digits[np.random.default_rng(20261124).permutation(len(digits))[:COUNT]]
    assert agreement(kind, chosen, 1, ask) >= AGREEING


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 59_990), st.integers(0, 2**32))
def test_whichever_digits_and_draws(
    digits: Digits, ask: Callable[[list[Digits]], NDArray[np.int64]], kind: str, first: int, seed: int
) -> None:
    """Of any ten digits that follow each other, made into any pictures of a kind, at most one is answered otherwise."""
    assert agreement(kind, digits[first : first + 10], seed, ask) >= 0.9


def test_a_digit_in_a_picture_is_neither_blank_nor_several(digits: Digits) -> None:
    """Of 500 pictures of all kinds at most one is said to hold no digit, and at most one to hold several."""
    random = np.random.default_rng(5)
    kinds = list(KINDS.values())
    pictures = [kinds[number % len(kinds)](digit, random) for number, digit in enumerate(digits[1000:1500])]
    reasons = [read_picture(picture, "mnist", MANY).reason for picture in pictures]
    assert reasons.count(BLANK) <= 1
    assert reasons.count(SEVERAL) <= 1


def test_digits_side_by_side_are_several_and_found_in_order(
    digits: Digits, ask: Callable[[list[Digits]], NDArray[np.int64]]
) -> None:
    """Of 200 canvases with two or three digits, 99 % are said to hold several; each is read as it is alone."""
    random = np.random.default_rng(6)
    told, right, wanted = 0, 0, 0
    for _ in range(200):
        chosen = digits[random.integers(0, len(digits), random.integers(2, 4))]
        gap = int(random.integers(4, 20))
        row = np.concatenate([np.pad(digit, ((6, 6), (gap // 2, gap - gap // 2))) for digit in chosen], axis=1)
        data = encode(Image.fromarray(255 - row).resize((row.shape[1] * 4, row.shape[0] * 4), Image.Resampling.BICUBIC))
        told += read_picture(data, "mnist", MANY).reason == SEVERAL
        found = find_digits(data, MANY)
        wanted += len(chosen)
        if len(found) == len(chosen):
            right += int((ask([one.digit for one in found]) == ask(list(chosen))).sum())
            lefts = [one.box[0] for one in found]
            assert lefts == sorted(lefts)
    assert told >= 198
    assert right / wanted >= 0.98


def test_an_even_field_and_its_noise_are_blank() -> None:
    """White, black and grey, with a sensor's noise, a shadow or JPEG's traces: no ink is made of them."""
    random = np.random.default_rng(7)
    for number in range(60):
        level = random.choice((0, 128, 255, random.uniform(40, 240)))
        side = int(random.integers(28, 400))
        field = np.full((side, side), level) * (light((side, side), random) if number % 3 == 1 else 1)
        if number % 2:
            field = field + grain(field.shape, random) / 2
        data = jpeg(field, random) if number % 5 == 0 else encode(whole(field))
        assert read_picture(data, "mnist", MANY).reason == BLANK
