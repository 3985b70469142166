"""The plainest PNG: 8 bits a channel, not interlaced, and in it nothing but the chunks that every PNG has.

W3C, "Portable Network Graphics", third edition. Most small pictures are of this kind, and what Pillow does to find out
takes longer than decoding them.
"""

from zlib import crc32

from PIL import Image

_BEGINS = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_ENDS = b"\0\0\0\0IEND\xaeB`\x82"
# The rest of the header: bits, colour type, and that compression, filters and interlacing are the usual ones.
_MODES = {b"\x08\0\0\0\0": "L", b"\x08\2\0\0\0": "RGB", b"\x08\6\0\0\0": "RGBA"}


def plain_png(data: bytes, least: int, most: int) -> Image.Image | None:
    """A picture as Pillow would have decoded it, if it is of that kind; None of others, and where anything is amiss.

    It has at least `least` pixels along each side, and at most `most` in all. The header's checksum is checked, and not
    that of the pixels, which Pillow passes over as well: zlib has one of its own.
    """
    mode = _MODES.get(data[24:29])
    if mode is None or not data.startswith(_BEGINS) or data[37:41] != b"IDAT":
        return None
    end = 41 + int.from_bytes(data[33:37])
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data[end + 4 :] != _ENDS or width < least or height < least or width * height > most:
        return None
    if crc32(data[12:29]) != int.from_bytes(data[29:33]):
        return None
    try:
        picture = Image.frombytes(mode, (width, height), data[41:end], "zip", mode)
    except ValueError:  # Pillow is to say what is wrong with it
        return None
    picture.format = "PNG"
    return picture
