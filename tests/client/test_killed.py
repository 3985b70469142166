"""A run that is killed by SIGKILL at moments of chance, and resumed each time."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from client.outputs.ledger import journal_of, partial_of
from tests.client.commands import PATIENCE, command, start
from tests.client.proxy import Proxy, proxying
from tests.conftest import Mnist
from tests.service.serving import Process

_DIGITS = 8000
_KILLS = 5


def _kept(output: Path) -> int:
    """How many rows are safe, by the last whole line of the journal."""
    journal = journal_of(output)
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return int(orjson.loads(lines[-1])["rows"]) if lines else 0


def _until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it does not go on"
        time.sleep(0.01)


def test_every_row_is_there_once_after_five_kills(server: Process, tmp_path: Path, mnist: Mnist) -> None:
    """8,000 digits, five kills and six runs: the table is whole, in order and right, and no row was asked for again.

    What each run asks for is seen by a proxy: none of it had a row that was safe when the run began.
    """
    images = mnist.images[:_DIGITS]
    np.save(tmp_path / "digits.npy", images)
    output, log = tmp_path / "digits.parquet", tmp_path / "log"
    places = {image.tobytes(): place for place, image in enumerate(images)}
    assert len(places) == _DIGITS
    chance = np.random.default_rng()
    seen = []
    with proxying(Proxy(server.port, delay=0.5)) as proxy:
        arguments = (tmp_path / "digits.npy", "--url", proxy.url, "--output", output, "--resume", "--most", "2")
        for _ in range(_KILLS):
            kept = _kept(output)
            proxy.asked.clear()
            running = start(*arguments, log=log)
            _until(lambda kept=kept, running=running: _kept(output) > kept or running.poll() is not None)  # type: ignore[misc]
            time.sleep(chance.random() * 0.3)
            running.send_signal(signal.SIGKILL)
            assert running.wait(PATIENCE) == -signal.SIGKILL, f"it ended before it was killed:\n{log.read_text()}"
            seen.append((kept, list(proxy.asked)))
        assert not output.exists()
        seen.append((_kept(output), proxy.asked))
        proxy.asked.clear()
        assert command(*arguments, log=log) == 0, log.read_text()
    for kept, asked in seen:
        found = [places[body[start : start + 784]] for body in asked for start in range(0, len(body), 784)]
        assert min(found, default=kept) >= kept
    last = sum(map(len, seen[-1][1])) // 784
    assert last == _DIGITS - seen[-1][0]  # and all that was left was asked for once
    table = pq.read_table(output)
    assert table["input"].to_pylist() == [f"{tmp_path}/digits.npy[{place}]" for place in range(_DIGITS)]
    assert (np.array(table["digit"]) == mnist.labels[:_DIGITS]).mean() > 0.98
    assert not journal_of(output).exists() and not partial_of(output).exists()
    assert log.read_text().count("resumed: ") == _KILLS
    assert f"and {seen[-1][0]:,} were there before" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_told_to_end_keeps_what_it_has(
    server: Process, tmp_path: Path, mnist: Mnist, number: signal.Signals
) -> None:
    """Ctrl-C and `kill` end it with status 2 and a sentence, and the rows that were answered are kept."""
    np.save(tmp_path / "digits.npy", mnist.images[:_DIGITS])
    output, log = tmp_path / "digits.csv", tmp_path / "log"
    with proxying(Proxy(server.port, delay=0.1)) as proxy:
        running = start(tmp_path / "digits.npy", "--url", proxy.url, "--output", output, "--most", "2", log=log)
        _until(lambda: len(proxy.asked) >= 6 or running.poll() is not None)
        running.send_signal(number)
        assert running.wait(PATIENCE) == 2
    assert "aborted: told to end" in log.read_text() and "Traceback" not in log.read_text()
    assert 0 < _kept(output) < _DIGITS and not output.exists()
