"""No request is lost when the service ends under full load; and the account that says so is honest."""

import asyncio

import pytest

from benchmarks.account import Account, Clients
from benchmarks.shutdown import end_under_load, write_table
from tests.benchmarks.stalling import stalling


@pytest.mark.parametrize(("load", "workers"), [("mixed", 2), ("quick", 1), ("quick", 2)])
def test_no_accepted_request_is_lost(load: str, workers: int) -> None:
    """Told to end by SIGTERM amid requests of every kind, it answers each that has a connection, and ends by 0."""
    end = end_under_load(load, workers, connections=24, seconds=0.7)
    assert end.is_clean, end
    assert set(end.account.answered) <= {200, 503} and end.account.sent > 24
    assert end.account.last > 0 and end.account.refused == 24
    assert f"| {load} | {workers} | 1 | 1 |" in write_table([end], {})


def asked(port: int, connections: int, seconds: float) -> Account:
    """The account of clients who are stopped after so many seconds."""

    async def run() -> Account:
        clients = Clients("127.0.0.1", port, [b"ask\n"], connections)
        asking = asyncio.create_task(clients.run())
        await asyncio.sleep(seconds)
        clients.stop()
        await asking
        return clients.account

    return asyncio.run(run())


def test_a_request_without_an_answer_is_lost() -> None:
    """A server that ends one connection in the midst of a request has lost that one, and refusals are answers."""
    with stalling(close_at=50, refuse_every=4) as port:
        account = asked(port, 4, 0.5)
    assert len(account.lost) == 1 and account.refused == 0
    assert account.sent == account.answered[200] + account.answered[503] + 1 > 50


def test_nobody_there_is_no_loss() -> None:
    """Who is refused a connection has sent nothing."""
    with stalling() as port:
        pass
    account = asked(port, 3, 0.1)
    assert (account.sent, account.refused) == (0, 3)
