"""`python -m benchmarks.overload`: one run of open-loop load in a process of its own, told as JSON."""

import argparse
import gc
import json
import math
import resource
import time
from array import array
from dataclasses import asdict, dataclass, field

import uvloop

from benchmarks.figures import percentile
from benchmarks.form import FORMS, form
from benchmarks.openloop import OpenLoad

_SERVED, _REFUSED = 200, 503


@dataclass(frozen=True)
class OpenLoop:
    """What became of the requests of one run; every one of them is in exactly one of the five counts.

    Attributes:
        rate: requests a second that were due.
        requests: how many of them were sent, which is all where the run is not cut.
        failed: answers that neither served nor refused.
        lost: requests whose connection ended under them.
        unanswered: requests without an answer at the end of the drain.
        seconds: from when the first was due to the last answer.
        served_ms: percentiles of the served, from when they were due.
        refused_ms: the same of the refused.
        connections: the most that were open.
        cpu: the part of a core that the generator took.
        late_ms: percentiles of how long requests waited here before they were sent; none in older results.
        refused_sent_ms: as `refused_ms`, from when they were sent.
    """

    rate: float
    requests: int
    served: int
    refused: int
    failed: int
    lost: int
    unanswered: int
    seconds: float
    served_ms: dict[str, float]
    refused_ms: dict[str, float]
    connections: int
    cpu: float
    late_ms: dict[str, float] = field(default_factory=dict)
    refused_sent_ms: dict[str, float] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Requests that were neither served nor refused."""
        return self.failed + self.lost + self.unanswered


def run_open_loop(
    host: str,
    port: int,
    requests: list[bytes],
    *,
    rate: float,
    seconds: float,
    limit: int,
    drain: float,
    standing: int = 1,
    cut: bool = False,
) -> OpenLoop:
    """Runs it in this process; `limit`, `standing` and `cut` are as `OpenLoad` has them."""
    total = max(1, round(rate * seconds))
    load = OpenLoad(host, port, requests, rate=rate, total=total, limit=limit, standing=standing, cut=cut)
    gc.collect()
    gc.disable()  # a collection would be a stall of the generator's own
    cpu, start = time.process_time(), time.perf_counter()
    try:
        uvloop.run(load.run(drain))
    finally:
        gc.enable()
    share = (time.process_time() - cpu) / (time.perf_counter() - start)
    counts = {status: len(found) for status, found in load.latencies.items()}
    served, refused = counts.pop(_SERVED, 0), counts.pop(_REFUSED, 0)
    return OpenLoop(
        rate=rate,
        requests=load.sent if cut else total,
        served=served,
        refused=refused,
        failed=sum(counts.values()),
        lost=load.lost,
        unanswered=load.unanswered,
        seconds=load.ended,
        served_ms=_percentiles(load.latencies.get(_SERVED, ())),
        refused_ms=_percentiles(load.latencies.get(_REFUSED, ())),
        connections=load.connections,
        cpu=share,
        late_ms=_percentiles(load.late),
        refused_sent_ms=_percentiles(load.times.get(_REFUSED, ())),
    )


def _percentiles(seconds: "array[float] | tuple[()]") -> dict[str, float]:
    ordered = sorted(seconds)
    found = {f"p{percent:g}": percentile(ordered, percent) * 1e3 for percent in (50, 90, 99, 99.9)}
    found["max"] = percentile(ordered, 100) * 1e3
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _allow_files(connections: int) -> None:
    """Each connection is an open file, of which many systems allow 1024 until a process asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def main() -> None:
    """Runs it and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--form", choices=FORMS, default="raw")
    parser.add_argument("--images", type=int, default=1, help="in each request")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=8192, help="the most that may be open")
    parser.add_argument("--standing", type=int, default=256, help="those that are open before the load begins")
    parser.add_argument("--cut", action="store_true", help="send nothing more when the time is over")
    parser.add_argument("--drain", type=float, default=10.0, help="seconds to wait for the last answers")
    options = parser.parse_args()
    _allow_files(options.connections)
    found = run_open_loop(
        options.host,
        options.port,
        form(options.form, options.images).requests(options.host),
        rate=options.rate,
        seconds=options.seconds,
        limit=options.connections,
        drain=options.drain,
        standing=options.standing,
        cut=options.cut,
    )
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
