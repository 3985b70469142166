"""Pictures that are prepared digits already → their pixels, of which a request takes more, and at less cost."""

import io

from PIL import Image

from client.inputs.item import Content
from client.prediction import SIDE


def unpacked(content: Content) -> Content:
    """The pixels of a picture that is a plain grey PNG of 28×28; what is anything else, as it is.

    What the service would make of those with `preprocess=none` is the same. With others there is something to decide,
    transparency or a turn by EXIF, and that is left to it.
    """
    if content.kind == "digit":
        return content
    try:
        picture = Image.open(io.BytesIO(content.data), formats=("PNG",))
        if picture.size != (SIDE, SIDE) or picture.mode != "L":
            return content
        pixels = picture.tobytes()
    except Exception:  # Pillow's decoders raise whatever a damaged file makes them raise
        return content
    return content if picture.info else Content("digit", pixels)
