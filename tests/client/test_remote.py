"""Groups that a service answers: a bad input costs itself alone, and a service that is away ends the run."""

import asyncio
from collections.abc import Sequence

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from client.asynchronous import AsyncClient
from client.errors import LostError, RunError
from client.remote import Answer, Remote
from client.transport import HttpTransport, Reply
from tests.client.fakes import FakeTransport, in_no_time, predictions, refusal
from tests.conftest import Mnist
from tests.service.asgi import finish, running
from tests.service.pictures import encode


def test_a_bad_picture_costs_itself_alone(app: FastAPI, mnist: Mnist) -> None:
    """Of 64 pictures three are bad: the others have their digits, each bad one its own sentence, without a part's name.

    At most two requests for each halving of 64 are asked for each of them.
    """
    bad = {0: b"no picture", 40: encode(mnist.images[0][:5, :5]), 41: encode(mnist.images[0])[:60]}
    pictures = [bad.get(number) or encode(mnist.images[number]) for number in range(64)]
    asked = 0

    async def count(_: httpx.Request) -> None:
        nonlocal asked
        asked += 1

    async def work() -> list[Answer]:
        async with running(app):
            transport = HttpTransport("http://inside", transport=httpx.ASGITransport(app))
            transport._client.event_hooks = {"request": [count]}
            async with AsyncClient(transport=transport) as client:
                return await Remote(client).answer("picture", pictures)

    found = finish(work())
    for number, answer in enumerate(found):
        if number in bad:
            assert isinstance(answer, str) and "part" not in answer
        else:
            assert not isinstance(answer, str) and answer.digit == mnist.labels[number]
    assert "5×5" in str(found[40]) and str(found[0]).startswith("this is no picture")
    assert asked <= 1 + 3 * 2 * 6


def test_a_limit_that_is_smaller_than_ours_is_kept_to() -> None:
    """A service that takes ten digits at a time still answers all of them."""

    async def answer(_: str, body: bytes) -> Reply:
        count = len(body) // 784
        return refusal(413, "at most 10") if count > 10 else predictions(*body[::784])

    digits = [bytes([number % 10]) * 784 for number in range(256)]
    found = in_no_time(Remote(AsyncClient(transport=FakeTransport(answer))).answer("digit", digits))
    assert [each.digit for each in found if not isinstance(each, str)] == [number % 10 for number in range(256)]


def test_one_that_is_never_answered_costs_itself_alone() -> None:
    """An input on which the service hangs is given up while others are answered, and has its row."""

    async def answer(_: str, body: bytes) -> Reply:
        await asyncio.sleep(0.01)
        if b"\xff" in body:
            raise LostError("no answer in time")
        return predictions(*body[::784])

    async def work() -> Sequence[Answer]:
        remote = Remote(AsyncClient(transport=FakeTransport(answer), patience=0.5))
        digits = [bytes([255 if number == 5 else number]) * 784 for number in range(8)]
        going = True

        async def others() -> None:
            while going:
                await remote.answer("digit", digits[:1])

        beside = asyncio.create_task(others())
        found = await remote.answer("digit", digits)
        going = False
        await beside
        return found

    found = finish(work())
    assert [each if isinstance(each, str) else each.digit for each in found[:5]] == [0, 1, 2, 3, 4]
    assert str(found[5]).startswith("given up after") and not isinstance(found[6], str)


def test_a_service_that_is_away_ends_the_run() -> None:
    """When nothing is answered any more, it is not the input's fault: no row is written, and the run is aborted."""

    async def answer(_: str, _body: bytes) -> Reply:
        raise LostError("the connection failed")

    with pytest.raises(RunError, match="does not answer: given up after"):
        in_no_time(Remote(AsyncClient(transport=FakeTransport(answer), patience=0.5)).answer("digit", [bytes(784)] * 4))


@pytest.mark.parametrize("status", [401, 403, 404, 405, 501])
def test_what_refuses_all_ends_the_run(status: int) -> None:
    """A wrong key or address is no fault of the inputs: asked once, it aborts the run."""

    async def answer(_: str, _body: bytes) -> Reply:
        return refusal(status, "not you")

    transport = FakeTransport(answer)
    with pytest.raises(RunError, match=f"the service refuses all: {status}: not you"):
        in_no_time(Remote(AsyncClient(transport=transport)).answer("digit", [bytes(784)] * 4))
    assert transport.asked == 1


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_busy_service_is_no_fault_of_an_input(status: int) -> None:
    """A request that is refused as long as patience lasts, while others are answered, aborts the run."""

    async def answer(_: str, body: bytes) -> Reply:
        await asyncio.sleep(0.01)
        return refusal(status, "full") if b"\xff" in body else predictions(*body[::784])

    async def work() -> None:
        remote = Remote(AsyncClient(transport=FakeTransport(answer), patience=0.5))
        going = True

        async def others() -> None:
            while going:
                await remote.answer("digit", [bytes(784)])

        beside = asyncio.create_task(others())
        with pytest.raises(RunError, match=f"does not answer: given up after .*{status}: full"):
            await remote.answer("digit", [b"\xff" * 784])
        going = False
        await beside

    in_no_time(work())


def test_everything_comes_right_of_a_service_that_fails_by_chance() -> None:
    """Every other request is refused or lost, of any size, and all answers are there and in their places."""
    chance = np.random.default_rng(0)

    async def answer(_: str, body: bytes) -> Reply:
        await asyncio.sleep(chance.random() / 10)
        match chance.integers(6):
            case 0:
                return refusal(503, retry_after="1")
            case 1:
                raise LostError("reset")
            case 2:
                return refusal(504)
        return predictions(*body[::784])

    async def work() -> list[list[Answer]]:
        remote = Remote(AsyncClient(transport=FakeTransport(answer), patience=1e9))
        groups = [[bytes([(first + number) % 10]) * 784 for number in range(20)] for first in range(50)]
        return await asyncio.gather(*[remote.answer("digit", group) for group in groups])

    for first, found in enumerate(in_no_time(work())):
        expected = [(first + number) % 10 for number in range(20)]
        assert [each if isinstance(each, str) else each.digit for each in found] == expected
