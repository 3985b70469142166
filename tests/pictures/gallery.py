"""The README's gallery: awkward pictures, what the network saw of each, and the answer of a running service.

`python -m tests.pictures.gallery http://127.0.0.1:8000` writes tests/pictures/gallery.png, of training digits and of
drawings; MNIST_DIR names the folder that holds the digits.
"""

import base64
import gzip
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tests.service.pictures import SEVEN, drawn, encode
from tests.service.test_image_acceptance import KINDS, grain, jpeg, light, on_paper, scaled, whole
from training.corruption import CORRUPTIONS

COLUMNS, TILE, TEXT = 10, 132, 30  # pixels


def pictures() -> Iterator[tuple[str, bytes]]:
    """Twenty, each with its name."""
    path = Path(os.environ["MNIST_DIR"]) / "train-images-idx3-ubyte.gz"
    digits = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    random = np.random.default_rng(20)
    for kind, place in (("photograph", 0), ("ruled", 2), ("squared", 9), ("shadows", 13), ("grain", 15)):
        yield kind, KINDS[kind](digits[place], random)
    yield "transparent canvas", KINDS["canvas, black"](digits[17], random)
    yield "white on transparent", KINDS["canvas, white"](digits[18], random)
    ink = scaled(digits[7], random)
    yield "pencil", encode(whole(235 - 25 * ink + random.normal(0, 3, ink.shape)))
    yield "JPEG at 20 %", encode(whole(on_paper(scaled(digits[11], random), random)), "JPEG", quality=20)
    turned = whole(255 - 255 * np.pad(scaled(digits[4], random), 20)).rotate(18, fillcolor=255)
    yield "turned by 18°", encode(turned)
    for kind in ("fog", "impulse", "zigzag", "stripe", "outline"):
        yield kind, encode(whole(CORRUPTIONS[kind](digits[25].astype(np.float32), random).astype(np.float64)))
    yield "marker", encode(drawn(SEVEN))
    row = np.concatenate([np.pad(digits[place], ((8, 8), (4, 4))) for place in (3, 5, 8)], axis=1)
    yield "three digits", encode(Image.fromarray(255 - row).resize((row.shape[1] * 3, row.shape[0] * 3)))
    yield "a letter", encode(drawn(((0, 1, 0.5, 0), (0.5, 0, 1, 1), (0.2, 0.62, 0.8, 0.62))))
    shadow = 225 * light((300, 300), random)
    yield "paper alone", jpeg(shadow + grain(shadow.shape, random), random)
    yield "a cat's face", encode(_cat())


def _cat() -> NDArray[np.uint8]:
    picture = Image.new("L", (200, 200), 255)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((40, 60, 160, 170), outline=0, width=6)
    for line in (
        ((50, 85), (55, 30), (90, 62)),
        ((150, 85), (145, 30), (110, 62)),
        ((20, 120), (80, 125)),
        ((180, 120), (120, 125)),
    ):
        draw.line(line, 0, 6)
    for x in (80, 120):
        draw.ellipse((x - 6, 95, x + 6, 107), fill=0)
    return np.asarray(picture)


def main(url: str) -> None:
    """Asks the service and draws the answers."""
    font = ImageFont.load_default(13)
    shown = list(pictures())
    rows = -(-len(shown) // COLUMNS)
    height = 2 * TILE + 2 * TEXT
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, data) in enumerate(shown):
        answer = httpx.post(f"{url}/v1/predict?seen=true", content=data).raise_for_status().json()["predictions"][0]
        left, top = number % COLUMNS * TILE, number // COLUMNS * height
        with Image.open(io.BytesIO(data)) as picture:
            ground = Image.new("RGBA", picture.size, (170, 190, 220, 255))  # shows where a canvas is transparent
            visible = Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
        visible = visible.resize(
            [round(side * (TILE - 8) / max(visible.size)) for side in visible.size], Image.Resampling.LANCZOS
        )
        sheet.paste(
            visible, (left + 4 + (TILE - 8 - visible.width) // 2, top + TEXT + (TILE - 8 - visible.height) // 2)
        )
        draw.text((left + 6, top + 8), name, "#444", font)
        seen = Image.open(io.BytesIO(base64.b64decode(answer["seen"].partition(",")[2])))
        sheet.paste(seen.resize((TILE - 20, TILE - 20), Image.Resampling.NEAREST), (left + 10, top + TEXT + TILE))
        said = answer["reason"] or f"{answer['digit']}  ({answer['confidence']:.1%})"
        draw.text((left + 10, top + TEXT + 2 * TILE - 14), said, "#b00020" if answer["rejected"] else "#00663a", font)
    sheet.save(Path(__file__).with_name("gallery.png"), optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
