"""The window: how many requests are under way at once, on a clock that passes by being waited for."""

import asyncio
from collections.abc import Callable

import pytest

from client.errors import BusyError
from client.window import Window
from tests.client.fakes import in_no_time


async def _ask(window: Window, count: int, answer: Callable[[], asyncio.Future[None] | asyncio.Task[None]]) -> None:
    async def once() -> None:
        async with window.request():
            await answer()

    await asyncio.gather(*[once() for _ in range(count)])


async def _refused(window: Window, after: float = 0) -> None:
    async with window.request():
        await asyncio.sleep(0.01)
        raise BusyError("no", after)


class _Server:
    """Works on so many requests at a time, each for 10 ms; the others wait."""

    def __init__(self, workers: int) -> None:
        self._free = asyncio.Semaphore(workers)
        self.most = 0
        self._now = 0

    def __call__(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._work())

    async def _work(self) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        async with self._free:
            await asyncio.sleep(0.01)
        self._now -= 1


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_it_keeps_a_server_busy_and_no_more(workers: int) -> None:
    """It settles at a few requests more than the server works on, and 2,000 take hardly longer than they must."""

    async def work() -> tuple[float, Window, _Server]:
        window, server = Window(), _Server(workers)
        began = asyncio.get_running_loop().time()
        await _ask(window, 2000, server)
        return asyncio.get_running_loop().time() - began, window, server

    seconds, window, server = in_no_time(work())
    assert workers <= window.size <= workers + 9
    assert server.most <= 2 * (workers + 9)  # when it still doubled with each round
    assert seconds < 1.1 * 2000 * 0.01 / workers


def test_it_never_grows_beyond_its_limit() -> None:
    """A server that is never busy is asked by as many at once as are allowed, and by no more."""

    async def work() -> tuple[float, int]:
        window, server = Window(most=12), _Server(1000)
        await _ask(window, 500, server)
        return window.size, server.most

    assert in_no_time(work()) == (12, 12)


def test_what_is_refused_halves_it_once_a_round() -> None:
    """Eight requests that are refused together count as one sign, and one that was sent later as another."""

    async def work() -> tuple[float, float]:
        window = Window(most=8)
        await _ask(window, 100, _Server(1000))
        assert window.size == 8

        async def refused() -> None:
            with pytest.raises(BusyError):
                await _refused(window)

        await asyncio.gather(*[refused() for _ in range(8)])
        first = window.size
        await refused()
        return first, window.size

    assert in_no_time(work()) == (4, 2)


def test_nothing_is_sent_before_the_time_that_the_service_asks_for() -> None:
    """After a Retry-After of 30 seconds all requests wait for so long, the new ones too."""

    async def work() -> list[float]:
        window = Window()
        began = asyncio.get_running_loop().time()
        with pytest.raises(BusyError):
            await _refused(window, after=30)
        sent = []

        async def ask() -> None:
            async with window.request():
                sent.append(asyncio.get_running_loop().time() - began)

        await asyncio.gather(*[ask() for _ in range(5)])
        return sent

    assert min(in_no_time(work())) >= 30


def test_one_that_is_cancelled_gives_its_place_back() -> None:
    """Requests that are cancelled while they wait or run leave the window as it was for the others."""

    async def work() -> int:
        window = Window()

        async def ask() -> None:
            async with window.request():
                await asyncio.sleep(3600)

        tasks = [asyncio.create_task(ask()) for _ in range(6)]
        await asyncio.sleep(1)
        assert window.under_way == 2
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _ask(window, 10, _Server(4))
        return window.under_way

    assert in_no_time(work()) == 0


def test_the_fastest_answer_is_forgotten_in_time() -> None:
    """One answer that came ten times sooner than all after it is no measure of them for ever."""
    window = Window()
    for seconds in (0.001, *[0.01] * 24_000):
        window._learn(1, None, seconds)
    assert window._fastest[None] == 0.01
