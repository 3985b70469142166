"""The pipeline: the order of the inputs, bounds on what is held, and what is left of a run that is aborted."""

import asyncio
import gc
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from client.errors import RunError
from client.group import Group
from client.pipeline import run
from client.prediction import Prediction, Row
from client.remote import Answer, Kind
from tests.service.asgi import finish


def _groups(count: int, size: int = 784, read: list[int] | None = None) -> Iterator[Group]:
    for number in range(count):
        if read is not None:
            read.append(number)
        group = Group([f"{number}a", f"{number}b", f"{number}c"], [], {1: "broken"})
        group.kind, group.data, group.size = "digit", [b"%d" % number] * 2, size
        yield group


class _Answerer:
    """Answers after a time of chance; `broken` is the group that cannot be answered."""

    def __init__(self, broken: int | None = None) -> None:
        self.now = self.most = 0
        self._broken = broken
        self._chance = np.random.default_rng(0)

    async def answer(self, _: Kind, data: Sequence[bytes]) -> list[Answer]:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self._chance.random() / 500)
        self.now -= 1
        if self._broken == int(data[0]):
            raise RunError("gone")
        return [Prediction(int(each) % 10, 1.0, False, None, ()) for each in data]


def test_rows_keep_the_order_of_the_inputs() -> None:
    """However the answers overtake each other; inputs that could not be read stand in their places."""
    rows: list[Row] = []

    async def write(found: list[Row]) -> None:
        rows.extend(found)

    answerer = _Answerer()
    finish(run(_groups(500), answerer, write))
    assert [row.input for row in rows] == [f"{number}{letter}" for number in range(500) for letter in "abc"]
    for place, row in enumerate(rows):
        assert (row.error == "broken" and row.prediction is None) == (place % 3 == 1)
        assert row.prediction is None or row.prediction.digit == place // 3 % 10
    assert answerer.most > 4  # many were under way at once, however busy the machine


@pytest.mark.parametrize(("size", "ahead"), [(784, 30), (8 * 2**20, 12)])
def test_what_is_read_and_not_written_is_bounded(size: int, ahead: int) -> None:
    """While the first rows wait to be written, only so many groups are read, and fewer of large pictures."""
    read: list[int] = []
    furthest = 0

    async def write(rows: list[Row]) -> None:
        nonlocal furthest
        await asyncio.sleep(0.002)
        furthest = max(furthest, len(read) - int(rows[0].input[:-1]))

    finish(run(_groups(300, size, read), _Answerer(), write))
    assert len(read) == 300 and furthest <= ahead


def test_an_abort_keeps_what_was_answered_before() -> None:
    """The rows before the group that cannot be answered are written, none after it, and no task is left behind."""
    rows: list[Row] = []

    async def write(found: list[Row]) -> None:
        rows.extend(found)

    async def work() -> bool:
        before = asyncio.all_tasks()
        with pytest.raises(RunError, match="gone"):
            await run(_groups(10_000), _Answerer(broken=50), write)
        return asyncio.all_tasks() == before

    assert finish(work())
    assert [row.input for row in rows] == [f"{number}{letter}" for number in range(50) for letter in "abc"]


def test_of_several_errors_one_is_raised_and_none_is_left_over(capfd: pytest.CaptureFixture[str]) -> None:
    """Groups that fail behind the first that did leave nothing for asyncio to complain of."""

    class All(_Answerer):
        async def answer(self, _: Kind, data: Sequence[bytes]) -> list[Answer]:
            await asyncio.sleep(0 if int(data[0]) else 0.05)  # the first fails when the others have
            raise RunError(f"gone {int(data[0])}")

    async def write(_: list[Row]) -> None:
        raise AssertionError

    complaints: list[object] = []

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await run(_groups(10), All(), write)

    with pytest.raises(RunError, match="gone 0"):
        finish(work())
    gc.collect()
    assert not complaints and capfd.readouterr().err == ""


def test_an_error_of_reading_ends_it_after_what_was_read() -> None:
    """What stops the inputs, such as a changed folder on resumption, is raised when the rows before are written."""
    rows: list[Row] = []

    def broken() -> Iterator[Group]:
        yield from _groups(5)
        raise RunError("others")

    async def write(found: list[Row]) -> None:
        rows.extend(found)

    with pytest.raises(RunError, match="others"):
        finish(run(broken(), _Answerer(), write))
    assert len(rows) == 15
