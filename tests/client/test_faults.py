"""A run between whose client and whose service everything goes wrong, and which comes right all the same."""

import re
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from client.outputs.ledger import journal_of
from tests.client.commands import PATIENCE, command, start
from tests.client.proxy import Fault, Proxy, proxying
from tests.conftest import Mnist
from tests.service.protocol.grpc.calling import free_port
from tests.service.serving import Process, process

_FLAGS = ("--timeout", "2", "--patience", "60", "--most", "4")


def _right(output: Path, mnist: Mnist, count: int) -> None:
    table = pq.read_table(output)
    assert table["error"].null_count == count == len(table)
    assert (np.array(table["digit"]) == mnist.labels[:count]).mean() > 0.98
    assert [name.rpartition("[")[2] for name in table["input"].to_pylist()] == [f"{place}]" for place in range(count)]


def test_refusals_hangs_resets_and_cuts(server: Process, tmp_path: Path, mnist: Mnist) -> None:
    """Of 48 requests eight fail, in five ways: all rows are right, and the log has each failure."""
    np.save(tmp_path / "digits.npy", mnist.images)
    faults: dict[int, Fault] = {
        2: "busy",
        5: "reset",
        9: "hang",
        12: "cut",
        15: "late",
        19: "reset",
        23: "cut",
        30: "hang",
    }
    log, output = tmp_path / "log", tmp_path / "x.parquet"
    with proxying(Proxy(server.port, lambda number: faults.get(number, "pass"))) as proxy:
        assert command(tmp_path / "digits.npy", "--url", proxy.url, "--output", output, *_FLAGS, log=log) == 0
        assert len(proxy.asked) == 40 + len(faults)
    _right(output, mnist, 10_000)
    text = log.read_text()
    for failure, times in (
        ("503: full; again in 1.", 1),  # its Retry-After is one second
        ("504: the answer has status 504; again in 0.", 1),
        (r"no answer in 2 s", 2),
        (r"the connection failed \((?:ReadError|RemoteProtocolError)", 4),
    ):
        assert len(re.findall(rf"WARNING attempt \d: {failure}", text)) == times, text
    assert "Traceback" not in text


def test_a_service_that_dies_in_the_middle_and_comes_back(tmp_path: Path, mnist: Mnist) -> None:
    """Killed while it answers, and started again a little later: the run waits for it and ends right."""
    np.save(tmp_path / "digits.npy", mnist.images)
    port = str(free_port())
    flags = ("--provider", "cpu", "--workers", "1", "--port", port)
    output, log = tmp_path / "x.parquet", tmp_path / "log"
    reached = threading.Event()

    def watch(number: int) -> Fault:
        if number == 15:
            reached.set()
        return "pass"

    with proxying(Proxy(int(port), watch, delay=0.05)) as proxy:
        with process(tmp_path / "first", *flags) as first:
            running = start(tmp_path / "digits.npy", "--url", proxy.url, "--output", output, *_FLAGS, log=log)
            assert reached.wait(PATIENCE), log.read_text()
            first.popen.kill()
        assert running.poll() is None
        with process(tmp_path / "second", *flags):
            assert running.wait(PATIENCE) == 0, log.read_text()
    _right(output, mnist, 10_000)
    assert "the connection failed" in log.read_text()


def test_a_service_that_does_not_come_back(server: Process, tmp_path: Path, mnist: Mnist) -> None:
    """The run is aborted with status 2 when patience ends; resumed with the service there, it is whole."""
    np.save(tmp_path / "digits.npy", mnist.images[:3000])
    output, log = tmp_path / "x.parquet", tmp_path / "log"
    flags = ("--timeout", "1", "--patience", "1", "--most", "2", "--resume")
    with proxying(Proxy(server.port, lambda number: "pass" if number < 5 else "reset")) as proxy:
        arguments = (tmp_path / "digits.npy", "--url", proxy.url, "--output", output, *flags)
        assert command(*arguments, log=log) == 2
        assert "aborted: the service does not answer: given up after" in log.read_text()
        assert journal_of(output).exists() and not output.exists()
        proxy.fault = lambda _: "pass"
        assert command(*arguments, log=log) == 0
    _right(output, mnist, 3000)


def test_no_service_at_all(tmp_path: Path) -> None:
    """A wrong address ends it soon, with a sentence and nothing left behind."""
    log = tmp_path / "log"
    flags = ("--patience", "0.5", "--output", tmp_path / "x.csv")
    assert command(tmp_path / "none.png", "--url", "http://127.0.0.1:9", *flags, log=log) == 2
    assert "aborted: http://127.0.0.1:9: given up after" in log.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
