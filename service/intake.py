"""The body of a request → digits: a raw picture, pictures as multipart parts, or prepared digits."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from service.call import Call, media_type
from service.errors import MalformedError, RequestError, TooLargeError
from service.image import FORMATS, PIXELS, Found, Pixels, Preprocess, Seen, read_prepared
from service.predictor import SMALL_FILE, Predictor
from service.rejection import Reasons
from service.settings import Settings

PREPARED = b"application/octet-stream"
MULTIPART = b"multipart/form-data"
_PART = "files"

Read = TypeVar("Read")

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PICTURES = {f"image/{kind.lower()}": _BINARY for kind in FORMATS}
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
        **_PICTURES,
        PREPARED.decode(): _BINARY,
    },
}
PICTURE_BODY: dict[str, Any] = {
    "required": True,
    "description": f"One picture ({', '.join(FORMATS)}; recognised by content) as the raw body, or as the only "
    f"multipart part, named `{_PART}`.",
    "content": {
        MULTIPART.decode(): {
            "schema": {
                "type": "object",
                "required": [_PART],
                "properties": {_PART: {"type": "string", "format": "binary"}},
            }
        },
        **_PICTURES,
    },
}


class Digits(NamedTuple):
    """The digits of a request as the network sees them, and why any of their pictures is no single digit."""

    pixels: Pixels
    reasons: Reasons = ()


async def read_digits(call: Call, preprocess: Preprocess, predictor: Predictor, settings: Settings) -> Digits:
    """The digits of a request, one a picture.

    Raises:
        RequestError: the body is none of the three, or beyond a limit; for one part of several the message says which.
    """
    kind = media_type(call.fields)
    if kind != PREPARED:
        predictor.check_pictures()
    if kind == MULTIPART:
        small = partial(predictor.read_in_turn, preprocess=preprocess)
        large = partial(predictor.read_large, preprocess=preprocess, gone=call.gone)
        return _digits(await _read_parts(call, large, settings.max_files, predictor.place_to_read, small))
    body = await call.body()
    if kind == PREPARED and body:
        return Digits(read_prepared(body, settings.max_images))
    return _digits([await predictor.read(_some(body), preprocess, call.gone)])


async def read_digit(call: Call, preprocess: Preprocess, predictor: Predictor, settings: Settings) -> Pixels:
    """The one digit of a request that looks inside for a single picture.

    Raises:
        RequestError: as `read_digits`, or there are several.
        OverloadedError: too many look inside already, or too many pictures wait to be read.
    """
    predictor.check_looking()
    if media_type(call.fields) == MULTIPART:
        data = await read_file(call, settings)
        return (await predictor.read(data, preprocess, call.gone)).digit.tobytes()
    pixels, _ = await read_digits(call, preprocess, predictor, settings)
    if len(pixels) != PIXELS:
        raise MalformedError(f"one picture is taken at a time, and {len(pixels) // PIXELS} were sent")
    return pixels


async def read_file(call: Call, settings: Settings) -> bytes:
    """The bytes of the one picture of a request, whatever is to become of it.

    Raises:
        MalformedError: there is none, or there are several, or the multipart body cannot be read.
        TooLargeError: the body is beyond a limit.
    """
    if media_type(call.fields) != MULTIPART:
        return _some(await call.body())
    files = await _read_parts(call, _as_it_came, settings.max_files, lambda _: nullcontext())
    if len(files) != 1:
        raise MalformedError(f"one picture is taken at a time, and {len(files)} were sent")
    return files[0]


async def _as_it_came(data: bytes) -> bytes:
    return data


def read_at_once(
    body: bytes, kind: bytes, preprocess: Preprocess, predictor: Predictor, settings: Settings
) -> Digits | None:
    """What `read_digits` returns, for a body that is no multipart; None of large pictures.

    Raises:
        RequestError: as `read_digits`.
    """
    if kind == PREPARED and body:
        return Digits(read_prepared(body, settings.max_images))
    seen = predictor.read_small(_some(body), preprocess)
    return None if seen is None else _digits([seen])


async def find_all(call: Call, predictor: Predictor, settings: Settings) -> list[list[Found]]:
    """The digits in each picture of a request.

    Raises:
        RequestError: the body is none of pictures, or beyond a limit; for one part of several the message says which.
    """
    kind = media_type(call.fields)
    if kind == PREPARED:
        raise MalformedError("segment=true finds digits in pictures, and application/octet-stream holds prepared ones")
    predictor.check_pictures()
    find = partial(predictor.find, gone=call.gone)
    if kind == MULTIPART:
        pictures = await _read_parts(call, find, settings.max_files, predictor.place_to_find)
    else:
        body = _some(await call.body())
        with predictor.place_to_find([body]):
            pictures = [await find(body)]
    count = sum(map(len, pictures))
    if count > settings.max_images:
        raise TooLargeError(f"the request has {count} digits, and at most {settings.max_images} are taken at once")
    return pictures


def _digits(pictures: list[Seen]) -> Digits:
    reasons = [seen.reason for seen in pictures]
    return Digits(b"".join([seen.digit.tobytes() for seen in pictures]), reasons if any(reasons) else ())


def _some(body: bytes) -> bytes:
    if not body:
        raise MalformedError("the request has no body; it is to be a picture")
    return body


async def _read_parts(
    call: Call,
    read: Callable[[bytes], Awaitable[Read]],
    max_files: int,
    place: Callable[[Sequence[bytes]], AbstractContextManager[None]],
    read_small: Callable[[bytes], Awaitable[Read | None]] | None = None,
) -> list[Read]:
    """What is read of each part, in their order.

    `read_small` comes first to all small files, whatever they turn out to be: only then is it known how many places
    are needed for what `read` reads, and a request that is refused for want of them has cost no thread anything.
    """
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
        pictures = [b"" if isinstance(part, str) else await part.read() for part in parts]
        found: list[Read | BaseException | None] = [
            await _first_look(number, part, data, read_small)
            for number, (part, data) in enumerate(zip(parts, pictures, strict=True), start=1)
        ]
        large = [number for number, picture in enumerate(found) if picture is None]
        if large:
            with place([pictures[number] for number in large]):
                reading = [
                    _read_part(number + 1, cast("UploadFile", parts[number]), pictures[number], read)
                    for number in large
                ]
                rest = await asyncio.gather(*reading, return_exceptions=True)
            for number, read_whole in zip(large, rest, strict=True):
                found[number] = read_whole
    finally:
        await form.close()
    for picture in found:
        if isinstance(picture, BaseException):
            raise picture  # the first one that is bad, whichever was found first
    return cast("list[Read]", found)


async def _first_look(
    number: int, part: UploadFile | str, data: bytes, read_small: Callable[[bytes], Awaitable[Read | None]] | None
) -> Read | Exception | None:
    """What is read of a small part, or why it cannot be; None of a large one."""
    if isinstance(part, str):
        return MalformedError(f"part {number} is text; a part that is a picture needs a filename")
    if read_small is None or len(data) > SMALL_FILE:
        return None
    try:
        return await _read_part(number, part, data, read_small)
    except Exception as error:
        return error


async def _read_part(number: int, part: UploadFile, data: bytes, read: Callable[[bytes], Awaitable[Read]]) -> Read:
    try:
        return await read(data)
    except RequestError as error:
        raise type(error)(f"part {number} ('{(part.filename or '')[:80]}'): {error}") from error
