"""What API keys cost a request: `python -m benchmarks.guard`.

CPU time of the server's one process for each request, user and system, by the kernel's own account, which other load on
the machine changes little. Servers take turns, so that what does change meets all alike: one without keys, one with a
hundred, one whose key has a rate that is never reached, and with `--beside` that of another checkout, such as one from
before there were keys. Requests are prepared digits, with heads that the server has seen before, or with new ones, of
which it remembers nothing.
"""

import argparse
import socket
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from benchmarks.digits import ROOT
from benchmarks.form import Form, form
from benchmarks.server import HOST, Running, Server, run_server, wait_for_answer
from service.keys import new_key, written

_CONNECTIONS = 16
_KEYS = 100
_NEVER = 200_000.0  # requests a second
_COMMAND = (sys.executable, "-P", "-m", "service", "--port", "{port}", "--workers", "1", "--provider", "cpu")
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """A server, and how it is asked."""

    name: str
    environment: Mapping[str, str]
    asked: Form


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the microseconds of CPU a request, the median of the rounds, with the least and the most."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=4000, help="a round")
    parser.add_argument("--beside", type=Path, help="another checkout, whose service is measured too")
    chosen = parser.parse_args(arguments)
    cases = _cases(chosen.beside)
    found: dict[tuple[str, bool], list[float]] = {(case.name, known): [] for case in cases for known in (True, False)}
    numbers = count()
    with ExitStack() as stack:
        running = [(case, stack.enter_context(run_server(_server(case)))) for case in cases]
        for case, server in running:
            wait_for_answer(server, case.asked)
        for turn in range(chosen.rounds + 1):
            for known in (True, False):
                for case, server in running:
                    spent = _measure(server, case.asked, chosen.requests, None if known else numbers)
                    if turn:  # the first is to warm up
                        found[case.name, known].append(spent)
    for known, title in ((True, "heads that are known"), (False, "heads that are new")):
        print(f"{title}: µs of CPU a request, median (least to most) of {chosen.rounds} rounds")
        for case in cases:
            spents = found[case.name, known]
            print(f"  {case.name:22} {statistics.median(spents):6.1f} ({min(spents):.1f} to {max(spents):.1f})")


def _cases(beside: Path | None) -> list[Case]:
    key = new_key()
    others = [written(f"k{number}", ["predict"], None, new_key()) for number in range(_KEYS - 1)]
    here = {"PYTHONPATH": str(ROOT)}
    plain = form("raw")
    keyed = replace(plain, headers={**plain.headers, "Authorization": f"Bearer {key}"})

    def guarded(rate: float | None) -> dict[str, str]:
        return here | {"DIGITSCOPE_API_KEYS": "\n".join((*others, written("own", ["predict"], rate, key)))}

    cases = [
        Case("no keys", here, plain),
        Case(f"{_KEYS} keys", guarded(None), keyed),
        Case(f"{_KEYS} keys, and a rate", guarded(_NEVER), keyed),
    ]
    return (
        cases if beside is None else [Case("the other checkout", {"PYTHONPATH": str(beside.resolve())}, plain), *cases]
    )


def _server(case: Case) -> Server:
    return Server(case.name, case.name, _COMMAND, 0, case.environment)


def _measure(server: Running, asked: Form, requests: int, numbers: "count[int] | None") -> float:
    """Microseconds of CPU a request; with numbers, no head comes twice."""
    wholes = asked.requests(HOST)
    connections = [socket.create_connection((HOST, server.port)) for _ in range(_CONNECTIONS)]
    try:
        before = _spent(server.session)
        for turn in range(requests // _CONNECTIONS):
            for place, connection in enumerate(connections):
                whole = wholes[(turn + place) % len(wholes)]
                if numbers is not None:
                    whole = whole.replace(b"\r\n", b"\r\nX-Number: %d\r\n" % next(numbers), 1)
                connection.sendall(whole)
            for connection in connections:
                _receive(connection)
        return (_spent(server.session) - before) / (requests // _CONNECTIONS * _CONNECTIONS) * 1e6
    finally:
        for connection in connections:
            connection.close()


def _receive(connection: socket.socket) -> None:
    answer = b""
    while (end := answer.find(_END_OF_HEAD)) < 0 or len(answer) < end + len(_END_OF_HEAD) + _length(answer[:end]):
        answer += connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(answer[:200].decode(errors="replace"))


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])


def _spent(process: int) -> float:
    """Seconds of CPU that a process has spent, in all its threads."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    main()
