"""`python -m benchmarks.shutdown`: SIGTERM under full load, again and again, with an account of every request.

Clients ask without a pause, and in the midst of it the service is told to end. Every request that a connection stood
for has to be answered, and the exit status has to be 0 within the grace period. There are two loads. Of a mixed one
(prepared digits one by one and 256 at once, small pictures and large ones, feature maps, on kept connections) most
requests are in the queue when the end comes. Of a quick one (single digits, after each fourth a new connection) most
are on their way to the service or back.
"""

import argparse
import asyncio
import datetime as dt
import io
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from benchmarks.account import Account, Clients
from benchmarks.digits import ROOT, digits
from benchmarks.errors import BenchmarkError
from benchmarks.figures import spread
from benchmarks.form import form
from benchmarks.machine import describe_machine, describe_packages
from benchmarks.plan import service_server
from benchmarks.server import HOST, run_server, wait_for_answer

_GRACE = 10.0  # seconds: what Docker gives
_SIDE = 280  # pixels of a large picture


@dataclass(frozen=True)
class End:
    """One end of the service: its exit status, the seconds until it, and what became of the requests."""

    load: str
    workers: int
    status: int
    seconds: float
    account: Account

    @property
    def is_clean(self) -> bool:
        """Whether it was in order, and in time, and nothing was lost."""
        return self.status == 0 and self.seconds < _GRACE and not self.account.lost


def mixed_requests() -> list[bytes]:
    """Requests of each kind that takes a way of its own through the service; few that look inside, which take long."""
    file = io.BytesIO()
    Image.fromarray(digits(1)[0]).resize((_SIDE, _SIDE)).save(file, "PNG")
    picture = file.getvalue()
    large = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n%b"
    often = [
        *form("raw").requests(HOST)[:6],
        *form("png").requests(HOST)[:6],
        *form("raw", 256).requests(HOST)[:1],
        *form("oip-binary", 256).requests(HOST)[:1],
        *form("png-multipart").requests(HOST)[:1],
        large % (b"/v1/predict", len(picture), picture),
        b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    return [*often * 8, large % (b"/v1/features?layer=conv1&format=npy", len(picture), picture)]


def quick_requests() -> list[bytes]:
    """Requests that are answered at once, of which each fourth is the last of its connection."""
    kept = form("raw").requests(HOST)
    return [
        request if number % 4 else request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        for number, request in enumerate(kept)
    ]


LOADS = {"mixed": mixed_requests, "quick": quick_requests}


def end_under_load(load: str, workers: int, *, connections: int, seconds: float) -> End:
    """Starts the service, loads it for so long, and tells it to end.

    Raises:
        BenchmarkError: it does not end.
    """
    cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    server = service_server("digitscope", "digitscope", cpus, workers=workers)
    with run_server(server) as running:
        wait_for_answer(running, form("raw"))
        clients = Clients(HOST, running.port, LOADS[load](), connections)

        async def run() -> tuple[int, float]:
            asking = asyncio.create_task(clients.run())
            await asyncio.sleep(seconds)
            began = time.monotonic()
            os.kill(running.session, signal.SIGTERM)
            # WNOWAIT: the one who started it is to find its status, too.
            ended = await asyncio.to_thread(os.waitid, os.P_PID, running.session, os.WEXITED | os.WNOWAIT)
            took = time.monotonic() - began
            if ended is None:
                raise BenchmarkError("the service's status cannot be had")
            await asking
            return ended.si_status, took

        status, took = asyncio.run(run())
    return End(load, workers, status, took, clients.account)


def write_table(ends: list[End], facts: dict[str, str]) -> str:
    """The page: a row for each load and number of workers."""
    lines = [
        "# SIGTERM under full load",
        "",
        f"`python -m benchmarks.shutdown`: clients ask without a pause, and the service is told to end, {len(ends)} "
        "times. Of the mixed load (prepared digits one by one and 256 at once, small and large pictures, feature maps) "
        "most requests wait in the queue then, of the quick one (single digits, after each fourth a new connection) "
        "most are on their way. Seconds are medians (least–most).",
        "",
        "| load | workers | ends | exit 0 | seconds to the end | requests | answered | told to be the last | lost |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for load, workers in sorted({(end.load, end.workers) for end in ends}):
        of = [end for end in ends if (end.load, end.workers) == (load, workers)]
        accounts = [end.account for end in of]
        lines.append(
            f"| {load} | {workers} | {len(of)} | {sum(end.status == 0 for end in of)} | "
            f"{spread(end.seconds for end in of)} | {sum(account.sent for account in accounts):,} | "
            f"{sum(sum(account.answered.values()) for account in accounts):,} | "
            f"{sum(account.last for account in accounts):,} | {sum(len(account.lost) for account in accounts)} |"
        )
    return "\n".join([*lines, "", *(f"- {name}: {text}" for name, text in facts.items()), ""])


def main(arguments: list[str] | None = None) -> int:
    """Ends it so often, writes shutdown.json and shutdown.md, and returns 0 if every end was clean."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shutdown", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="how often (default: 20), in turns")
    parser.add_argument("--connections", type=int, default=64, help="clients (default: 64)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of load before each end (default: 1.5)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder (default: benchmarks/)")
    options = parser.parse_args(arguments)
    ends = []
    for turn in range(options.times):
        load = list(LOADS)[turn // 2 % 2]
        end = end_under_load(load, 1 + turn % 2, connections=options.connections, seconds=options.seconds)
        ends.append(end)
        print(
            f"{end.load}, {end.workers} workers, exit {end.status} after {end.seconds:.2f} s, {end.account}", flush=True
        )
    facts = {"date": dt.datetime.now(dt.UTC).date().isoformat(), **describe_machine(), **describe_packages()}
    content = {"facts": facts, "ends": [asdict(end) for end in ends]}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "shutdown.json").write_text(json.dumps(content, indent=1) + "\n")
    (options.out / "shutdown.md").write_text(write_table(ends, facts))
    return 0 if all(end.is_clean for end in ends) else 1


if __name__ == "__main__":
    raise SystemExit(main())
