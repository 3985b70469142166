"""The body of a request → digits: a raw picture, pictures as multipart parts, or prepared digits."""

import asyncio
from typing import Any, cast

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from service.call import Call, media_type
from service.errors import MalformedError, RequestError, TooLargeError
from service.image import FORMATS, Pixels, Preprocess, read_prepared
from service.predictor import Predictor
from service.settings import Settings

PREPARED = b"application/octet-stream"
MULTIPART = b"multipart/form-data"
_PART = "files"

_BINARY = {"schema": {"type": "string", "format": "binary"}}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": f"One picture as the raw body ({', '.join(FORMATS)}; recognised by content, black on white or white "
    f"on black), or several as multipart parts named `{_PART}`, or prepared digits of 784 bytes each, bright ink on "
    "black.",
    "content": {
        MULTIPART.decode(): {
            "schema": {
                "type": "object",
                "required": [_PART],
                "properties": {_PART: {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
        "image/png": _BINARY,
        "image/jpeg": _BINARY,
        "image/webp": _BINARY,
        "image/bmp": _BINARY,
        "image/gif": _BINARY,
        "image/tiff": _BINARY,
        PREPARED.decode(): _BINARY,
    },
}


async def read_digits(call: Call, preprocess: Preprocess, predictor: Predictor, settings: Settings) -> Pixels:
    """The digits of a request as the network sees them, 784 bytes each.

    Raises:
        RequestError: the body is none of the three, or beyond a limit; for one part of several the message says which.
    """
    kind = media_type(call.fields)
    if kind == MULTIPART:
        return await _read_parts(call, preprocess, predictor, settings.max_files)
    body = await call.body()
    if kind == PREPARED and body:
        return read_prepared(body, settings.max_images)
    return await predictor.read(_some(body), preprocess)


def read_at_once(
    body: bytes, kind: bytes, preprocess: Preprocess, predictor: Predictor, settings: Settings
) -> Pixels | None:
    """What `read_digits` returns, for a body that is no multipart; None of large pictures.

    Raises:
        RequestError: as `read_digits`.
    """
    if kind == PREPARED and body:
        return read_prepared(body, settings.max_images)
    return predictor.read_small(_some(body), preprocess)


def _some(body: bytes) -> bytes:
    if not body:
        raise MalformedError("the request has no body; it is to be a picture")
    return body


async def _read_parts(call: Call, preprocess: Preprocess, predictor: Predictor, max_files: int) -> Pixels:
    try:
        form = await call.whole().form(max_files=max_files, max_fields=max_files)
    except HTTPException as error:  # of Starlette's parser, which tells its reasons apart by their text alone
        if error.detail.startswith("Too many files"):
            raise TooLargeError(f"the request has more than {max_files} pictures") from error
        raise MalformedError(f"the multipart body cannot be read: {error.detail}") from error
    except (LookupError, UnicodeError) as error:
        raise MalformedError("the multipart body is not in the charset that it names") from error
    try:
        for name in form:
            if name != _PART:
                raise MalformedError(f"the parts are to be named '{_PART}', and one is named '{name[:40]}'")
        parts = form.getlist(_PART)
        if not parts:
            raise MalformedError(f"the multipart body has no part named '{_PART}'")
        reading = [_read_part(number, part, preprocess, predictor) for number, part in enumerate(parts, start=1)]
        digits = await asyncio.gather(*reading, return_exceptions=True)
    finally:
        await form.close()
    for digit in digits:
        if isinstance(digit, BaseException):
            raise digit  # the first one that is bad, whichever was found first
    return b"".join(cast("list[Pixels]", digits))


async def _read_part(number: int, part: UploadFile | str, preprocess: Preprocess, predictor: Predictor) -> Pixels:
    if isinstance(part, str):
        raise MalformedError(f"part {number} is text; a part that is a picture needs a filename")
    try:
        return await predictor.read(await part.read(), preprocess)
    except RequestError as error:
        raise type(error)(f"part {number} ('{(part.filename or '')[:80]}'): {error}") from error
