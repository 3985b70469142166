"""SVG documents as the tests read them."""

import base64
import io
from xml.etree.ElementTree import Element, fromstring

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SVG = "{http://www.w3.org/2000/svg}"
_ELEMENTS = {"svg", "title", "rect", "image", "text"}


def parsed(content: bytes) -> Element:
    """The root of a well-formed document of nothing but what is drawn: no script, no style, no reference."""
    root = fromstring(content)  # noqa: S314 — our own document
    assert root.tag == f"{SVG}svg"
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in _ELEMENTS
        assert not {name for name in element.attrib if name.startswith("on") or name == "style"}
        assert element.get("href", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert not any("url(" in value or "://" in value for value in element.attrib.values())
    return root


def described(root: Element) -> list[str]:
    """What each picture says of itself."""
    return [image.findtext(f"{SVG}title") or "" for image in root.iter(f"{SVG}image")]


def shown(image: Element) -> NDArray[np.uint8]:
    """A picture's colours (height, width, 3)."""
    data = base64.b64decode(image.attrib["href"].partition(",")[2], validate=True)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
