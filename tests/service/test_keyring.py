"""Keys read anew: what stays, what goes and what comes, in one process and in several, on connections that stand."""

import http.client
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from service.keyring import Keyring, Renewal
from service.keys import find, new_key, written
from tests.service.protocol.grpc.calling import PATIENCE, calling, free_port
from tests.service.serving import Process, process
from tests.service.test_workers import children, lives, until

SECRETS = {name: new_key() for name in ("stays", "goes", "comes", "slow")}


def lines(*names: str, **rates: float) -> str:
    """A file of the keys of some names, of which some have a rate."""
    return "\n".join(written(name, ["predict", "metrics"], rates.get(name), SECRETS[name]) for name in names)


def spent(keyring: Keyring, name: str) -> float:
    """The seconds that a key of a name would have to wait; 0 if it was let in, and counted."""
    key = find(keyring.keys, SECRETS[name].encode())
    assert key is not None and key.bucket is not None
    return key.bucket.take()


def test_rates_stay_with_their_names(tmp_path: Path) -> None:
    """Who stays goes on with what he has asked, by another rate or another key too; who comes begins anew."""
    file = tmp_path / "keys"
    file.write_text(lines("goes", "stays", goes=1, stays=1))
    keyring = Keyring(str(file))
    assert spent(keyring, "stays") == 0 < spent(keyring, "stays")
    assert spent(keyring, "goes") == 0 < spent(keyring, "goes")
    file.write_text(lines("comes", "stays", comes=1, stays=0.001))
    keyring.take(keyring.read())
    assert [key.name for key in keyring.keys] == ["comes", "stays"]
    assert find(keyring.keys, SECRETS["goes"].encode()) is None
    assert spent(keyring, "stays") > 0
    assert spent(keyring, "comes") == 0 < spent(keyring, "comes")
    renewal = keyring.read()
    keyring.take(renewal)
    file.write_text(lines("goes", "stays", goes=1, stays=1))
    keyring.take(keyring.read())
    assert spent(keyring, "goes") == 0 < spent(keyring, "goes")
    assert spent(keyring, "stays") > 0


def test_another_process_takes_what_was_read(tmp_path: Path) -> None:
    """Whatever has become of the file meanwhile; and what was asked before the fork and after it counts in both."""
    file = tmp_path / "keys"
    file.write_text(lines("stays", stays=1))
    keyring = Keyring(str(file))
    file.write_text(lines("stays", "comes", stays=1, comes=1))
    renewal = keyring.read()
    file.unlink()
    if not (worker := os.fork()):
        keyring.take(renewal)
        os._exit(int(spent(keyring, "comes") != 0 or len(keyring.keys) != 2))
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
    keyring.take(Renewal(*renewal))
    assert spent(keyring, "comes") > 0


def test_no_more_keys_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that are about to be forgotten count; and the keys stay as they are."""
    monkeypatch.setattr("service.keyring._MOST", 2)
    file = tmp_path / "keys"
    file.write_text(lines("stays", "goes"))
    keyring = Keyring(str(file))
    for names in (("stays", "comes"), ("stays", "goes", "comes")):
        file.write_text(lines(*names))
        with pytest.raises(ValueError, match="no more than 2 keys may be known"):
            keyring.read()
    file.write_text(lines("stays"))
    keyring.take(keyring.read())
    file.write_text(lines("stays", "comes"))
    keyring.take(keyring.read())
    assert [key.name for key in keyring.keys] == ["stays", "comes"]


@contextmanager
def connected(running: Process, count: int) -> Iterator[list[http.client.HTTPConnection]]:
    """Connections enough to reach every worker, each with a head that is known by heart."""
    with ExitStack() as stack:
        connections = [http.client.HTTPConnection("127.0.0.1", running.port, timeout=60) for _ in range(count)]
        for connection in connections:
            stack.callback(connection.close)
            assert [ask(connection, "goes") for _ in range(3)] == [200] * 3
        yield connections


def ask(connection: http.client.HTTPConnection, name: str) -> int:
    """The status of a prediction on a connection that stands, by the same head each time."""
    fields = {"Content-Type": "application/octet-stream", "X-API-Key": SECRETS[name]}
    connection.request("POST", "/v1/predict", bytes(784), fields)
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.mark.parametrize("workers", [2, 1])
def test_keys_are_read_anew_on_sighup(tmp_path: Path, workers: int) -> None:
    """In all workers, on connections that stand and heads that are known; rates go on, and gRPC has the same keys.

    What is no file of keys is refused with the reason, and those that were known go on, as they do in a new worker.
    """
    file, port = tmp_path / "keys", free_port()
    file.write_text(lines("stays", "goes", "slow", slow=0.001))
    file.chmod(0o600)
    flags = ("--workers", str(workers), "--provider", "cpu", "--api-keys", str(file), "--grpc-port", str(port))

    def told(sentence: str) -> bool:
        return sentence in running.log.read_text()

    def predicted(name: str) -> int:
        fields = {"Content-Type": "application/octet-stream", "X-API-Key": SECRETS[name]}
        url = f"{running.url}/v1/predict"
        return httpx.post(url, content=bytes(784), headers=fields, trust_env=False, timeout=60).status_code

    with process(tmp_path / "log", *flags) as running, connected(running, 8) as connections, calling(port) as client:
        assert predicted("slow") == 200
        assert predicted("slow") == 429
        sockets = [connection.sock for connection in connections]
        file.write_text("not a line\n")
        running.popen.send_signal(signal.SIGHUP)
        until(lambda: told("line 1: a line is to have a name"), "a broken file is not refused")
        assert [ask(connection, "goes") for connection in connections] == [200] * 8
        file.write_text(lines("stays", "comes", "slow", slow=0.001))
        running.popen.send_signal(signal.SIGHUP)
        for connection in connections:
            until(lambda connection=connection: ask(connection, "goes") == 401, "a key is known that was taken out")  # type: ignore[misc]
        for _ in range(3):
            for name, status in (("goes", 401), ("stays", 200), ("comes", 200), ("slow", 429)):
                assert [ask(connection, name) for connection in connections] == [status] * 8
        assert [connection.sock for connection in connections] == sockets
        with pytest.raises(grpc.RpcError) as raised:
            client.method("ModelStatistics")(b"", timeout=PATIENCE, metadata=(("x-api-key", SECRETS["goes"]),))
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        client.method("ModelStatistics")(b"", timeout=PATIENCE, metadata=(("x-api-key", SECRETS["comes"]),))
        if workers > 1:
            before = children(running.popen.pid)
            for worker in before:
                os.kill(worker, signal.SIGKILL)
            until(lambda: len(children(running.popen.pid) - before) == 2, "the workers are not replaced")
            for name, status in (("goes", 401), ("comes", 200), ("slow", 429)):
                assert [predicted(name) for _ in range(8)] == [status] * 8
        assert not re.search("|".join(SECRETS.values()), running.log.read_text())
        assert running.end() == 0


def many(name: str) -> str:
    """A file of 5,000 keys, some 460 KB, of which the last is that of a name; the digests of the others are none's."""
    others = (f"other-{number} predict - sha256:{number:064x}" for number in range(4999))
    return "\n".join([*others, lines(name)])


@contextmanager
def serving_many(folder: Path, name: str) -> Iterator[Process]:
    """The service in two workers, with many keys."""
    (folder / "keys").write_text(many(name))
    (folder / "keys").chmod(0o600)
    flags = ("--workers", "2", "--provider", "cpu", "--api-keys", str(folder / "keys"))
    with process(folder / "log", *flags) as running:
        yield running


def renew(running: Process, name: str) -> None:
    """Has the parent read many keys anew."""
    before = running.log.read_text().count("keys read anew")
    running.log.with_name("keys").write_text(many(name))
    running.popen.send_signal(signal.SIGHUP)
    until(lambda: running.log.read_text().count("keys read anew") > before, "the parent reads nothing")


def both_know(port: int, name: str) -> bool:
    """Whether two workers answer, which know that key, of those that the file has had, and no other."""
    found = set()
    for asked in ("goes", "stays", "comes") * 12:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/metrics", headers={"X-API-Key": SECRETS[asked]})
            answer = connection.getresponse()
            answer.read()
            found.add((answer.headers["X-Request-ID"].partition("-")[0], asked, answer.status))
    workers = {worker for worker, _, _ in found}
    return len(workers) == 2 and all((asked == name) == (status == 200) for _, asked, status in found)


def test_a_stopped_worker_keeps_nobody_from_many_keys(tmp_path: Path) -> None:
    """Two renewals, each more than a pipe takes: meanwhile the other worker is killed and replaced.

    When the one that was stopped goes on it knows the newest keys and no others, and all end in order.
    """
    with serving_many(tmp_path, "goes") as running:
        stopped, killed = children(running.popen.pid)
        os.kill(stopped, signal.SIGSTOP)
        renew(running, "stays")
        renew(running, "comes")
        os.kill(killed, signal.SIGKILL)
        until(lambda: running.log.read_text().count("Started server process") == 3, "nobody replaces the other one")
        os.kill(stopped, signal.SIGCONT)
        until(lambda: both_know(running.port, "comes"), "other keys are known")
        assert stopped in children(running.popen.pid)
        assert running.end() == 0
        assert running.log.read_text().count("Finished server process") == 2


def test_a_second_signal_ends_a_worker_that_is_stopped_before_many_keys(tmp_path: Path) -> None:
    """Whatever waits for it, neither it nor its parent outlives that signal."""
    with serving_many(tmp_path, "goes") as running:
        stopped = min(children(running.popen.pid))
        os.kill(stopped, signal.SIGSTOP)
        renew(running, "comes")
        running.popen.terminate()
        until(lambda: running.log.read_text().count("Finished server process") == 1, "the other one does not end")
        assert running.end() == 0 and not lives(stopped)
